"""Where labels have landmarks that the canonical face has elsewhere.

A query is a place on the canonical face, and nearby places lie near each other in a picture. The 68 labels break that:
the points of their jaw lie up to a sixth of the outer-eye distance from where a face has the canonical points of the
same name. A network that is asked at the canonical places has to learn jumps, and its jaw and the contour beside it
suffer. So weights may state a convention (`QLOTConfig.convention`): a query at one of its points is encoded where the
labels have that landmark. Layouts, crops and cold starts keep the canonical points.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

SAME: Final = 1e-3  # canonical units: the same point, as float32 and JSON have it
_FOLDER: Final = Path(__file__).with_name("conventions")


class ConventionError(ValueError):
    """No such convention."""


def conventions() -> list[str]:
    """Names of the conventions there are."""
    return sorted(path.stem for path in _FOLDER.glob("*.json"))


@cache
def load_convention(name: str) -> tuple[Array, Array]:
    """Return canonical points (K, 3) and by how much labels lie off each (K, 3), canonical units.

    Raises:
        ConventionError: there is none of that name.
    """
    if name not in conventions():
        raise ConventionError(f"no convention {name!r}; there are: {', '.join(conventions())}")
    data = json.loads((_FOLDER / f"{name}.json").read_text(encoding="utf-8"))
    return np.array(data["points"], np.float64), np.array(data["moves"], np.float64)


def as_labelled(points: Array, name: str) -> Array:
    """Return canonical points (N, 3) with those of a convention where its labels have them."""
    at, moves = load_convention(name)
    apart = np.linalg.norm(points[:, None] - at, axis=-1)
    return points + np.where(apart.min(1, keepdims=True) < SAME, moves[apart.argmin(1)], 0.0)
