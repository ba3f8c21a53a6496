"""A stage's graph as the rules see it, whatever file it was read from."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from numpy.typing import NDArray

from qlot.export.errors import ExportError
from qlot.runtime.bundle.manifest import Target


class LintError(ExportError):
    """A bundle cannot be linted as asked."""


@dataclass(frozen=True, eq=False)
class GraphTensor:
    """A tensor of a graph.

    Attributes:
        name: its name in the file; a graph's inputs and outputs go by the manifest's names.
        shape: None where the file does not say.
        dtype: NumPy's word for it, or the format's own in lower case.
        constant: whether the file holds its values.
        values: those, where the reader keeps them; int8 weights already as the floats they stand for.
    """

    name: str
    shape: tuple[int, ...] | None
    dtype: str
    constant: bool = False
    values: NDArray[Any] | None = None


@dataclass(frozen=True)
class GraphNode:
    """An operation: its type in the format's words, and the names of its tensors; "" for an input left out."""

    op: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The name of its first output, by which findings address it."""
        return self.outputs[0] if self.outputs else ""


@dataclass(frozen=True)
class StageGraph:
    """One stage's graph.

    Attributes:
        stage: the manifest's name of it.
        target: whose format the file has.
        inputs: names of its inputs.
        outputs: names of its outputs.
        nodes: in the order in which they run.
        tensors: every tensor by name.
        versions: what the file says of itself: "ir" and "opset" of ONNX, "specification" of Core ML.
    """

    stage: str
    target: Target
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    nodes: tuple[GraphNode, ...]
    tensors: Mapping[str, GraphTensor]
    versions: Mapping[str, int] = field(default_factory=dict)

    @cached_property
    def readers(self) -> Counter[str]:
        """How many inputs of nodes each tensor is."""
        return Counter(name for node in self.nodes for name in node.inputs if name)

    @cached_property
    def makers(self) -> dict[str, GraphNode]:
        """The node that computes each tensor."""
        return {name: node for node in self.nodes for name in node.outputs}

    def shape(self, name: str) -> tuple[int, ...] | None:
        """Return a tensor's shape, None where the file does not say."""
        found = self.tensors.get(name)
        return None if found is None else found.shape

    def dtype(self, name: str) -> str:
        """Return a tensor's type, "" where the file does not say."""
        found = self.tensors.get(name)
        return "" if found is None else found.dtype

    @cached_property
    def computing(self) -> tuple[GraphNode, ...]:
        """The nodes that run at every call; what only unpacks constants is done once, at load."""
        return tuple(node for node in self.nodes if self.running(node))

    def running(self, node: GraphNode) -> list[str]:
        """Return the inputs of a node that are computed, not stored."""
        return [name for name in node.inputs if name and not self.stored(name)]

    def stored(self, name: str) -> bool:
        """Whether a tensor's values are in the file, as they are or to be unpacked."""
        found = self.tensors.get(name)
        if found is not None and found.constant:
            return True
        maker = self.makers.get(name)
        return maker is not None and bool(maker.inputs) and all(self.stored(i) for i in maker.inputs if i)
