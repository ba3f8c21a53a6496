"""Stages in the form that the TFLite converter takes."""

from __future__ import annotations

from torch import Tensor, nn

from qlot.export.graphs.stages import Stage


class NamedStage(nn.Module):
    """A stage called by the names of its interface, which become those of the file's signature."""

    def __init__(self, stage: Stage) -> None:
        super().__init__()
        self.stage = stage.module
        self.inputs, self.outputs = [t.name for t in stage.inputs], [t.name for t in stage.outputs]

    def forward(self, **tensors: Tensor) -> dict[str, Tensor]:
        """Tensors by input name -> tensors by output name."""
        found = self.stage(*(tensors[name] for name in self.inputs))
        return dict(zip(self.outputs, found if isinstance(found, tuple) else (found,), strict=True))
