"""Verify an exported bundle against PyTorch again, over more frames than its golden sequence holds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from qlot.export.calibration.frames import parity_clip
from qlot.export.errors import ExportError
from qlot.export.graphs.schemes import plan_for
from qlot.export.graphs.stages import Stage, make_stages
from qlot.export.parity.console import print_levels
from qlot.export.parity.levels import Levels, measure_levels, record_levels
from qlot.export.pipeline import load_model, resolve_checkpoint
from qlot.export.report.latency import measure_latency
from qlot.export.report.page import Findings, check_place, write_page
from qlot.model.checkpoint import file_sha256
from qlot.model.fuse import fuse
from qlot.model.layout import Layout
from qlot.model.qlot import QLOT
from qlot.model.torch_network import TorchNetwork, one_thread, write_mask
from qlot.runtime.bundle.folder import Bundle
from qlot.runtime.bundle.manifest import LayoutSpec
from qlot.runtime.network.bundle_network import BundleNetwork

__all__ = ["origin", "print_levels", "verify_against_torch"]


@one_thread()
def verify_against_torch(bundle: Bundle, checkpoint: str | None = None, page: Path | None = None) -> Levels:
    """Hold a bundle against its checkpoint in float32 PyTorch over the parity frames of the sample clip.

    Args:
        bundle: an open bundle.
        checkpoint: file or name of shipped weights; None looks among the shipped weights.
        page: where the report goes as HTML; None for nowhere.

    Raises:
        ExportError: the checkpoint is not the one the bundle was exported from, or cannot be found; or the page cannot
            be written.
    """
    if page is not None:
        check_place(page, bundle.path)
    manifest = bundle.manifest
    model, layout, stages = origin(bundle, checkpoint)
    expected = record_levels(TorchNetwork(model, layout), manifest, parity_clip())
    network = BundleNetwork(bundle)
    levels = measure_levels(bundle, network, expected, stages, plan_for(manifest.target, manifest.scheme.name))
    if page is not None:
        write_page(page, Findings(bundle.path.name, manifest, levels, measure_latency(network, expected.run)))
    return levels


def origin(bundle: Bundle, checkpoint: str | None = None) -> tuple[QLOT, Layout, list[Stage]]:
    """Load what a bundle was exported from: the network, its layout, and the float stages before conversion.

    Args:
        bundle: an open bundle.
        checkpoint: file or name of shipped weights; None looks among the shipped weights.

    Raises:
        ExportError: the checkpoint is not the one the bundle was exported from, or cannot be found.
    """
    manifest = bundle.manifest
    path = resolve_checkpoint(checkpoint or manifest.model.checkpoint.removesuffix(".safetensors"))
    if file_sha256(path) != manifest.model.checkpoint_sha256:
        raise ExportError(
            f"{path.name} is not the checkpoint that {bundle.path} was exported from (other hash): pass it with "
            "--checkpoint."
        )
    model, layout = load_model(path), _layout(manifest.layout)
    points = torch.tensor(layout.points, dtype=torch.float32)
    return model, layout, make_stages(fuse(model, points, mask=write_mask(layout), lowering=manifest.lowering))


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
