"""What a graph may hold, whatever its format: counted from its file before an engine sees it.

An engine builds what a file asks for: a loop of 2**62 rounds, a constant of 2**40 elements, a million operators. So
each format's reader (`onnx_file`, `ort_file`, `tflite_file`, `coreml_file`) shows what it finds to a `Budget`. Shapes
are those that the file declares; what an operator computes can be larger. ONNX Runtime is held to them, and to a limit
on its memory (`onnx`); the other engines have no such setting.
"""

from __future__ import annotations

from collections.abc import Iterable

from qlot.runtime.bundle.limits import MAX_ELEMENTS, MAX_OPERATORS, MAX_TENSORS
from qlot.runtime.errors import SessionError

MAX_RANK = 16  # exported graphs have at most 6


class Budget:
    """Counts a graph's operators and tensors.

    Args:
        name: stage name, for messages.
    """

    def __init__(self, name: str) -> None:
        self._name, self._operators, self._tensors = name, 0, 0

    def operators(self, count: int) -> None:
        """Count operators.

        Raises:
            SessionError: there are too many by now.
        """
        self._operators += count
        if self._operators > MAX_OPERATORS:
            raise SessionError(
                f"{self._name}: the graph has {self._operators:,} operators or more, {MAX_OPERATORS:,} are allowed."
            )

    def tensors(self, count: int) -> None:
        """Count tensors, likewise."""
        self._tensors += count
        if self._tensors > MAX_TENSORS:
            raise SessionError(
                f"{self._name}: the graph has {self._tensors:,} tensors or more, {MAX_TENSORS:,} are allowed."
            )

    def shape(self, shape: Iterable[int]) -> None:
        """Check a tensor's shape; a size that is left open counts as 1."""
        elements = 1
        for i, size in enumerate(shape):
            elements *= max(size, 1)
            if elements > MAX_ELEMENTS or i >= MAX_RANK:
                raise SessionError(
                    f"{self._name}: the graph has a tensor of more than {MAX_ELEMENTS:,} elements or {MAX_RANK} "
                    "dimensions, which are allowed."
                )

    def refuse(self, what: str) -> SessionError:
        """Return the error for what no exported graph has, such as a loop."""
        return SessionError(
            f"{self._name}: the graph has {what}, which no exported graph has. Export the bundle again."
        )
