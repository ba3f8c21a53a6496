"""Verify an exported bundle against PyTorch again, over more frames than its golden sequence holds."""

from __future__ import annotations

import numpy as np

from qlot.export.clips import parity_clip
from qlot.export.errors import ExportError
from qlot.export.parity import PARITY_LENGTH, ParityReport, measure, record_reference
from qlot.export.pipeline import load_model, resolve_checkpoint
from qlot.export.schemes import PLANS
from qlot.model.checkpoint import file_sha256
from qlot.model.layout import Layout
from qlot.model.stages import TorchStages
from qlot.runtime.bundle import Bundle
from qlot.runtime.manifest import LayoutSpec


def verify_against_torch(bundle: Bundle, checkpoint: str | None = None) -> ParityReport:
    """Run a bundle free over the parity frames of the sample clip, beside its checkpoint in float32 PyTorch.

    Args:
        bundle: an open bundle.
        checkpoint: file or name of shipped weights; None looks among the shipped weights.

    Raises:
        ExportError: the checkpoint is not the one the bundle was exported from, or cannot be found.
    """
    manifest = bundle.manifest
    name = checkpoint or manifest.model.checkpoint.removesuffix(".safetensors")
    path = resolve_checkpoint(name)
    if file_sha256(path) != manifest.model.checkpoint_sha256:
        raise ExportError(
            f"{path.name} is not the checkpoint that {bundle.path} was exported from (other hash): pass it with "
            "--checkpoint."
        )
    reference = TorchStages(load_model(path), _layout(manifest.layout))
    expected = record_reference(reference, manifest, parity_clip(), PARITY_LENGTH)
    return measure(bundle, expected, PLANS[manifest.scheme.name])


def _layout(spec: LayoutSpec) -> Layout:
    return Layout(
        name=spec.name,
        points=np.array(spec.points),
        names=spec.names,
        groups=spec.groups,
        mirror=spec.mirror,
        edges=spec.edges,
        outer_eyes=spec.outer_eyes,
        write_mask=spec.write_mask,
    )
