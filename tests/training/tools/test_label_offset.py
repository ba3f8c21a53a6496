"""The offset of labels to one side, recovered from made-up faces that two conventions label."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from qlot.training.data.sources.stills import LabelledFaces
from qlot.training.tools import label_offset
from qlot.training.tools.label_offset import SAME, side_offset
from tests.training.tiny import write_faces

WIDER = {36: -2.0, 39: 1.0, 42: -1.0, 45: 2.0}  # what the other convention calls an eye corner lies further out or in


def _faces(folder: Path, offset: tuple[float, float]) -> tuple[LabelledFaces, LabelledFaces]:
    """Label the pictures once more, in another convention, before the 68 labels are moved by an offset."""
    write_faces(folder)
    table = folder.with_suffix(".npz")
    with np.load(table) as data:
        values = dict(data)
    labels = values["ibug68"].astype(np.float64)
    teacher = np.zeros((len(labels), 478, 2))
    for mine, theirs in SAME.items():
        teacher[:, theirs] = labels[:, mine] + (WIDER.get(mine, 0.0), 3.0)
    np.savez(table, **(values | {"ibug68": labels + offset, "mediapipe478": teacher}))
    return LabelledFaces(folder), LabelledFaces(folder, "mediapipe478")


@pytest.mark.parametrize("offset", [0.0, 1.75, -3.0])
def test_an_offset_is_found_whatever_the_conventions(tmp_path: Path, offset: float) -> None:
    mean, low, high, share = side_offset(*_faces(tmp_path / "faces", (offset, 5.0)))
    assert mean == pytest.approx(offset, abs=1e-4)
    assert low <= mean + 1e-9 and mean - 1e-9 <= high
    assert np.sign(share) == pytest.approx(np.sign(offset), abs=1e-4)


def test_labels_less_their_offset_have_none(tmp_path: Path) -> None:
    _, teacher = _faces(tmp_path / "faces", (1.75, 0.0))
    labels = LabelledFaces(tmp_path / "faces", offset=(1.75, 0.0))
    assert labels.name == "faces (ibug68, less (1.75, 0) px)"
    assert side_offset(labels, teacher)[0] == pytest.approx(0, abs=1e-4)


def test_it_is_printed_for_both_sets(tmp_path: Path) -> None:
    for name in ("faces_train", "faces_val"):
        _faces(tmp_path / "faces" / name, (1.75, 0.0))
    app = label_offset.typer.Typer()
    app.command()(label_offset.main)
    done = CliRunner().invoke(app, [str(tmp_path)])
    assert done.exit_code == 0, done.output
    assert done.output.count("+1.75 px (+1.75 to +1.75)") == 2


def test_the_recipes_take_out_what_the_shared_faces_have(shared: Path) -> None:
    from qlot.training.data.sources.stills import LABEL_OFFSET

    path = shared / "data" / "faces" / "faces_train"
    _, low, high, _ = side_offset(LabelledFaces(path), LabelledFaces(path, "mediapipe478"))
    assert low < LABEL_OFFSET[0] < high
