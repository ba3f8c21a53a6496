"""What a MIL program says about itself: its operations, the modules its products came from, and what they cost."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

from qlot.export.errors import TargetError
from qlot.export.graphs.schemes import SchemePlan
from qlot.export.graphs.stages import Stage
from qlot.mil._coremltools import types
from qlot.mil.constants import is_constant
from qlot.mil.ports import torch_dtype
from qlot.model.layers import HeadedLinear

# What has weights of its own, and which input they are; of a matmul only where they are a module's.
PRODUCTS = {"conv": "weight", "linear": "weight", "matmul": "y"}

# How coremltools marks constants that it stores otherwise, the last change at the end.
_STORED_AS = ("_quantized", "_palettized", "_stored", "_to_fp16")

# (weights, input) of a product -> its arithmetic in the words of the schemes' table.
_ARITHMETIC = {
    ("float32", "float32"): "float32",
    ("float16", "float16"): "float16",
    ("int8", "float32"): "int8 weights",
    ("int8", "int8"): "int8",
    ("int4", "float32"): "int4 weights",
    ("64 values", "float32"): "6-bit palette weights",
    ("16 values", "float32"): "4-bit palette weights",
}


@dataclass(frozen=True)
class Product:
    """A convolution, linear layer or matrix product with the weights of a module.

    Attributes:
        op: name of the operation.
        weight: name of the constant that holds its weights.
        path: path of the module whose weights these are; "" where they are no module's.
        arithmetic: how it computes, as in the schemes' table.
        shape: of its weights: output channels, input channels (of a group), then the kernel's sides; of a matmul
            heads, input channels, output channels.
    """

    op: str
    weight: str
    path: str
    arithmetic: str
    shape: tuple[int, ...]


def operations(program: Any) -> list[Any]:
    """List the operations of a pymil program with one function, constants left out."""
    (main,) = program.functions.values()
    return [op for op in main.operations if not is_constant(op)]


def histogram(program: Any) -> dict[str, int]:
    """Count operations by type."""
    return dict(sorted(Counter(op.op_type for op in operations(program)).items()))


def products(ops: Sequence[Any], known: Mapping[str, str]) -> list[Product]:
    """List the products among operations; `known` is the module path of each constant of weights."""
    found = []
    for op in ops:
        if op.op_type in PRODUCTS:
            weight = op.inputs[PRODUCTS[op.op_type]]
            path = known.get(_constant(weight.name), "")
            if path or op.op_type != "matmul":
                shape = tuple(map(int, weight.shape))
                found.append(Product(op.name, weight.name, path, _arithmetic(op, weight), shape))
    return found


def check_products(found: Sequence[Product], stage: Stage, plan: SchemePlan) -> None:
    """Refuse a program that does not compute each module as the scheme says.

    Configurations go by names: were they lost in conversion, everything would silently stay in float32.

    Raises:
        TargetError: a product computes otherwise, or a module of the plan has too few or too many.
    """
    for p in found:
        wanted = plan.quantised(p.path)
        if p.arithmetic != wanted:
            raise TargetError(
                f"the converted {stage.name} computes {p.path or p.op} in {p.arithmetic}, wanted {wanted}"
            )
    part = "model.refiner." if stage.iterations else ("model.backbone.", "model.pyramid.")
    layers = [path for path, m in stage.module.named_modules() if isinstance(m, (nn.Conv2d, nn.Linear, HeadedLinear))]
    counts, each = Counter(p.path for p in found), max(1, stage.iterations)
    named = {path for path in (*layers, *counts) if path.startswith(part) and plan.quantised(path) != "float32"}
    for path in sorted(named):
        expected = each if path in layers else 0
        if counts[path] != expected:
            raise TargetError(f"the converted {stage.name} has {counts[path]} products of {path}, wanted {expected}")


def count_macs(program: Any) -> int:
    """Count the multiply-accumulates of convolutions and matrix products from their shapes."""
    return sum(_macs(op) for op in operations(program))


def _macs(op: Any) -> int:
    if op.op_type in ("conv", "linear"):  # weights are (O, I / groups, KH, KW) and (O, I)
        return math.prod(op.outputs[0].shape) * math.prod(op.weight.shape[1:])
    if op.op_type == "matmul":
        transposed = op.transpose_x is not None and op.transpose_x.val
        return math.prod(op.outputs[0].shape) * int(op.x.shape[-2 if transposed else -1])
    return 0


def _constant(name: str) -> str:
    for mark in _STORED_AS:
        name = name.removesuffix(mark)
    return name


def _arithmetic(op: Any, weight: Any) -> str:
    weights = _storage(weight)
    inputs = "int8" if op.x.op is not None and op.x.op.op_type == "dequantize" else _dtype(op.x)
    return _ARITHMETIC.get((weights, inputs), f"{weights} weights on {inputs} inputs")


def _storage(var: Any) -> str:
    """Return what a constant is stored as, where that is other than floats."""
    kind = "" if var.op is None else var.op.op_type
    if kind == "constexpr_lut_to_dense":
        entries = var.op.lut.shape
        return f"{entries[-2] if len(entries) > 1 else entries[0]} values"
    if kind == "constexpr_blockwise_shift_scale":  # since iOS 18, in place of constexpr_affine_dequantize
        return types.builtin_to_string(var.op.data.dtype)
    return "int8" if kind == "constexpr_affine_dequantize" else _dtype(var)


def _dtype(var: Any) -> str:
    return str(torch_dtype(var)).removeprefix("torch.")
