"""TFLite: the shipped weights compute the same on every kind of processor."""

from __future__ import annotations

import pytest

from qlot.benchmarks.kernels.matrix import KERNELS
from qlot.runtime.bundle.folder import Bundle
from tests.benchmarks.kernels.agree import disagreeing, needs, write_all

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> list[Bundle]:
    pytest.importorskip("litert_torch", reason="needs the extra tflite")
    return write_all(tmp_path_factory.mktemp("tflite"), "tflite")


@pytest.mark.parametrize("kernel", KERNELS)
def test_the_numbers_do_not_depend_on_the_processor(bundles: list[Bundle], kernel: str) -> None:
    needs("tflite", kernel)
    assert disagreeing(bundles, kernel) == []
