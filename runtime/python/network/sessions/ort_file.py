"""Look through a file in ONNX Runtime's own format before the engine does: no loops, nothing beyond the budget.

Slots are those of the engine's ort.fbs.
"""

from __future__ import annotations

from qlot.runtime.errors import SessionError
from qlot.runtime.network.sessions.budget import Budget
from qlot.runtime.network.sessions.flatbuffer import Table, root

_SESSION_MODEL, _MODEL_GRAPH = 6, 18
_GRAPH_CONSTANTS, _GRAPH_VALUES, _GRAPH_NODES, _GRAPH_SPARSE = 4, 6, 8, 18
_NODE_KIND, _NODE_ATTRIBUTES = 14, 24
_ATTRIBUTE_TENSOR, _ATTRIBUTE_GRAPH, _ATTRIBUTE_TENSORS, _ATTRIBUTE_GRAPHS = 16, 18, 26, 28
_TENSOR_DIMS = 8
_VALUE_TYPE, _TYPE_VALUE, _TENSOR_SHAPE, _SHAPE_DIMS, _DIM_VALUE, _SIZE = 8, 8, 6, 4, 4, 6
_TYPE_KIND, _TENSOR_TYPE = 6, 1
MAX_ATTRIBUTES = 100  # of one operator


def check_ort(data: bytes, name: str) -> None:
    """Look through the bytes of a model in ORT format.

    Raises:
        SessionError: the model has what no exported one has or too much of it, or it is no such model.
    """
    try:
        model = root(data).table(_SESSION_MODEL)
        graph = model.table(_MODEL_GRAPH) if model else None
        if graph is None:
            raise ValueError("no graph")
        _check(graph, Budget(name))
    except ValueError as e:
        raise SessionError(f"{name}: the file is not a model in ORT format: {e}. Export the bundle again.") from e


def _check(graph: Table, budget: Budget) -> None:
    if graph.length(_GRAPH_SPARSE):
        raise budget.refuse("sparse weights")
    budget.operators(graph.length(_GRAPH_NODES))
    budget.tensors(graph.length(_GRAPH_CONSTANTS) + graph.length(_GRAPH_VALUES))
    for tensor in graph.tables(_GRAPH_CONSTANTS):
        budget.shape(tensor.numbers(_TENSOR_DIMS, "q"))
    for value in graph.tables(_GRAPH_VALUES):
        _check_value(value, budget)
    for node in graph.tables(_GRAPH_NODES):
        if node.length(_NODE_ATTRIBUTES) > MAX_ATTRIBUTES:
            raise budget.refuse(f"an operator of more than {MAX_ATTRIBUTES} attributes")
        for attribute in node.tables(_NODE_ATTRIBUTES):
            if attribute.table(_ATTRIBUTE_GRAPH) or attribute.length(_ATTRIBUTE_GRAPHS):
                raise budget.refuse(f"the operator {ascii(node.text(_NODE_KIND)[:50])[1:-1]}, which holds graphs")
            budget.tensors(attribute.length(_ATTRIBUTE_TENSORS))
            single = attribute.table(_ATTRIBUTE_TENSOR)
            for tensor in (*([single] if single else []), *attribute.tables(_ATTRIBUTE_TENSORS)):
                budget.shape(tensor.numbers(_TENSOR_DIMS, "q"))


def _check_value(value: Table, budget: Budget) -> None:
    kind = value.table(_VALUE_TYPE)
    tensor = kind.table(_TYPE_VALUE) if kind and kind.number(_TYPE_KIND, "B") == _TENSOR_TYPE else None
    shape = tensor.table(_TENSOR_SHAPE) if tensor else None
    if shape is None:
        return  # a tensor whose shape is left open
    if shape.length(_SHAPE_DIMS) > MAX_ATTRIBUTES:
        raise budget.refuse("a tensor of very many dimensions")
    sizes = [dim.table(_DIM_VALUE) for dim in shape.tables(_SHAPE_DIMS)]
    budget.shape(size.number(_SIZE, "q") if size else 1 for size in sizes)
