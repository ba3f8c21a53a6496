"""How far labels lie to one side: the 68 labels of a set of faces against a teacher's points on the same pictures.

    python -m qlot.training.tools.label_offset DATA

Two conventions place an eye corner differently, but both are mirror-symmetric: over points that come in pairs or lie on
the midline, differences in x cancel, and what is left is an offset of the pictures. Differences in y do not cancel:
whether labels lie too high cannot be told from how two conventions differ.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import typer

from qlot.metrics import interocular, mean_interval
from qlot.model.layout import load_layout
from qlot.training.data.sources.stills import LabelledFaces

# iBUG -> FaceMesh: eye corners, mouth corners, then the midline: nose bridge, tip and base, lips.
SAME = {36: 33, 39: 133, 42: 362, 45: 263, 48: 61, 54: 291, 27: 168, 30: 1, 33: 2, 51: 0, 57: 17, 62: 13, 66: 14}


def side_offset(labels: LabelledFaces, teacher: LabelledFaces) -> tuple[float, float, float, float]:
    """Compare two labellings of the same pictures, whose labels are ibug68 and mediapipe478.

    Returns:
        The mean offset in x, pixels, its 95 % interval over people, and its share of the outer-eye distance.
    """
    ours, theirs = (s.landmarks[:, list(points)] for s, points in ((labels, SAME), (teacher, SAME.values())))
    offsets = (ours[..., 0] - theirs[..., 0]).mean(-1).astype(np.float64)
    known = np.isfinite(offsets)
    people = [labels.identity(int(i)) for i in np.flatnonzero(known)]
    low, high = mean_interval(offsets[known], people)
    eyes = load_layout(labels.labels).outer_eyes
    assert eyes is not None
    share = offsets[known] / interocular(labels.landmarks[known].astype(np.float64), eyes)
    return float(offsets[known].mean()), low, high, float(share.mean())


def main(data: Path) -> None:
    """Print the offset of the 68 labels of every labelled set of faces in DATA."""
    for name in ("faces_train", "faces_val"):
        path = data / "faces" / name
        mean, low, high, share = side_offset(LabelledFaces(path), LabelledFaces(path, "mediapipe478"))
        typer.echo(
            f"{name}: the 68 labels lie {mean:+.2f} px ({low:+.2f} to {high:+.2f}) to the right of the teacher's "
            f"points, {100 * share:+.1f} % of the outer-eye distance"
        )


if __name__ == "__main__":
    typer.run(main)
