"""Element by element: arithmetic, comparisons and activations."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from qlot.mil.registry import computes, moves

_UNARY: dict[str, Callable[[Tensor], Tensor]] = {
    "abs": torch.abs,
    "acos": torch.acos,
    "asin": torch.asin,
    "atan": torch.atan,
    "atanh": torch.atanh,
    "ceil": torch.ceil,
    "cos": torch.cos,
    "cosh": torch.cosh,
    "erf": torch.erf,
    "exp": torch.exp,
    "exp2": torch.exp2,
    "floor": torch.floor,
    "relu": torch.relu,
    "relu6": F.relu6,
    "round": torch.round,  # half to even
    "sigmoid": torch.sigmoid,
    "sign": torch.sign,
    "silu": F.silu,
    "sin": torch.sin,
    "sinh": torch.sinh,
    "softplus": F.softplus,
    "softsign": F.softsign,
    "sqrt": torch.sqrt,
    "square": torch.square,
    "tan": torch.tan,
    "tanh": torch.tanh,
}
_BINARY: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "add": torch.add,
    "floor_div": torch.floor_divide,
    "maximum": torch.maximum,
    "minimum": torch.minimum,
    "mod": torch.remainder,  # the sign of the divisor, as in Python
    "mul": torch.mul,
    "pow": torch.pow,
    "real_div": torch.true_divide,
    "sub": torch.sub,
}
_COMPARISONS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "equal": torch.eq,
    "greater": torch.gt,
    "greater_equal": torch.ge,
    "less": torch.lt,
    "less_equal": torch.le,
    "logical_and": torch.logical_and,
    "logical_or": torch.logical_or,
    "logical_xor": torch.logical_xor,
    "not_equal": torch.ne,
}


def _unary(function: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    def run(x: Tensor) -> Tensor:
        return function(x)

    return run


def _binary(function: Callable[[Tensor, Tensor], Tensor]) -> Callable[[Tensor, Tensor], Tensor]:
    def run(x: Tensor, y: Tensor) -> Tensor:
        return function(x, y)

    return run


for _name, _function in _UNARY.items():
    computes(_name)(_unary(_function))
for _name, _function2 in _BINARY.items():
    computes(_name)(_binary(_function2))
for _name, _function2 in _COMPARISONS.items():
    moves(_name)(_binary(_function2))
moves("logical_not")(_unary(torch.logical_not))


@computes("clip")
def _clip(x: Tensor, *, alpha: float, beta: float) -> Tensor:
    return x.clamp(alpha, beta)


@computes("threshold")
def _threshold(x: Tensor, *, alpha: float) -> Tensor:
    return x.clamp(min=alpha)


# The epsilon is a constant of the program: in half precision small ones have become 0, and so they are here.
@computes("inverse")
def _inverse(x: Tensor, *, epsilon: float = 1e-4) -> Tensor:
    return 1 / (x + epsilon)


@computes("log")
def _log(x: Tensor, *, epsilon: float = 1e-45) -> Tensor:
    return (x + epsilon).log()


@computes("rsqrt")
def _rsqrt(x: Tensor, *, epsilon: float = 1e-12) -> Tensor:
    return 1 / (x + epsilon).sqrt()


@moves("cast")
def _cast(x: Tensor, *, dtype: str) -> Tensor:
    return x  # converted to the operation's output dtype when it is stored; floats are cut towards zero


@moves("select")
def _select(cond: Tensor, a: Tensor, b: Tensor) -> Tensor:
    return torch.where(cond, a, b)


@computes("clamped_relu")
def _clamped_relu(x: Tensor, *, alpha: float, beta: float) -> Tensor:
    return torch.where(x >= 0, x, alpha * x).clamp(max=beta)


@computes("elu")
def _elu(x: Tensor, *, alpha: float = 1.0) -> Tensor:
    return torch.where(x > 0, x, alpha * torch.expm1(x))


@computes("gelu")
def _gelu(x: Tensor, *, mode: Literal["EXACT", "TANH_APPROXIMATION", "SIGMOID_APPROXIMATION"] = "EXACT") -> Tensor:
    if mode == "SIGMOID_APPROXIMATION":
        return x * torch.sigmoid(1.702 * x)
    return F.gelu(x, approximate={"EXACT": "none", "TANH_APPROXIMATION": "tanh"}[mode])


@computes("leaky_relu")
def _leaky_relu(x: Tensor, *, alpha: float = 0.01) -> Tensor:
    return torch.where(x >= 0, x, alpha * x)


@computes("linear_activation")
def _linear_activation(x: Tensor, *, alpha: float, beta: float = 0.0) -> Tensor:
    return alpha * x + beta


@computes("prelu")
def _prelu(x: Tensor, alpha: Tensor) -> Tensor:
    return torch.where(x >= 0, x, _per_channel(alpha, x) * x)


@computes("scaled_tanh")
def _scaled_tanh(x: Tensor, *, alpha: float = 1.0, beta: float = 1.0) -> Tensor:
    return alpha * torch.tanh(beta * x)


@computes("sigmoid_hard")
def _sigmoid_hard(x: Tensor, *, alpha: float = 0.2, beta: float = 0.5) -> Tensor:
    return (alpha * x + beta).clamp(0, 1)


@computes("softplus_parametric")
def _softplus_parametric(x: Tensor, alpha: Tensor, beta: Tensor) -> Tensor:
    return _per_channel(alpha, x) * F.softplus(_per_channel(beta, x) * x)


@computes("thresholded_relu")
def _thresholded_relu(x: Tensor, *, alpha: float = 1.0) -> Tensor:
    return torch.where(x >= alpha, x, 0.0)


def _per_channel(vector: Tensor, x: Tensor) -> Tensor:
    """(C,) -> (C, 1, ...), so that it multiplies the second axis of x."""
    return vector.reshape(-1, *[1] * (x.ndim - 2))
