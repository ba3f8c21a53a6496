"""A pytest plugin that lets coremltools' own tests predict off a Mac: each prediction is the interpreter's.

coremltools' tests convert a program anywhere but compare numbers on a Mac only. This tells them that they are on one,
and computes `MLModel.predict` here. It notes for each test whether it predicted, and with which operations.
"""

from __future__ import annotations

import random
import zlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch

from qlot.mil import MilError, Program, from_model
from qlot.mil._coremltools import quiet

with quiet():
    import coremltools as ct
    from coremltools import _deps
    from coremltools.models import utils
    from coremltools.models.model import MLModel

MACOS = (15, 0)  # the first with every operation of iOS 18
_noted: dict[str, Any] = {}


class _State:
    """What `MLModel.make_state` returns, computed here."""

    def __init__(self, program: Program) -> None:
        self.tensors = program.new_state()

    def read_state(self, name: str) -> Any:
        return self.tensors[name].astype(np.float32)

    def write_state(self, name: str, value: Any) -> None:
        self.tensors[name] = np.asarray(value).astype(self.tensors[name].dtype)


def _program(model: Any) -> Program:
    if model._spec.WhichOneof("Type") != "mlProgram":
        pytest.skip("a neural network of the time before ML programs")
    if not hasattr(model, "_interpreted"):
        _noted["predicted"] = True
        model._interpreted = from_model(model, model.function_name)
    program: Program = model._interpreted
    _noted["ops"] = sorted(set(_noted.get("ops", ())) | set(program.ops))
    return program


def _feed(value: Any, port: Any, spec: Any) -> Any:
    """Turn what a test hands to Core ML into a tensor of the program, as Core ML does."""
    if hasattr(value, "convert"):  # a picture
        pixels = np.asarray(value.convert("RGB") if value.mode == "RGB" else value, np.float32)
        pixels = pixels.transpose(2, 0, 1) if pixels.ndim == 3 else pixels[None]
        colours = spec.type.imageType.ColorSpace.Name(spec.type.imageType.colorSpace)
        value = (pixels[::-1] if colours == "BGR" else pixels)[None]
    elif isinstance(value, torch.Tensor):
        value = value.detach().numpy()
    array = np.asarray(value)
    if array.shape == (1,) and port.shape == ():
        array = array.reshape(())
    return np.array(array.astype(port.dtype))


def _predict(self: Any, data: Any, state: Any = None) -> Any:
    if isinstance(data, list):
        return [_predict(self, each) for each in data]
    _noted["predicted"] = True
    try:
        program = _program(self)
        spec = {f.name: f for f in self._spec.description.input}
        feeds = {p.name: _feed(data[p.name], p, spec.get(p.name)) for p in program.inputs if p.name in data}
        found = program.run(feeds, None if state is None else state.tensors)
    except MilError as e:
        _noted["refused"] = f"{type(e).__name__}: {e}"
        raise
    named = self._spec.description.predictedProbabilitiesName
    results: dict[str, Any] = {}
    for name, value in found.items():
        if getattr(program, "classes", ()) and name == named:
            results[name] = dict(zip(program.classes, value.tolist(), strict=True))
        elif value.dtype.kind in "UO" or (getattr(program, "classes", ()) and value.ndim == 0):
            results[name] = value.item()
        else:
            results[name] = value if value.ndim else value.reshape(1)  # Core ML has no scalars
    return results


def pytest_configure(config: Any) -> None:
    """Put the interpreter in place of Core ML."""
    _deps._IS_MACOS = True
    utils._is_macos = lambda: True
    utils._macos_version = lambda: MACOS
    from coremltools.converters.mil import testing_utils
    from coremltools.models import model

    for module in (model, testing_utils, ct):
        for name, value in (("_IS_MACOS", True), ("_is_macos", utils._is_macos), ("_macos_version", lambda: MACOS)):
            if hasattr(module, name):
                setattr(module, name, value)
    MLModel.predict = _predict
    MLModel.make_state = lambda self: _State(_program(self))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: Any, nextitem: Any) -> Iterator[None]:
    """Seed each test by its name, so that it draws the same numbers in any order and process."""
    _noted.clear()
    seed = zlib.crc32(item.nodeid.encode())
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
    return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: Any, call: Any) -> Any:
    """Hand what was noted to the process that counts."""
    report = yield
    report.user_properties.append(("interpreted", dict(_noted)))
    return report


def pytest_addoption(parser: Any) -> None:
    """Add the size of a subset."""
    parser.addoption("--per-test", type=int, default=None, help="run this many parameter sets of each test at most")


def pytest_collection_modifyitems(config: Any, items: list[Any]) -> None:
    """Keep of each test the parameter sets whose names hash lowest: as good as random, the same everywhere."""
    most = config.getoption("--per-test")
    if most is None:
        return
    groups: dict[str, list[Any]] = {}
    for item in items:
        groups.setdefault(item.nodeid.split("[")[0], []).append(item)
    kept = {
        id(item)
        for group in groups.values()
        for item in sorted(group, key=lambda item: zlib.crc32(item.nodeid.encode()))[:most]
    }
    config.hook.pytest_deselected(items=[item for item in items if id(item) not in kept])
    items[:] = [item for item in items if id(item) in kept]
