"""The QLOT network in PyTorch, its checkpoints and landmark layouts."""

from qlot.model.checkpoint import CheckpointError, load_checkpoint, save_checkpoint
from qlot.model.config import PRESETS, QLOTConfig
from qlot.model.fuse import FusedQLOT, fuse
from qlot.model.layout import Layout, LayoutError, available_layouts, load_layout
from qlot.model.qlot import QLOT, Features
from qlot.model.state import TensorState
from qlot.model.weights import load_default, shipped_weights

__all__ = [
    "PRESETS", "QLOT", "CheckpointError", "Features", "FusedQLOT", "Layout", "LayoutError", "QLOTConfig", "TensorState",
    "available_layouts", "fuse", "load_checkpoint", "load_default", "load_layout", "save_checkpoint", "shipped_weights",
]  # fmt: skip
