"""The order of the settings in every round: shuffled by a seed that the result states, alike in every runtime."""

from __future__ import annotations

_MASK = 2**64 - 1


def orders(settings: int, rounds: int, seed: int) -> tuple[tuple[int, ...], ...]:
    """Return for each round the indices of the settings in the order in which they run.

    SplitMix64 (Steele, Lea, Flood, OOPSLA 2014) and Fisher-Yates: a few lines in any language, and no library's
    generator to agree with. Test vectors are in `runtime/contract/bench.md`.

    Args:
        settings: how many.
        rounds: how many.
        seed: 0 to 2^32 - 1.
    """
    state, shuffled = seed, []
    for _ in range(rounds):
        order = list(range(settings))
        for i in range(settings - 1, 0, -1):
            state = (state + 0x9E3779B97F4A7C15) & _MASK
            j = _mixed(state) % (i + 1)
            order[i], order[j] = order[j], order[i]
        shuffled.append(tuple(order))
    return tuple(shuffled)


def _mixed(z: int) -> int:
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & _MASK
    return z ^ (z >> 31)
