"""The tables of `devices.toml`: families of devices, their units, and what each unit takes."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from qlot.export.lint.graph import LintError
from qlot.runtime.bundle.manifest import Target


@dataclass(frozen=True)
class DeviceFamily:
    """Devices of one kind of processor.

    Attributes:
        name: as `--device` takes it.
        kind: apple, gpu, npu or cpu.
        tier: column of the neural engine's operations; 0 where there is none.
        int8: whether its unit multiplies int8 by int8.
    """

    name: str
    kind: str
    tier: int
    int8: bool

    def unit(self, target: Target) -> str | None:
        """Return the unit that is asked to take a target's graphs here, None if there is none."""
        found: str | None = tables()["units"][self.kind].get(target)
        return found


@cache
def tables() -> dict[str, Any]:
    """Return all tables."""
    return tomllib.loads(files("qlot.export.lint").joinpath("devices.toml").read_text(encoding="utf-8"))


@cache
def all_families() -> tuple[DeviceFamily, ...]:
    """Return every family, in the order of the table."""
    return tuple(DeviceFamily(name, **row) for name, row in tables()["families"].items())


def chosen_families(name: str | None, target: Target) -> tuple[DeviceFamily, ...]:
    """Return the family of this name, or with None all that run a target's bundles.

    Raises:
        LintError: there is none of this name, or it does not run such bundles.
    """
    fitting = tuple(f for f in all_families() if f.unit(target))
    if name is None:
        return fitting
    family = next((f for f in all_families() if f.name == name), None)
    if family is None:
        raise LintError(f"there is no device family {name!r}; there are: {_list(all_families())}.")
    if family not in fitting:
        raise LintError(f"no {target} bundle runs on {name}'s units that are known here; choose of {_list(fitting)}.")
    return (family,)


def _list(families: Sequence[DeviceFamily]) -> str:
    return ", ".join(f.name for f in families)


@cache
def ane_tier(op: str) -> int | None:
    """Return the first tier of the neural engine that has an operation natively, None if none does."""
    found = (int(tier) for tier, ops in tables()["ane"]["ops"].items() if op in ops)
    return min(found, default=None)


def engine_limits(version: str) -> tuple[int, int]:
    """Return newest opset and newest IR version of a version of ONNX Runtime.

    Raises:
        LintError: the table has no such version.
    """
    rows = {name: (opset, ir) for name, opset, ir in tables()["onnxruntime"]["versions"]}
    found = rows.get(".".join(version.split(".")[:2]))
    if found is None:
        raise LintError(
            f"ONNX Runtime {version!r} is not in the table of opsets, which goes from {next(iter(rows))} to "
            f"{list(rows)[-1]}: give a version in it; newer ones take what the last one takes."
        )
    return found


def oldest_engine(opset: int, ir: int) -> str | None:
    """Return the oldest version of ONNX Runtime in the table that takes an opset and an IR version."""
    rows = tables()["onnxruntime"]["versions"]
    return next((name for name, most, newest in rows if opset <= most and ir <= newest), None)
