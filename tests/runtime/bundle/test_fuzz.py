"""Damaged bundles end in a typed error or open: never in another exception, a hang, or a crash of the engine."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from tests.runtime.bundles import write_bundle
from tests.runtime.mutations import KINDS, damage

ROOT = Path(__file__).parents[3]
SEED = 20260
ERRORS = {"ManifestError", "SchemaVersionError", "IntegrityError", "UnsafePathError", "BundleError", "SessionError"}


@pytest.fixture(scope="module")
def templates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("templates")
    write_bundle(folder / "windowed", unrolled=True)
    write_bundle(folder / "dense", lowering="dense")
    return folder


def watch(command: list[str], stderr: Path) -> tuple[int, list[dict[str, object]]]:
    """Run a worker; return its exit code (negative: the signal that ended it) and its report."""
    with stderr.open("ab") as log:
        done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=log, check=False)
    return done.returncode, [json.loads(line) for line in done.stdout.splitlines()]


def fuzz(templates: Path, scratch: Path, count: int) -> tuple[Counter[tuple[str, str]], list[str]]:
    """Open `count` damaged bundles; return (kind, outcome) counts and a line for each case that did not end well."""
    counts: Counter[tuple[str, str]] = Counter()
    failures: list[str] = []
    first = 0
    while first < count:
        where = [str(templates), str(scratch), str(SEED), str(first), str(count)]
        code, report = watch([sys.executable, "-m", "tests.runtime.mutations", *where], scratch / "stderr")
        kinds = {r["number"]: str(r["start"]) for r in report if "start" in r}
        ended = {r["number"]: r for r in report if "start" not in r}
        assert kinds, (scratch / "stderr").read_text()[-2000:]
        for number, kind in kinds.items():
            end = ended.get(number, {"escaped": f"the process ended with code {code}"})
            counts[kind, str(end.get("outcome", "ESCAPED"))] += 1
            if "escaped" in end:
                failures.append(f"{kind} {number}: {end['escaped']}\n  kept: {keep(scratch, number, kind)}")
        first = max(kinds) + 1
    return counts, failures


def keep(scratch: Path, number: object, kind: str) -> Path:
    target = ROOT / "build" / "fuzz" / f"{kind}-{SEED}-{number}"
    shutil.rmtree(target, ignore_errors=True)
    target.parent.mkdir(parents=True, exist_ok=True)
    return (scratch / str(number)).rename(target)


def check(counts: Counter[tuple[str, str]], failures: list[str], count: int) -> None:
    for (kind, outcome), n in sorted(counts.items()):
        print(f"{kind:16} {outcome:20} {n}")  # noqa: T201
    assert not failures, f"{len(failures)} of {count}:\n" + "\n".join(failures)
    assert sum(counts.values()) == count
    assert {kind for kind, _ in counts} == set(KINDS)
    # The damage must be worth the name: it reaches every kind of refusal, the engine, and sometimes nothing at all.
    assert {outcome for _, outcome in counts} == ERRORS | {"opened"}
    for kind in ("graph_fresh", "graph_proto"):
        assert counts[kind, "SessionError"] and counts[kind, "opened"]
    assert counts["graph_stale", "IntegrityError"] == sum(n for (kind, _), n in counts.items() if kind == "graph_stale")


def test_three_hundred_damaged_bundles(templates: Path, tmp_path: Path) -> None:
    check(*fuzz(templates, tmp_path, 300), 300)


@pytest.mark.slow
def test_many_damaged_bundles(templates: Path, tmp_path: Path) -> None:
    check(*fuzz(templates, tmp_path, 6000), 6000)


def test_damage_is_reproducible(templates: Path, tmp_path: Path) -> None:
    for number in range(3 * len(KINDS)):
        folders = [tmp_path / f"{number}{side}" / "bundle" for side in "ab"]
        for folder in folders:
            folder.parent.mkdir()
            damage(SEED, number, templates, folder)
        one, two = ({p.relative_to(f): p.lstat().st_size for p in f.rglob("*") if not p.is_dir()} for f in folders)
        assert one == two


def test_a_native_crash_is_seen(tmp_path: Path) -> None:
    program = (
        'import os, signal; print(\'{"number": 7, "start": "x"}\', flush=True); os.kill(os.getpid(), signal.SIGSEGV)'
    )
    code, report = watch([sys.executable, "-c", program], tmp_path / "stderr")
    assert code < 0
    assert report == [{"number": 7, "start": "x"}]
