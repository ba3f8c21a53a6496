"""Recurrent layers. Half precision is rounded once, at the end: what Core ML rounds between steps is not documented.

Sequences are (steps, batch, features). In direction "reverse" the last step comes first, in the result too; only the
backward half of a bidirectional layer is turned back, so that both halves of a row are of one step.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from qlot.mil.registry import computes

# As coremltools' tests have them: with the default parameters of each, so the scaled one scales by 1.
_ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "hard_sigmoid": lambda x: (0.2 * x + 0.5).clamp(0, 1),
    "linear": lambda x: x,
    "relu": torch.relu,
    "scaled_tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
    "sigmoid_hard": lambda x: (0.2 * x + 0.5).clamp(0, 1),
    "tanh": torch.tanh,
}
Activation = Literal["hard_sigmoid", "linear", "relu", "scaled_tanh", "sigmoid", "sigmoid_hard", "tanh"]
Direction = Literal["forward", "reverse"]


@computes("rnn")
def _rnn(
    x: Tensor,
    initial_h: Tensor,
    weight_ih: Tensor,
    weight_hh: Tensor,
    bias: Tensor | None = None,
    *,
    direction: Direction = "forward",
    output_sequence: bool = False,
    activation: Activation = "tanh",
) -> tuple[Tensor, ...]:
    act = _ACTIVATIONS[activation]
    outputs, h = [], initial_h
    for given in _ordered(F.linear(x, weight_ih, bias), direction):
        h = act(given + F.linear(h, weight_hh))
        outputs.append(h)
    return _sequence(outputs, output_sequence), h


@computes("gru")
def _gru(
    x: Tensor,
    initial_h: Tensor,
    weight_ih: Tensor,
    weight_hh: Tensor,
    bias: Tensor | None = None,
    input_bias: Tensor | None = None,
    *,
    direction: Direction = "forward",
    output_sequence: bool = False,
    recurrent_activation: Activation = "sigmoid",
    activation: Activation = "tanh",
    reset_after: bool = False,
) -> tuple[Tensor, ...]:
    """Gates in the order reset, output, update.

    The reset gate multiplies the hidden state before its product, as in coremltools' tests, or with `reset_after` the
    product and its bias, as in PyTorch; those tests have not seen Core ML do the latter right.
    """
    gate, act = _ACTIVATIONS[recurrent_activation], _ACTIVATIONS[activation]
    size = weight_hh.shape[1]
    w_r, w_o, w_z = weight_hh.split(size)
    b_r, b_o, b_z = (weight_hh.new_zeros(3 * size) if bias is None else bias).split(size)
    outputs, h = [], initial_h
    for given in _ordered(F.linear(x, weight_ih, input_bias), direction):
        x_r, x_o, x_z = given.split(size, -1)
        r = gate(x_r + F.linear(h, w_r, b_r))
        z = gate(x_z + F.linear(h, w_z, b_z))
        o = act(x_o + (r * F.linear(h, w_o, b_o) if reset_after else F.linear(r * h, w_o, b_o)))
        h = (1 - z) * o + z * h
        outputs.append(h)
    return _sequence(outputs, output_sequence), h


@computes("lstm")
def _lstm(
    x: Tensor,
    initial_h: Tensor,
    initial_c: Tensor,
    weight_ih: Tensor,
    weight_hh: Tensor,
    bias: Tensor | None = None,
    peephole: Tensor | None = None,
    weight_ih_back: Tensor | None = None,
    weight_hh_back: Tensor | None = None,
    bias_back: Tensor | None = None,
    peephole_back: Tensor | None = None,
    *,
    direction: Literal["forward", "reverse", "bidirectional"] = "forward",
    output_sequence: bool = False,
    recurrent_activation: Activation = "sigmoid",
    cell_activation: Activation = "tanh",
    activation: Activation = "tanh",
    clip: float | None = None,
) -> tuple[Tensor, ...]:
    """Gates in the order input, forget, output, cell; `clip` bounds the new memory, as in coremltools' tests."""
    gate, cell, act = (_ACTIVATIONS[a] for a in (recurrent_activation, cell_activation, activation))

    def one_way(
        steps: Tensor, h: Tensor, c: Tensor, recurrent: Tensor, eyes: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        see_i, see_f, see_o = (0.0, 0.0, 0.0) if eyes is None else eyes.chunk(3)
        outputs = []
        for given in steps:
            i, f, o, z = (given + F.linear(h, recurrent)).chunk(4, -1)
            c = gate(f + see_f * c) * c + gate(i + see_i * c) * cell(z)
            c = c if clip is None else c.clamp(-clip, clip)
            h = gate(o + see_o * c) * act(c)
            outputs.append(h)
        return torch.stack(outputs), h, c

    if direction != "bidirectional":
        steps = _ordered(F.linear(x, weight_ih, bias), direction)
        y, h, c = one_way(steps, initial_h, initial_c, weight_hh, peephole)
        return y if output_sequence else h[None], h, c
    if weight_ih_back is None or weight_hh_back is None:
        raise ValueError("a bidirectional layer needs weights of the way back")
    (h0, h1), (c0, c1) = initial_h.chunk(2, -1), initial_c.chunk(2, -1)
    there = one_way(F.linear(x, weight_ih, bias), h0, c0, weight_hh, peephole)
    back = one_way(F.linear(x, weight_ih_back, bias_back).flip(0), h1, c1, weight_hh_back, peephole_back)
    y = torch.cat([there[0], back[0].flip(0)], -1)
    h, c = (torch.cat([a, b], -1) for a, b in zip(there[1:], back[1:], strict=True))
    return y if output_sequence else h[None], h, c


def _ordered(x: Tensor, direction: str) -> Tensor:
    return x.flip(0) if direction == "reverse" else x


def _sequence(outputs: list[Tensor], whole: bool) -> Tensor:
    return torch.stack(outputs if whole else outputs[-1:])
