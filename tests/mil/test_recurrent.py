from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose

from tests.mil import build

STEPS, B, FEATURES, H = 4, 2, 3, 5
X = build.normal(STEPS, B, FEATURES)
HIDDEN = build.normal(B, 2 * H, seed=1)
MEMORY = build.normal(B, 2 * H, seed=2)


def layer(kind: Any, **options: Any) -> Any:
    torch.manual_seed(0)
    return kind(FEATURES, H, **options)


def weights(module: Any, suffix: str, order: list[int]) -> dict[str, np.ndarray]:
    """PyTorch's parameters with the gates in MIL's order."""

    def sorted_gates(name: str) -> np.ndarray:
        value = getattr(module, f"{name}_l0{suffix}").detach().numpy()
        return np.concatenate([np.split(value, len(order))[g] for g in order])

    found = {k: sorted_gates(k) for k in ("weight_ih", "weight_hh")}
    return found | {"bias": sorted_gates("bias_ih") + sorted_gates("bias_hh")}


def close(found: list[np.ndarray], wanted: list[torch.Tensor]) -> None:
    for a, b in zip(found, wanted, strict=True):
        assert_allclose(a, b.detach().numpy().reshape(a.shape), atol=1e-5)


@pytest.mark.parametrize("whole", [True, False])
@pytest.mark.parametrize("direction", ["forward", "reverse"])
def test_rnn(direction: str, whole: bool) -> None:
    module = layer(torch.nn.RNN, nonlinearity="relu")
    given = torch.from_numpy(X if direction == "forward" else X[::-1].copy())
    y, h = module(given, torch.from_numpy(HIDDEN[None, :, :H].copy()))
    found = build.run_op(
        "rnn", {"x": X, "initial_h": HIDDEN[:, :H]},
        direction=direction, output_sequence=whole, activation="relu", **weights(module, "", [0]),
    )  # fmt: skip
    close(found, [y if whole else y[-1:], h])


@pytest.mark.parametrize("whole", [True, False])
@pytest.mark.parametrize("direction", ["forward", "reverse"])
def test_lstm(direction: str, whole: bool) -> None:
    module = layer(torch.nn.LSTM)
    given = torch.from_numpy(X if direction == "forward" else X[::-1].copy())
    start = [torch.from_numpy(v[None, :, :H].copy()) for v in (HIDDEN, MEMORY)]
    y, (h, c) = module(given, tuple(start))
    found = build.run_op(
        "lstm", {"x": X, "initial_h": HIDDEN[:, :H], "initial_c": MEMORY[:, :H]},
        direction=direction, output_sequence=whole, **weights(module, "", [0, 1, 3, 2]),
    )  # fmt: skip
    close(found, [y if whole else y[-1:], h, c])


def test_lstm_both_ways() -> None:
    module = layer(torch.nn.LSTM, bidirectional=True)
    start = [torch.from_numpy(np.stack([v[:, :H], v[:, H:]])) for v in (HIDDEN, MEMORY)]
    y, (h, c) = module(torch.from_numpy(X), tuple(start))
    order = [0, 1, 3, 2]
    back = {f"{k}_back": v for k, v in weights(module, "_reverse", order).items()}
    found = build.run_op(
        "lstm", {"x": X, "initial_h": HIDDEN, "initial_c": MEMORY},
        direction="bidirectional", output_sequence=True, **weights(module, "", order), **back,
    )  # fmt: skip
    close(found, [y, torch.cat(list(h), -1), torch.cat(list(c), -1)])


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def test_lstm_with_peepholes_and_a_clip() -> None:
    parts = weights(layer(torch.nn.LSTM), "", [0, 1, 3, 2])
    peephole = build.normal(3 * H, seed=3)
    feeds = {"x": X, "initial_h": HIDDEN[:, :H], "initial_c": MEMORY[:, :H]}
    options = {"clip": np.float32(0.3), "activation": "hard_sigmoid", "peephole": peephole}
    y, h, c = build.run_op("lstm", feeds, output_sequence=True, **parts, **options)
    p_i, p_f, p_o = np.split(peephole.astype(np.float64), 3)
    hidden, memory = HIDDEN[:, :H].astype(np.float64), MEMORY[:, :H].astype(np.float64)
    for step, x in enumerate(X):
        gates = x @ parts["weight_ih"].T + hidden @ parts["weight_hh"].T + parts["bias"]
        i, f, o, z = np.split(gates, 4, 1)
        memory = sigmoid(f + p_f * memory) * memory + sigmoid(i + p_i * memory) * np.tanh(z)
        memory = memory.clip(-0.3, 0.3)
        hidden = sigmoid(o + p_o * memory) * (0.2 * memory + 0.5).clip(0, 1)
        assert_allclose(y[step], hidden, atol=1e-5)
    assert_allclose(h, hidden, atol=1e-5)
    assert_allclose(c, memory, atol=1e-5)


@pytest.mark.parametrize("direction", ["forward", "reverse"])
def test_gru_resets_the_hidden_state_before_its_product(direction: str) -> None:
    parts = weights(layer(torch.nn.GRU), "", [0, 2, 1])  # reset, output, update
    feeds = {"x": X, "initial_h": HIDDEN[:, :H]}
    y, h = build.run_op("gru", feeds, output_sequence=True, direction=direction, **parts)
    w, u, b = (np.split(parts[k].astype(np.float64), 3) for k in ("weight_ih", "weight_hh", "bias"))
    hidden = HIDDEN[:, :H].astype(np.float64)
    for step, x in enumerate(X if direction == "forward" else X[::-1]):
        r = sigmoid(x @ w[0].T + hidden @ u[0].T + b[0])
        z = sigmoid(x @ w[2].T + hidden @ u[2].T + b[2])
        o = np.tanh(x @ w[1].T + (r * hidden) @ u[1].T + b[1])
        hidden = (1 - z) * o + z * hidden
        assert_allclose(y[step], hidden, atol=1e-5)
    assert_allclose(h, hidden, atol=1e-5)


def test_gru_that_resets_after_is_pytorchs() -> None:
    module = layer(torch.nn.GRU)
    y, h = module(torch.from_numpy(X), torch.from_numpy(HIDDEN[None, :, :H].copy()))
    parts = weights(module, "", [0, 2, 1])
    given = np.split(module.bias_ih_l0.detach().numpy(), 3)
    input_bias = np.concatenate([given[g] for g in (0, 2, 1)])
    options = {"input_bias": input_bias, "bias": parts.pop("bias") - input_bias, "reset_after": True}
    feeds = {"x": X, "initial_h": HIDDEN[:, :H]}
    found = build.run_op("gru", feeds, build.ct.target.iOS18, output_sequence=True, **parts, **options)
    close(found, [y, h])
