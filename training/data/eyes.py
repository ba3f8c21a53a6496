"""Which landmarks are an eye's: lids, corners, iris and pupil, by their place on the canonical face."""

from __future__ import annotations

from typing import Any

# Canonical units, a margin around the corners and lids of the shipped layouts; the brows lie above.
INNER, OUTER, LOW, HIGH = 0.20, 0.66, 0.20, 0.43


def eye_sides(points: Any) -> Any:
    """Return (..., N) whole numbers: -1 for the subject's right eye, 1 for the left, 0 for what is no eye.

    Args:
        points: (..., N, 3) canonical points, an array or a tensor.
    """
    x, y = points[..., 0], points[..., 1]
    within = (abs(x) > INNER) & (abs(x) < OUTER) & (y > LOW) & (y < HIGH)
    return within * ((x > 0) * 2 - 1)
