"""Fixtures that several rooms share. The real bundles are exported once per test run."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import hypothesis
import pytest

# A run started in the background or by nohup inherits ignored signals, and so would every process that the tests stop.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)
# Timing never decides a test: on a busy machine any example may take longer than the deadline that is usual.
hypothesis.settings.register_profile("no deadline", deadline=None)
hypothesis.settings.load_profile("no deadline")


@pytest.fixture(scope="session")
def shared() -> Path:
    """Material that is not part of the project: published reference numbers and data."""
    folder = Path(os.environ.get("QLOT_SHARED", Path(__file__).parents[1] / ".." / "shared")).resolve()
    if not folder.is_dir():
        pytest.skip(f"no shared material at {folder}; set QLOT_SHARED")
    return folder


@pytest.fixture(scope="session")
def bundle_fp32(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """Return the folder of the shipped `nano`'s fp32 bundle, with an unrolled refiner; copy it before changing it."""
    return _exported("fp32", tmp_path_factory, worker_id)


@pytest.fixture(scope="session")
def bundle_int8(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """Return the folder of the shipped `nano`'s w8a8 bundle; copy it before changing it."""
    return _exported("w8a8", tmp_path_factory, worker_id)


def _exported(scheme: str, tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    from filelock import FileLock

    from qlot.export.pipeline import export
    from qlot.export.request import ExportRequest

    base = tmp_path_factory.getbasetemp()
    base = base if worker_id == "master" else base.parent  # shared by the workers of one run
    out = base / f"bundle-{scheme}"
    with FileLock(f"{out}.lock"):
        if not out.exists():
            export(ExportRequest("onnx", scheme, checkpoint="nano", unrolled=2 if scheme == "fp32" else None, out=out))
    return out
