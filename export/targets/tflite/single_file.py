"""TFLite, `--packing single-file`: the graphs of all stages in one file, a signature each, equal weights stored once.

Each graph comes from its own file as it was traced, quantised and checked there, and is not changed. What graphs of a
file share are its tables: operator codes, and buffers, of which two with the same bytes become one. So an unrolled
refiner adds its operators, not its weights.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from ai_edge_litert import schema_py_generated as schema

from qlot.export.errors import TargetError
from qlot.export.graphs.stages import Stage
from qlot.export.targets.base import Graph, Packed
from qlot.export.targets.tflite.convert import check, run_once
from qlot.export.targets.tflite.graph import read, written
from qlot.runtime.bundle.manifest import StageName


def pack(stages: Sequence[Stage], graphs: Mapping[StageName, Graph]) -> Packed:
    """Merge the stages' files, and run each signature of the result.

    Raises:
        TargetError: a signature does not run, or not with the partitions that it had in its own file.
    """
    whole = merged([read(graphs[s.name].data) for s in stages])
    data, packed = written(whole), {}
    for stage in stages:
        run_once(data, stage, None)
        split, before = check(written(with_first(whole, stage.name)), stage, None), graphs[stage.name].delegation
        if split != before:
            raise TargetError(f"in the single file the {stage.name} runs as {split}, in a file of its own as {before}")
        packed[stage.name] = replace(graphs[stage.name], data=data, function=stage.name)
    return Packed(packed)


def merged(models: Sequence[Any]) -> Any:
    """Put the graphs of parsed files with one graph each into the first of them.

    Raises:
        TargetError: a file has several graphs, which may refer to each other by number.
    """
    if any(len(model.subgraphs) != 1 for model in models):
        raise TargetError("a stage converted to several graphs cannot go into a single file: leave --packing out.")
    whole, codes, buffers = models[0], _Table(_operator_code), _Table(_content)
    buffers.place(schema.BufferT())  # the first is that of all tensors without content
    for index, model in enumerate(models):
        (graph,) = model.subgraphs
        for tensor in graph.tensors:
            tensor.buffer = buffers.place(model.buffers[tensor.buffer])
        for node in graph.operators:
            node.opcodeIndex = codes.place(model.operatorCodes[node.opcodeIndex])
        for signature in model.signatureDefs:
            signature.subgraphIndex = index
    whole.subgraphs = [graph for model in models for graph in model.subgraphs]
    whole.signatureDefs = [signature for model in models for signature in model.signatureDefs]
    for entry in whole.metadata or []:
        entry.buffer = buffers.place(whole.buffers[entry.buffer])
    whole.operatorCodes, whole.buffers = codes.entries, buffers.entries
    return whole


def with_first(model: Any, signature: str) -> Any:
    """Put the graph of a signature in first place, that of the graph whose operators the engine lists."""
    at = next(s.subgraphIndex for s in model.signatureDefs if s.signatureKey.decode() == signature)
    order = [at, *(i for i in range(len(model.subgraphs)) if i != at)]
    for entry in model.signatureDefs:
        entry.subgraphIndex = order.index(entry.subgraphIndex)
    model.subgraphs = [model.subgraphs[i] for i in order]
    return model


class _Table:
    """Entries that a file's graphs refer to by number, none twice."""

    def __init__(self, meaning: Callable[[Any], Hashable]) -> None:
        self.entries: list[Any] = []
        self._meaning, self._places = meaning, dict[Hashable, int]()

    def place(self, entry: Any) -> int:
        place = self._places.setdefault(self._meaning(entry), len(self.entries))
        if place == len(self.entries):
            self.entries.append(entry)
        return place


def _operator_code(code: Any) -> Hashable:
    return code.builtinCode, code.customCode, code.version


def _content(buffer: Any) -> Hashable:
    return None if buffer.data is None else bytes(buffer.data)
