"""What every target offers, and the form of what it converts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from qlot.export.graphs.schemes import SchemePlan
from qlot.export.graphs.stages import Stage
from qlot.runtime.bundle.manifest import DelegationSpec, Lowering, StageName

StageInputs = Sequence[Mapping[str, NDArray[np.float32]]]


@dataclass(frozen=True)
class Graph:
    """One converted stage: a file, or a folder of files.

    Attributes:
        data: the file's bytes; none for a folder.
        suffix: of the name of the file or folder.
        macs: multiply-accumulates of one call.
        ops: operator histogram.
        files: a folder's files by path inside it; none for a file.
        delegation: how the engine splits it, where the engine tells.
        function: its name inside `data` or `files`, where several stages share them.
    """

    data: bytes
    suffix: str
    macs: int
    ops: dict[str, int]
    files: Mapping[str, bytes] = field(default_factory=dict)
    delegation: DelegationSpec | None = None
    function: str | None = None


@dataclass(frozen=True)
class Packed:
    """Graphs as they are written.

    Attributes:
        graphs: by stage. Those with a function share one file.
        extra: further files of the bundle, by path.
    """

    graphs: Mapping[StageName, Graph]
    extra: Mapping[str, bytes] = field(default_factory=dict)


class Converter(Protocol):
    """A target with the user's choice of options. Opening a session is the runtime's part.

    Attributes:
        default_lowering: what suits the target's engines.
        tools: distributions whose versions go into the manifest.
        min_ios: oldest iOS of the packages; None for what is not Apple's.
    """

    @property
    def default_lowering(self) -> Lowering: ...  # noqa: D102 - an attribute

    @property
    def tools(self) -> tuple[str, ...]: ...  # noqa: D102

    @property
    def min_ios(self) -> int | None: ...  # noqa: D102

    def plan(self, plan: SchemePlan) -> SchemePlan:
        """Return what a scheme's plan becomes under the options.

        Raises:
            SchemeError: they do not keep what the scheme stores or computes, with the nearest valid choice.
        """

    def declare(self, stages: Sequence[Stage]) -> list[Stage]:
        """Return the stages with the interface that the converted graphs will have."""

    def convert(self, stage: Stage, plan: SchemePlan, calibration: StageInputs | None) -> Graph:
        """Convert a declared stage under a plan.

        Args:
            stage: what is converted.
            plan: the scheme.
            calibration: recorded inputs of this stage, where the plan needs them.

        Raises:
            TargetError: the target cannot compute the stage, its library failed, or the result does not run.
        """

    def pack(self, stages: Sequence[Stage], graphs: Mapping[StageName, Graph]) -> Packed:
        """Turn the converted graphs of all stages into what is written.

        Raises:
            TargetError: the library failed, or a graph does not run as packed.
        """
