from __future__ import annotations

from pathlib import Path

import pytest

from tests.runtime.cli.running import clip, sure_of


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return sure_of(tmp_path_factory.mktemp("bundles") / "sure", 50.0)


@pytest.fixture(scope="module")
def blind(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return sure_of(tmp_path_factory.mktemp("bundles") / "blind", -50.0)


@pytest.fixture
def video(tmp_path: Path) -> Path:
    """Variable frame rate, 12 frames, 0.6 s."""
    return clip(tmp_path / "clip.mp4", [0.0, 0.04, 0.05, 0.12, 0.15, 0.2, 0.3, 0.33, 0.4, 0.45, 0.5, 0.6])
