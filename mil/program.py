"""A loaded function of a CoreML package, to be run on any machine."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from qlot.mil.compiler import Compiler
from qlot.mil.constants import is_constant
from qlot.mil.errors import PackageError
from qlot.mil.package import load_program, read_spec
from qlot.mil.ports import Port, check_feeds, port_for, port_of
from qlot.mil.steps import Frame, Observe, StateCell, free_early, run_steps, to_array, to_tensor

ENGINE = "MIL interpreter (not Apple hardware)"
Arrays = dict[str, NDArray[Any]]


class Program:
    """One function, its constants decoded and its operations bound; `load` makes it.

    Attributes:
        function: its name.
        functions: all functions of the package.
        inputs: what `run` takes. An image-typed input is the tensor that Core ML would make of the image: 0..255.
        images: colour space of each image-typed input, by name.
        outputs: what `run` returns. A classifier returns its label, a string or an integer, as an array of no axes,
            and in place of Core ML's dictionary the probabilities, (classes,), in the order of `classes`.
        classes: the labels of a classifier; empty if it is none.
        states: tensors that live between runs, see `new_state`.
        ops: how many of each operation it has, constants not counted.
    """

    def __init__(
        self, mil: Any, functions: tuple[str, ...], name: str, features: Mapping[str, Any] = MappingProxyType({})
    ) -> None:
        """Bind a function of a pymil program.

        Args:
            mil: the function.
            functions: the names of all functions of the package.
            name: the function's own.
            features: the model's descriptions of the function's inputs, by name, as far as there are any.

        Raises:
            OpError: an operation is unknown here.
        """
        self.function, self.functions, self.images = name, functions, _images(features)
        compiler = Compiler(name)
        inputs = list(mil.inputs.values())
        states = [v for v in inputs if _wrapped(v) is not None]
        feeds = [v for v in inputs if _wrapped(v) is None]
        steps = compiler.compile(list(mil.operations))
        self.inputs = tuple(port_for(v, features.get(v.name)) for v in feeds)
        self.states = tuple(port_of(v, _wrapped(v)) for v in states)
        self.classes = compiler.classes
        self.outputs = tuple(_output(v, self.classes) for v in mil.outputs)
        self.ops = Counter(op.op_type for op in mil.operations if not is_constant(op))
        self._input_places = [compiler.place(v) for v in feeds]
        self._state_places = [compiler.place(v) for v in states]
        self._results = [compiler.read(v) for v in mil.outputs]
        keep = {compiler.place(v) for v in (*mil.outputs, *states) if v not in compiler.constants}
        self._steps = free_early(steps, keep)
        self._size = compiler.size
        self._label = next((v.name for v in mil.outputs if _is_classifiers(v) and v is v.op.outputs[0]), None)

    def new_state(self) -> Arrays:
        """Return states as Core ML starts them: zeros. Hand the same dictionary to each run."""
        return {p.name: np.zeros([s or 1 for s in p.shape], p.dtype) for p in self.states}

    def run(
        self, feeds: Mapping[str, NDArray[Any]], state: Arrays | None = None, observe: Observe | None = None
    ) -> Arrays:
        """Compute the function once.

        Args:
            feeds: exactly the tensors of `inputs`.
            state: the tensors of `states`, replaced by their new values; needed only if there are any.
            observe: called with name and value of every input and of every operation's results, in the order they are
                computed; the array is only valid during the call.

        Returns:
            The tensors of `outputs`.

        Raises:
            FeedError: a feed or a state is missing, unknown, or has another dtype or shape.
            OpError: an operation failed.
        """
        check_feeds("input", feeds, self.inputs)
        held = state if state is not None else {}
        check_feeds("state", held, self.states)
        frame: Frame = [None] * self._size
        for port, place in zip(self.inputs, self._input_places, strict=True):
            frame[place] = to_tensor(feeds[port.name])
            if observe is not None:
                observe(port.name, to_array(frame[place], port))
        cells = [StateCell(to_tensor(held[p.name])) for p in self.states]
        for place, cell in zip(self._state_places, cells, strict=True):
            frame[place] = cell
        with torch.inference_mode():
            run_steps(self._steps, frame, observe)
            values = [read(frame) for read in self._results]
        for port, cell in zip(self.states, cells, strict=True):
            held[port.name] = np.array(to_array(cell.value, port))
        return {p.name: self._returned(value, p) for p, value in zip(self.outputs, values, strict=True)}

    def _returned(self, value: torch.Tensor, port: Port) -> NDArray[Any]:
        if self.classes and port.name == self._label:
            return np.array(self.classes[int(value)])
        return np.array(to_array(value, port))


def load(path: Path, function: str | None = None) -> Program:
    """Load a saved `.mlpackage`.

    Args:
        path: the package's folder.
        function: one of a multifunction package; None: its default.

    Raises:
        PackageError: no package, incomplete or corrupt, no ML program, or no such function.
        OpError: it uses an operation that is unknown here.
    """
    spec, weights = read_spec(Path(path))
    return from_spec(spec, weights, function, str(path))


def from_model(model: Any, function: str | None = None) -> Program:
    """Load a model that is in memory, a `coremltools.models.MLModel`; see `load`."""
    return from_spec(model.get_spec(), Path(model.weights_dir or ""), function, "the model")


def from_spec(spec: Any, weights: Path, function: str | None, where: str) -> Program:
    """Load a model description, a protobuf message, with the folder of its weights; see `load`."""
    program = load_program(spec, weights, where)
    functions = tuple(program.functions)
    name = function or spec.description.defaultFunctionName or "main"
    if name not in functions:
        raise PackageError(f"{where} has no function {name!r}; there are: {', '.join(sorted(functions))}")
    return Program(program.functions[name], functions, name, _features(spec.description, name))


def _features(description: Any, function: str) -> dict[str, Any]:
    """Return the descriptions of a function's inputs by name."""
    described = next((f for f in description.functions if f.name == function), description)
    return {f.name: f for f in described.input}


def _images(features: Mapping[str, Any]) -> dict[str, str]:
    """Return the colour space of each image-typed input."""
    images = {n: f.type.imageType for n, f in features.items() if f.type.WhichOneof("Type") == "imageType"}
    return {name: i.ColorSpace.Name(i.colorSpace) for name, i in images.items()}


def _output(var: Any, classes: Sequence[str | int]) -> Port:
    """Describe an output; a classifier's are a label and the probabilities of all labels."""
    if not _is_classifiers(var):
        return port_of(var)
    if var is var.op.outputs[0]:
        return Port(var.name, "str" if isinstance(classes[0], str) else "int64", ())
    return Port(var.name, "float32", (len(classes),))


def _is_classifiers(var: Any) -> bool:
    return var.op is not None and var.op.op_type == "classify"


def _wrapped(var: Any) -> Any:
    """Return the tensor type inside a state; None for what is no state."""
    wrapped = getattr(var.sym_type, "wrapped_type", None)
    return None if wrapped is None else wrapped()
