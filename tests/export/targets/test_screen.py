"""Nothing of a third party on the user's screen: not when a target loads, not when it converts, not at the end."""

from __future__ import annotations

import importlib.util
import subprocess
import sys

import pytest

from qlot.runtime.bundle.manifest import Target

LOAD = "from qlot.export.targets import load_target\ntarget = load_target({target!r})\n"
CONVERT = """
from qlot.export.graphs.schemes import plan_for
from qlot.runtime.quiet import quiet
from tests.export import small
with quiet():
    target.convert(small.stage(target.default_lowering, "refiner"), plan_for({target!r}, "fp32"), None)
"""


def said(code: str) -> tuple[int, str, str]:
    """Run code in a process of its own, where each library loads for the first time and ends."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize(
    ("target", "needs"), [("onnx", "onnxscript"), ("tflite", "litert_torch"), ("coreml", "coremltools")]
)
@pytest.mark.parametrize("code", [LOAD, pytest.param(LOAD + CONVERT, marks=pytest.mark.slow)])
def test_no_line_of_a_library_is_seen(target: Target, needs: str, code: str) -> None:
    if importlib.util.find_spec(needs) is None:
        pytest.skip(f"needs the extra {target}")
    assert said(code.format(target=target)) == (0, "", "")


def test_it_would_be_seen() -> None:
    """The negative control: the library that says most, loaded as it is."""
    if importlib.util.find_spec("litert_torch") is None:
        pytest.skip("needs the extra tflite")
    assert said("import litert_torch")[2] != ""
