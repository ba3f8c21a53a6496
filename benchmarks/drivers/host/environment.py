"""What a host is, as far as Linux tells; elsewhere most of it is unknown."""

from __future__ import annotations

import os
import platform
import time
from contextlib import suppress
from pathlib import Path

from qlot.benchmarks.results.model import EnergySpec, EnvironmentSpec
from qlot.runtime.host import host

SYS, STAT = Path("/sys"), Path("/proc/stat")
NO_ENERGY = EnergySpec(status="not measured", reason="the driver for hosts reads no battery")
_RUNNING = {"Charging": True, "Full": True, "Not charging": True, "Discharging": False}


def environment(cores: int, sys: Path = SYS) -> EnvironmentSpec:
    """Describe this machine now.

    Args:
        cores: those that this process may use.
        sys: where the kernel's tree is.
    """
    cpu = sys / "devices/system/cpu/cpu0/cpufreq"
    batteries = [p for p in sorted(sys.glob("class/power_supply/*")) if _text(p / "type") == "Battery"]
    charge = _number(batteries[0] / "capacity") if batteries else None
    return EnvironmentSpec(
        device_class="host",
        device=host()[:200],
        soc=None,
        os=f"{platform.system()} {platform.release()}"[:200],
        cores=cores,
        memory=_memory(),
        governor=_text(cpu / "scaling_governor"),
        kilohertz=kilohertz(sys),
        battery=None if charge is None else min(charge, 100) / 100,
        charging=_RUNNING.get(_text(batteries[0] / "status") or "") if batteries else None,
        power_saving=None,
        thermal=None,
        celsius=celsius(sys),
        foreground=None,
        app=None,
        other_load=None,
    )


class OtherLoad:
    """How much of the processors' time goes to others from now on."""

    def __init__(self, stat: Path = STAT) -> None:
        self._stat = stat
        self._begin = self._now()

    def share(self) -> float | None:
        """Return the share of all cores' time that other processes and other guests took; None if unknown."""
        end = self._now()
        if self._begin is None or end is None or end[0] <= self._begin[0]:
            return None
        whole, busy, own = (b - a for a, b in zip(self._begin, end, strict=True))
        return min(max((busy - own) / whole, 0.0), 1.0)

    def _now(self) -> tuple[float, float, float] | None:
        """Return seconds of all cores: passed, spent, and spent by this process."""
        with suppress(OSError, ValueError, IndexError):
            ticks = [int(x) for x in self._stat.read_text("ascii").split("\n", 1)[0].split()[1:9]]
            second, idle = os.sysconf("SC_CLK_TCK"), ticks[3] + ticks[4]  # idle and waiting for a disk
            return sum(ticks) / second, (sum(ticks) - idle) / second, time.process_time()
        return None


def celsius(sys: Path = SYS) -> float | None:
    """Return the temperature of the first thermal zone; None if unknown."""
    zone = _number(sys / "class/thermal/thermal_zone0/temp")
    return None if zone is None else zone / 1000


def kilohertz(sys: Path = SYS) -> int | None:
    """Return the frequency of the first core; None if unknown."""
    return _number(sys / "devices/system/cpu/cpu0/cpufreq/scaling_cur_freq")


def _memory() -> int | None:
    with suppress(OSError, ValueError, IndexError):
        line = next(x for x in Path("/proc/meminfo").read_text("utf-8").splitlines() if x.startswith("MemTotal"))
        return 1024 * int(line.split()[1])
    return None


def _text(path: Path) -> str | None:
    with suppress(OSError, UnicodeDecodeError):
        return path.read_text("utf-8").strip()[:200] or None
    return None


def _number(path: Path) -> int | None:
    text = _text(path)
    return int(text) if text and text.isascii() and text.isdigit() else None
