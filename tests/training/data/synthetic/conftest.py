from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from qlot.training.data.clip import DataError
from qlot.training.data.synthetic.ict import FaceModel
from qlot.training.data.synthetic.renderer import Renderer


@pytest.fixture(scope="session")
def ict_path(shared: Path) -> Path:
    path = shared / "data" / "ict" / "ict_model.npz"
    if not path.is_file():
        pytest.skip(f"no ICT-FaceKit model at {path}")
    return path


@pytest.fixture(scope="session")
def ict_model(ict_path: Path) -> FaceModel:
    return FaceModel.load(ict_path)


@pytest.fixture(scope="session")
def renderer(ict_model: FaceModel) -> Iterator[Renderer]:
    try:
        made = Renderer(ict_model, 128)
    except DataError as error:
        pytest.skip(str(error))
    with made:
        yield made
