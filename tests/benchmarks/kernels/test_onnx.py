"""ONNX: the shipped weights compute the same on every kind of processor, and a graph that does not is found.

Real kernels under qemu, from real packages; where those or qemu cannot be had, the tests are skipped and say why.
"""

from __future__ import annotations

from pathlib import Path
from unittest.mock import patch

import pytest

from qlot.benchmarks.kernels.agreement import ALLOWED
from qlot.benchmarks.kernels.matrix import KERNELS, matrix
from qlot.export.targets.onnx import int8
from qlot.runtime.bundle.folder import Bundle
from tests.benchmarks.kernels.agree import disagreeing, needs, write_all
from tests.benchmarks.kernels.shipped import write_shipped

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> list[Bundle]:
    return write_all(tmp_path_factory.mktemp("onnx"), "onnx")


@pytest.mark.parametrize("kernel", KERNELS)
def test_the_numbers_do_not_depend_on_the_processor(bundles: list[Bundle], kernel: str) -> None:
    needs("onnx", kernel)
    assert disagreeing(bundles, kernel) == []


def test_weights_that_overflow_sixteen_bits_fail_without_vnni(tmp_path: Path) -> None:
    """The control: the graph that the quantiser makes by itself."""
    needs("onnx", "avx2")
    with patch.object(int8, "make_portable"):
        bundle = Bundle.open(write_shipped(tmp_path / "bundle", "nano", "onnx", "w8a8"))
    found = [cell.agreement for cell in matrix([bundle], ["avx2", "sse4"])]
    # If this machine cuts sums off itself, it is the other one that it disagrees with.
    assert [a for a in found if not a.passed and a.median > ALLOWED / 5]
