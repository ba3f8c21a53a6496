"""A run's folder: the state to resume from, and the weights to use. Whole or not there at all."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import torch

from qlot.runtime.partial import written_whole
from qlot.training.data.clip import DataError

STATE, WEIGHTS, LOG = "state.pt", "weights.safetensors", "log.jsonl"


def save_state(folder: Path, state: dict[str, Any], name: str = STATE) -> None:
    """Write the state, whole or not at all."""
    with written_whole(folder / name) as temporary:
        torch.save(state, temporary)


def load_state(folder: Path, recipe: dict[str, Any]) -> dict[str, Any] | None:
    """Return the state of a run, or None if it has not begun.

    Raises:
        DataError: it cannot be read, or was made by another recipe; the message names what differs.
    """
    path = folder / STATE
    if not path.is_file():
        return None
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        before = state["recipe"]
    except pickle.UnpicklingError as e:  # torch's own message advises to load it unsafely
        raise DataError(f"{path} cannot be resumed from (damaged). Remove it to start anew.") from e
    except (OSError, RuntimeError, EOFError, KeyError, TypeError) as e:
        raise DataError(f"{path} cannot be resumed from ({e}). Remove it to start anew.") from e
    free = {"steps", "validate_every", "save_every"}  # a run may go on for longer, and look at itself more often
    differ = sorted(k for k in recipe.keys() | before.keys() if k not in free and recipe.get(k) != before.get(k))
    if differ:
        raise DataError(f"{folder} was begun with another recipe: {', '.join(differ)} differ. Give another --out.")
    return state
