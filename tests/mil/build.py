"""Small MIL programs for tests, in memory and saved.

Where coremltools is not installed this file skips whatever imports it; so the tests take the interpreter's names from
here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("coremltools", reason="needs the extra 'coreml'")

from qlot.mil._coremltools import quiet

with quiet():
    import coremltools as ct
    from coremltools.converters.mil.mil import Builder as mb  # noqa: N813 - its users' name for it
    from coremltools.converters.mil.mil import types

from qlot.mil import FeedError, MilError, OpError, PackageError, Program, calibration, from_model, load
from qlot.mil.control import CONTROL
from qlot.mil.package import load_program, read_spec
from qlot.mil.registry import KERNELS, REFUSED, Kernel

__all__ = [
    "CONTROL", "KERNELS", "REFUSED", "FeedError", "Kernel", "MilError", "OpError", "PackageError", "Program",
    "calibration", "ct",
    "from_model", "load", "load_program", "mb", "model", "normal", "program", "quiet", "read_spec", "run", "run_op",
    "save",
]  # fmt: skip

Arrays = Mapping[str, np.ndarray]
ELEMENTS = {
    np.dtype(np.float16): types.fp16,
    np.dtype(np.float32): types.fp32,
    np.dtype(np.int32): types.int32,
    np.dtype(np.bool_): types.bool,
    np.dtype(np.int8): types.int8,
    np.dtype(np.uint8): types.uint8,
    np.dtype(np.int16): types.int16,
    np.dtype(np.uint16): types.uint16,
}


def program(body: Callable[..., Any], feeds: Arrays, target: Any = ct.target.iOS17) -> Any:
    """Build a pymil program whose inputs look like `feeds`; `body` takes them in order."""
    specs = [mb.TensorSpec(shape=a.shape, dtype=ELEMENTS[a.dtype]) for a in feeds.values()]
    source = "lambda " + ", ".join(feeds) + ": body(" + ", ".join(feeds) + ")"  # pymil reads the parameters' names
    with quiet():
        return mb.program(input_specs=specs, opset_version=target)(eval(source, {"body": body}))


def run(body: Callable[..., Any], feeds: Arrays, target: Any = ct.target.iOS17) -> list[np.ndarray]:
    """Build a program and interpret it at once."""
    built = program(body, feeds, target)
    return list(Program(built.functions["main"], ("main",), "main").run(feeds).values())


def run_op(op: str, feeds: Arrays, target: Any = ct.target.iOS17, **attributes: Any) -> list[np.ndarray]:
    """Interpret one operation: `feeds` are its tensors, `attributes` are constants."""
    return run(lambda *live: getattr(mb, op)(**dict(zip(feeds, live, strict=True)), **attributes), feeds, target)


def model(body: Callable[..., Any], feeds: Arrays, target: Any = ct.target.iOS17) -> Any:
    """Convert a program to an MLModel, as it stands: no pass changes its precision."""
    with quiet():
        built = program(body, feeds, target)
        return ct.convert(
            built,
            convert_to="mlprogram",
            minimum_deployment_target=target,
            compute_precision=ct.precision.FLOAT32,
            skip_model_load=True,
        )


def save(mlmodel: Any, path: Path) -> Path:
    with quiet():
        mlmodel.save(str(path))
    return path


def normal(*shape: int, seed: int = 0, dtype: Any = np.float32) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)
