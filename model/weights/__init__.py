"""Weights that come with the package; `MODEL_CARD.md` says what they were trained on and how good they are."""

from __future__ import annotations

from pathlib import Path

from qlot.model.checkpoint import CheckpointError, load_checkpoint
from qlot.model.qlot import QLOT

DEFAULT = "base"


def shipped_weights() -> tuple[str, ...]:
    """Names of the shipped weights, each named after its preset."""
    return tuple(sorted(p.stem for p in Path(__file__).parent.glob("*.safetensors")))


def weights_path(name: str = DEFAULT) -> Path:
    """File of shipped weights.

    Raises:
        CheckpointError: no such weights; the message lists those there are.
    """
    if name not in shipped_weights():
        raise CheckpointError(f"no shipped weights named {name!r}; there are: {', '.join(shipped_weights())}")
    return Path(__file__).parent / f"{name}.safetensors"


def load_default(name: str = DEFAULT) -> QLOT:
    """Load shipped weights, in eval mode, float32."""
    return load_checkpoint(weights_path(name))
