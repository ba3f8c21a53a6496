"""How Core ML packages store what they compute with in float32: larger weights as float16, unpacked by Core ML at load.

The unpacking is MIL's `constexpr_cast`, which is to Core ML what a folded Cast is to ONNX Runtime (`onnx_storage`).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from qlot.export.graphs.schemes import LEAST_VALUES, SchemePlan
from qlot.runtime.quiet import quiet

with quiet():
    from coremltools.converters.mil.mil import Builder
    from coremltools.converters.mil.mil.passes.graph_pass import AbstractGraphPass
    from coremltools.models import utils

_HALF = np.finfo(np.float16)


def store(model: Any, plan: SchemePlan) -> Any:
    """Return a converted model whose larger float32 constants are stored as float16, unless the plan keeps float32.

    Args:
        model: `MLModel`; what a compression has already replaced is left alone.
        plan: the scheme; fp32 leaves the model as it is.
    """
    # The step that coremltools' own compressions end in; it has no public name.
    return model if plan.name == "fp32" else utils._apply_graph_pass(model, _HalfStorage())


class _HalfStorage(AbstractGraphPass):
    """Replaces constants by `constexpr_cast` of their float16 values."""

    def apply(self, prog: Any) -> None:
        """Change a pymil program in place."""
        for block in prog.functions.values():
            with block:
                for op in list(block.operations):
                    if op.op_type == "const" and _is_large(op.outputs[0]):
                        _unpack(block, op)


def _is_large(var: Any) -> bool:
    """Whether a constant is worth storing in half, and can be; of vectors, coremltools knows a defect and says no."""
    value = var.val
    return bool(
        isinstance(value, np.ndarray)
        and value.dtype == np.float32
        and value.ndim > 1
        and value.size >= LEAST_VALUES
        and float(np.abs(value).max()) <= _HALF.max
        and not any(reader.op_type.startswith("constexpr_") for reader in var.child_ops)
    )


def _unpack(block: Any, op: Any) -> None:
    old = op.outputs[0]
    half = Builder.const(val=old.val.astype(np.float16), before_op=op, name=f"{op.name}_half")
    new = Builder.constexpr_cast(source_val=half, output_dtype="fp32", before_op=op, name=f"{op.name}_stored")
    block.replace_uses_of_var_after_op(anchor_op=op, old_var=old, new_var=new, no_check_var_types=True)
    block.remove_ops([op])
