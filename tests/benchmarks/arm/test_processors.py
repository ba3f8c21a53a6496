"""The emulated processors: what they show the engines, and that another processor is noticed."""

from __future__ import annotations

from pathlib import Path

import pytest

from qlot.benchmarks.arm.errors import ArmError
from qlot.benchmarks.arm.processors import PROCESSORS


def test_each_differs_from_the_others_in_what_it_has() -> None:
    assert len({p.has for p in PROCESSORS.values()}) == len(PROCESSORS)
    assert all(not p.has & p.lacks and "sve" in p.lacks for p in PROCESSORS.values())


@pytest.mark.parametrize("name", PROCESSORS)
def test_what_it_should_report_passes(name: str) -> None:
    PROCESSORS[name].check(PROCESSORS[name].has | {"asimd"})


@pytest.mark.parametrize(
    ("name", "found", "wrong"),
    [
        ("dotprod", {"asimd", "fphp", "asimdhp"}, "asimddp"),  # its kernels would be those of `neon`
        ("neon", {"asimd", "asimddp"}, "asimddp"),
        ("i8mm", {"asimd", "fphp", "asimdhp", "asimddp", "i8mm", "bf16", "sve"}, "sve"),
    ],
)
def test_another_processor_is_refused(name: str, found: set[str], wrong: str) -> None:
    with pytest.raises(ArmError, match=f"wrong about {wrong}"):
        PROCESSORS[name].check(frozenset(found))


def test_the_files_show_one_core(tmp_path: Path) -> None:
    PROCESSORS["dotprod"].write_files(tmp_path)
    lines = (tmp_path / "proc/cpuinfo").read_text().splitlines()
    fields = dict(line.split("\t: ") for line in lines if line)
    assert (fields["CPU implementer"], fields["CPU part"]) == ("0x41", "0xd0b")  # ARM, Cortex-A76
    assert [line for line in lines if line.startswith("processor")] == ["processor\t: 0"]
    assert (tmp_path / "sys/devices/system/cpu/possible").read_text() == "0\n"
