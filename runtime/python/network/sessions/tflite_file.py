"""Look through a TFLite file before the engine does: no loops, nothing beyond the budget.

The engine checks how a file is built, but trusts the numbers in it. Slots and codes are those of TFLite's schema.fbs.
"""

from __future__ import annotations

from qlot.runtime.errors import SessionError
from qlot.runtime.network.sessions.budget import Budget
from qlot.runtime.network.sessions.flatbuffer import Table, root

_MODEL_CODES, _MODEL_SUBGRAPHS = 6, 8
_GRAPH_TENSORS, _GRAPH_OPERATORS = 4, 10
_TENSOR_SHAPE = 4
_CODE_OLD, _CODE = 4, 10
MAX_CODES = 1000  # the schema has some 210 operators
MAX_SUBGRAPHS = 16  # one for each stage; loops and branches would have theirs here too
# Operators that run other graphs of the file, or code that is not the engine's.
_REFUSED = {
    31: "CALL", 32: "CUSTOM", 118: "IF", 119: "WHILE", 129: "CALL_ONCE", 173: "STABLEHLO_CUSTOM_CALL",
    174: "STABLEHLO_REDUCE", 190: "STABLEHLO_SCATTER", 198: "STABLEHLO_REDUCE_WINDOW", 199: "STABLEHLO_SORT",
    200: "STABLEHLO_WHILE", 206: "STABLEHLO_COMPOSITE", 209: "STABLEHLO_CASE",
}  # fmt: skip


def check_tflite(data: bytes, name: str) -> None:
    """Look through a TFLite model's bytes.

    Raises:
        SessionError: the model has what no exported one has or too much of it, or it is no TFLite model.
    """
    try:
        _check(root(data), Budget(name))
    except ValueError as e:
        raise SessionError(f"{name}: the file is not a TFLite model: {e}. Export the bundle again.") from e


def _check(model: Table, budget: Budget) -> None:
    if model.length(_MODEL_CODES) > MAX_CODES or model.length(_MODEL_SUBGRAPHS) > MAX_SUBGRAPHS:
        raise budget.refuse(f"more than {MAX_CODES:,} kinds of operators, or more than {MAX_SUBGRAPHS} graphs")
    for code in model.tables(_MODEL_CODES):
        number = max(code.number(_CODE_OLD, "b"), code.number(_CODE, "i"))  # the new field extends the old one
        if number in _REFUSED:
            raise budget.refuse(f"the operator {_REFUSED[number]}")
    for graph in model.tables(_MODEL_SUBGRAPHS):
        budget.operators(graph.length(_GRAPH_OPERATORS))
        budget.tensors(graph.length(_GRAPH_TENSORS))
        for tensor in graph.tables(_GRAPH_TENSORS):
            budget.shape(tensor.numbers(_TENSOR_SHAPE, "i"))
