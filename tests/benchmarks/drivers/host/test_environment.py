"""What a host says of itself, and what is unknown."""

from __future__ import annotations

from pathlib import Path

import pytest

from qlot.benchmarks.drivers.host.environment import OtherLoad, environment


def _write(root: Path, **files: str) -> None:
    for name, text in files.items():
        path = root / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def test_what_the_system_does_not_tell_is_unknown(tmp_path: Path) -> None:
    found = environment(2, tmp_path)
    assert (found.device_class, found.cores) == ("host", 2)
    assert {found.governor, found.kilohertz, found.battery, found.charging, found.celsius, found.thermal} == {None}


def test_what_the_system_tells_is_said(tmp_path: Path) -> None:
    cpu, zone, supply = "devices__system__cpu__cpu0__cpufreq", "class__thermal__thermal_zone0", "class__power_supply"
    _write(
        tmp_path,
        **{
            f"{cpu}__scaling_governor": "powersave\n",
            f"{cpu}__scaling_cur_freq": "1400000\n",
            f"{zone}__temp": "61500\n",
            f"{supply}__AC__type": "Mains\n",
            f"{supply}__BAT0__type": "Battery\n",
            f"{supply}__BAT0__capacity": "17\n",
            f"{supply}__BAT0__status": "Discharging\n",
        },
    )
    found = environment(8, tmp_path)
    assert (found.governor, found.kilohertz, found.celsius) == ("powersave", 1_400_000, 61.5)
    assert (found.battery, found.charging) == (0.17, False)


def _stat(busy: int, idle: int) -> str:
    return f"cpu  {busy} 0 0 {idle} 0 0 0 0 0 0\ncpu0 1 2 3\n"


@pytest.mark.parametrize(("busy", "idle", "least", "most"), [(0, 20_000, 0, 0), (10_000, 10_000, 0.45, 0.5)])
def test_others_are_what_this_process_did_not_spend(
    tmp_path: Path, busy: int, idle: int, least: float, most: float
) -> None:
    path = tmp_path / "stat"
    path.write_text(_stat(1000, 1000))
    load = OtherLoad(path)
    path.write_text(_stat(1000 + busy, 1000 + idle))
    found = load.share()
    assert found is not None and least <= found <= most


def test_off_linux_nobody_knows(tmp_path: Path) -> None:
    assert OtherLoad(tmp_path / "none").share() is None
