from __future__ import annotations

from pathlib import Path

import pytest

from qlot.runtime import host as module
from qlot.runtime.host import host


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("model name\t: EPYC\nflags\t\t: sse4_1 avx2 fma\n", "EPYC, AVX2, "),
        ("model name : Xeon\nflags : avx2 avx512f avx512_vnni\n", "Xeon, AVX-512, int8 dot products, "),
        ("Features : fp asimd asimddp\n", "NEON, int8 dot products, "),
    ],
)
def test_the_processor_and_its_units_are_named(
    text: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cpuinfo").write_text(text)
    monkeypatch.setattr(module, "CPUINFO", tmp_path / "cpuinfo")
    assert words in host() and " cores" in host()


def test_a_system_that_tells_nothing_is_named_all_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CPUINFO", tmp_path / "nowhere")
    assert " cores, " in host() and "AVX" not in host()
