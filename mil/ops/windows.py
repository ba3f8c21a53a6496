"""What convolutions and pooling share: windows that slide over the last axes, and the padding around them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from torch import Tensor
from torch.nn import functional as F

Pads = list[tuple[int, int]]  # before and after, of each spatial axis
PadType = Literal["valid", "same", "same_lower", "custom"]
Each = Sequence[int] | None  # one value per spatial axis


def each(values: Each, axes: int, default: int = 1) -> list[int]:
    """Return an optional attribute of the spatial axes."""
    return [default] * axes if values is None else list(values)


def padding(
    pad_type: str, pad: Each, sizes: Sequence[int], kernel: Sequence[int], strides: Each = None, dilations: Each = None
) -> Pads:
    """Resolve MIL's padding modes.

    "same" gives ceil(size / stride) outputs, an odd pixel after ("same_lower": before).
    """
    if pad_type == "valid":
        return [(0, 0)] * len(sizes)
    if pad_type == "custom":
        values = each(pad, 2 * len(sizes), 0)
        return list(zip(values[::2], values[1::2], strict=True))
    steps, gaps = each(strides, len(sizes)), each(dilations, len(sizes))
    pads: Pads = []
    for n, k, s, d in zip(sizes, kernel, steps, gaps, strict=True):
        total = max(0, (-(-n // s) - 1) * s + (k - 1) * d + 1 - n)
        less, more = total // 2, total - total // 2
        pads.append((less, more) if pad_type == "same" else (more, less))
    return pads


def padded(x: Tensor, pads: Pads, value: float = 0.0) -> Tensor:
    """Return x with its last axes padded; a negative padding cuts."""
    if not any(before or after for before, after in pads):
        return x
    return F.pad(x, [v for pair in reversed(pads) for v in pair], value=value)
