"""Run coremltools' own tests through the interpreter, count what passes, and compare with what passed before.

    python -m tests.mil.suite                 the subset that CI runs; exit 1 where a test fails that has not before
    python -m tests.mil.suite --update        the subset; write what fails to baseline.json
    python -m tests.mil.suite --per-test 0    every parameter set: hours

The tests are those of the installed coremltools, whose wheel has them. Each keeps coremltools' own tolerance. They run
in float32 and in float16. Where a program computes in half precision although the test compares as for single
precision, a difference says nothing, and is counted apart.
"""

# ruff: noqa: T201 - a tool of its own: its output is its result
from __future__ import annotations

import argparse
import json
import os
import re
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.mil.suite.predictions import NOTES, quiet, stable

with quiet():
    import coremltools

HOME = Path(coremltools.__file__).parent
OPERATORS = "converters/mil/mil/ops/tests"
TORCH = "converters/mil/frontend/torch/test"
NETWORKS = [f"{TORCH}/test_torch_ops.py", f"{TORCH}/test_torch_stateful_model.py"]
# Parameter sets of each test in CI: as many as fit in four minutes on two cores.
SUBSETS = {"operators": ([OPERATORS], 2), "torch": (NETWORKS, 1)}
BASELINE = Path(__file__).with_name("baseline.json")
FAILED = ("differs", "refused", "fails")


class Count:
    """Collects the reports of all tests, of every worker."""

    def __init__(self) -> None:
        self.tests: dict[str, dict[str, Any]] = {}

    def pytest_runtest_logreport(self, report: Any) -> None:
        """Note the outcome of a test's call, or of whatever kept it from being called."""
        if report.when == "call" or report.outcome != "passed":
            notes = dict(report.user_properties).get(NOTES, {})
            name = stable(report.nodeid)
            crash = getattr(report.longrepr, "reprcrash", None)
            why = notes.get("refused") or (crash.message if crash is not None else "")
            expected = hasattr(report, "wasxfail")
            # Half-precision values, of tensors or of constants, where the test converts for single precision.
            notes["half"] = (notes.get("half") or "fp16" in name or "float16" in name) and "'fp16'" not in name
            kind = _kind(report.outcome, expected, notes, why)
            self.tests[name] = {"kind": kind, "ops": notes.get("ops", []), "why": why[:300]}


def _kind(outcome: str, expected: bool, notes: dict[str, Any], why: str) -> str:
    """Return what became of a test."""
    if not notes.get("predicted"):
        return {"passed": "no prediction", "failed": "failed before a prediction"}.get(outcome, "skipped")
    if expected:
        return "known to fail on a Mac" if outcome != "passed" else "passes"
    if outcome != "failed":
        return "passes" if outcome == "passed" else "skipped"
    if not notes.get("refused"):
        return "half precision" if notes.get("half") else "differs"
    return "fails" if " failed: " in why or " came out as " in why else "refused"


def run(paths: list[str], per_test: int, workers: int) -> dict[str, dict[str, Any]]:
    """Run tests of coremltools; return kind, operations and reason of each."""
    os.environ |= {"PYMIL_TEST_TARGETS": "mlprogram", "INCLUDE_MIL_FP32_UNIT_TESTS": "1"}
    sys.dont_write_bytecode = True
    os.environ["PYTHONDONTWRITEBYTECODE"] = "1"
    count = Count()
    options = ["-c", os.devnull, "--rootdir", str(HOME), "--import-mode=importlib", "-p", "tests.mil.suite.predictions"]
    options += ["-p", "no:cacheprovider", "-q", "--no-header", "--tb=no", "--show-capture=no", "-W", "ignore", "-r", ""]
    options += ["-n", str(workers)] if workers > 1 else []
    options += ["--per-test", str(per_test)] if per_test else []
    pytest.main([*options, *(str(HOME / p) for p in paths)], plugins=[count])
    return count.tests


def summary(tests: dict[str, dict[str, Any]]) -> str:
    """Return the counts as lines of text: of all tests, then of each operation that some test did not pass with."""
    kinds = Counter(t["kind"] for t in tests.values())
    predicted = _predicted(tests)
    share = kinds["passes"] / max(1, len(predicted))
    lines = [f"{len(predicted)} of {len(tests)} tests predicted; {kinds['passes']} passed, {share:.1%}"]
    lines += [f"  {count:6} {kind}" for kind, count in kinds.most_common()]
    per_op: dict[str, Counter[str]] = {}
    for test in predicted.values():
        for op in test["ops"]:
            per_op.setdefault(op, Counter())[test["kind"]] += 1
    lines.append(f"{len(per_op)} operations predicted with; those of tests that did not pass:")
    for op, counts in sorted(per_op.items()):
        if counts.keys() - {"passes"}:
            lines.append(f"  {op}: " + ", ".join(f"{n} {kind}" for kind, n in counts.most_common()))
    reasons = Counter((t["kind"], _reason(t["why"])) for t in tests.values() if t["kind"] in FAILED)
    lines += [f"  {count:5} {kind}: {why}" for (kind, why), count in reasons.most_common(60)]
    return "\n".join(lines)


def _predicted(tests: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {n: t for n, t in tests.items() if t["kind"] in ("passes", "half precision", *FAILED)}


def _reason(why: str) -> str:
    """Return a reason without what is one test's own."""
    first = re.sub(r"'[^']*'", "'...'", " ".join(why.split()))
    return re.sub(r"[-\d.e+]*\d[-\d.e+]*", "n", first)[:160]


def main(arguments: list[str] | None = None) -> int:
    """Run what the command line says."""
    parser = argparse.ArgumentParser(prog="python -m tests.mil.suite", description=__doc__)
    parser.add_argument("--per-test", type=int, help="parameter sets of each test, 0 for all; nothing is compared")
    parser.add_argument("--update", action="store_true", help="write what fails to the baseline")
    parser.add_argument("--only", choices=SUBSETS, help="one part")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--out", type=Path, help="write each test's outcome here, as JSON")
    options = parser.parse_args(arguments)
    tests: dict[str, dict[str, Any]] = {}
    for name, (paths, per_test) in SUBSETS.items():
        if options.only in (None, name):
            tests |= run(paths, per_test if options.per_test is None else options.per_test, options.workers)
    print(summary(tests))
    if options.out:
        options.out.write_text(json.dumps(tests, indent=1))
    failing = {name: test["kind"] for name, test in sorted(tests.items()) if test["kind"] in FAILED}
    predicted = len(_predicted(tests))
    if options.update:
        stored = {"coremltools": coremltools.__version__, "predicted": predicted, "failing": failing}
        BASELINE.write_text(json.dumps(stored, indent=1) + "\n")
        return 0
    return compare(failing, predicted) if options.per_test is None and options.only is None else 0


def compare(failing: dict[str, str], predicted: int) -> int:
    """Say how a run differs from the baseline; return the exit code."""
    before = json.loads(BASELINE.read_text())
    if before["coremltools"] != coremltools.__version__:
        print(f"The baseline is of coremltools {before['coremltools']}, this is {coremltools.__version__}: --update")
        return 1
    new = failing.keys() - before["failing"].keys()
    for name in sorted(new):
        print(f"{failing[name]}, which it did not before: {name}")
    if predicted < before["predicted"]:
        print(f"{predicted} tests predicted, {before['predicted']} did before.")
        return 1
    for name in sorted(before["failing"].keys() - failing.keys()):
        print(f"no longer fails, so --update: {name}")
    return 1 if new else 0


if __name__ == "__main__":
    sys.exit(main())
