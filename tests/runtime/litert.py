"""TFLite files built by hand, without a converter, and the stage that fits them."""

from __future__ import annotations

from qlot.runtime.bundle.manifest import StageSpec, TensorSpec

SHAPE = (1, 4)


def spec(inputs: str = "x", outputs: str = "y", shape: tuple[int, ...] = SHAPE, dtype: str = "float32") -> StageSpec:
    def tensors(names: str) -> tuple[TensorSpec, ...]:
        made = [{"name": n, "shape": shape, "dtype": dtype, "meaning": "test", "unit": "1"} for n in names]
        return tuple(TensorSpec.model_validate(m) for m in made)

    return StageSpec(file="f.tflite", iterations=1, inputs=tensors(inputs), outputs=tensors(outputs), macs=0, ops={})


def model(*ops: str, signature: str = "refiner", fill: int = 1) -> bytes:
    """Return a file that applies unary operators in turn, each also added to its input `fill` times.

    XNNPACK leaves a lone operator to the interpreter's kernels where a partition would not pay, so `fill` makes work.
    """
    from ai_edge_litert import schema_py_generated as schema
    from ai_edge_litert.tools import flatbuffer_utils

    made, graph = schema.ModelT(), schema.SubGraphT()
    made.version, made.operatorCodes, made.buffers, made.subgraphs = 3, [], [schema.BufferT()], [graph]
    graph.tensors, graph.operators = [], []

    def tensor(name: str) -> int:
        t = schema.TensorT()
        t.shape, t.type, t.buffer, t.name = list(SHAPE), schema.TensorType.FLOAT32, 0, name.encode()
        graph.tensors.append(t)
        return len(graph.tensors) - 1

    def apply(op: str, inputs: list[int]) -> int:
        code = schema.OperatorCodeT()
        code.builtinCode = getattr(schema.BuiltinOperator, op)
        code.deprecatedBuiltinCode, code.version = min(code.builtinCode, 127), 1
        made.operatorCodes.append(code)
        node = schema.OperatorT()
        node.opcodeIndex, node.inputs, node.outputs = len(made.operatorCodes) - 1, inputs, [tensor(op.lower())]
        if op == "ADD":
            node.builtinOptionsType, node.builtinOptions = schema.BuiltinOptions.AddOptions, schema.AddOptionsT()
        graph.operators.append(node)
        return node.outputs[0]

    at = first = tensor("x")
    for op in ops:
        at = apply(op, [at])
        for _ in range(fill):
            at = apply("ADD", [at, at])
    graph.inputs, graph.outputs = [first], [at]
    sig = schema.SignatureDefT()
    sig.signatureKey, sig.subgraphIndex = signature.encode(), 0
    maps = []
    for name, index in (("x", first), ("y", at)):
        entry = schema.TensorMapT()
        entry.name, entry.tensorIndex = name.encode(), index
        maps.append([entry])
    sig.inputs, sig.outputs = maps
    made.signatureDefs = [sig]
    return bytes(flatbuffer_utils.convert_object_to_bytearray(made))
