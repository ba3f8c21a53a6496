"""A pytest plugin that lets coremltools' own tests predict off a Mac: each prediction is the interpreter's.

coremltools' tests convert a program anywhere but compare numbers on a Mac only. This tells them that they are on one,
and computes `MLModel.predict` here. It notes of each test whether it predicted, with which operations, and what was
refused.
"""

from __future__ import annotations

import gc
import random
import re
import zlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch

from qlot.mil import MilError, Program, from_model
from qlot.mil._coremltools import quiet

with quiet():
    from coremltools.converters.mil import testing_utils
    from coremltools.models import model as models
    from coremltools.models import utils

MACOS = (15, 0)  # the first with every operation of iOS 18
NOTES = "predictions"  # of a report's properties
_notes: dict[str, Any] = {}


class _State:
    """What `MLModel.make_state` returns, computed here."""

    def __init__(self, program: Program) -> None:
        self.tensors = program.new_state()

    def read_state(self, name: str) -> Any:
        return self.tensors[name].astype(np.float32)

    def write_state(self, name: str, value: Any) -> None:
        self.tensors[name] = np.asarray(value).astype(self.tensors[name].dtype)


def _program(model: Any) -> Program:
    """Return the interpreted program of an `MLModel`, made once."""
    if model._spec.WhichOneof("Type") != "mlProgram":
        pytest.skip("a model of the time before ML programs")
    if not hasattr(model, "_interpreted"):
        _notes["predicted"] = True
        try:
            model._interpreted = from_model(model, model.function_name)
        except MilError as e:
            raise _failed(e) from e
    program: Program = model._interpreted
    _notes["ops"] = sorted({*_notes.get("ops", ()), *program.ops})
    return program


def _failed(error: MilError) -> RuntimeError:
    """Return what Core ML raises, in its words, which tests of wrong programs wait for."""
    _notes["refused"] = str(error)
    return RuntimeError(f"Unable to compute the prediction using ML Program: {error}")


def _feed(value: Any, port: Any, feature: Any) -> Any:
    """Turn what a test hands to Core ML into a tensor of the program, as Core ML does."""
    if hasattr(value, "convert"):  # a picture
        pixels = np.asarray(value, np.float32)
        pixels = pixels.transpose(2, 0, 1) if pixels.ndim == 3 else pixels[None]
        colours = feature.type.imageType.ColorSpace.Name(feature.type.imageType.colorSpace)
        value = (pixels[::-1] if colours == "BGR" else pixels)[None]
    array = value.detach().numpy() if isinstance(value, torch.Tensor) else np.asarray(value)
    if array.shape == (1,) and port.shape == ():  # Core ML has no tensors without axes
        array = array.reshape(())
    return np.array(array.astype(port.dtype))


def _predict(self: Any, data: Any, state: Any = None) -> Any:
    if isinstance(data, list):
        return [_predict(self, each) for each in data]
    program = _program(self)
    features = {f.name: f for f in self._spec.description.input}
    feeds = {p.name: _feed(data[p.name], p, features.get(p.name)) for p in program.inputs if p.name in data}

    def observe(name: str, value: np.ndarray) -> None:
        _notes["half"] = _notes.get("half", False) or value.dtype == np.float16

    try:
        found = program.run(feeds, None if state is None else state.tensors, observe)
    except MilError as e:
        raise _failed(e) from e
    named = self._spec.description.predictedProbabilitiesName
    if program.classes:
        label, chances = (found[p.name] for p in program.outputs)
        first, _ = (p.name for p in program.outputs)
        return {first: label.item(), named: dict(zip(program.classes, chances.tolist(), strict=True))}
    return {name: value if value.ndim else value.reshape(1) for name, value in found.items()}


def pytest_addoption(parser: Any) -> None:
    """Add the size of a subset."""
    parser.addoption("--per-test", type=int, default=None, help="run this many parameter sets of each test at most")


def pytest_configure(config: Any) -> None:
    """Put the interpreter in place of Core ML."""
    testing_utils._IS_MACOS = True
    for module in (utils, models):
        module._is_macos = lambda: True
        module._macos_version = lambda: MACOS
    models.MLModel.predict = _predict
    models.MLModel.make_state = lambda self: _State(_program(self))


def pytest_collection_modifyitems(config: Any, items: list[Any]) -> None:
    """Let torch's tests compare too, and keep of each test the parameter sets whose names hash lowest.

    That is as good as random, and the same everywhere.
    """
    for item in items:
        helpers = getattr(item.module, "TorchBaseTest", None)
        if helpers is not None:
            helpers.run_compare_torch.__globals__["_IS_MACOS"] = True
    most = config.getoption("--per-test")
    if most is None:
        return
    groups: dict[str, list[Any]] = {}
    for item in items:
        groups.setdefault(item.nodeid.split("[")[0], []).append(item)
    kept = {id(item) for group in groups.values() for item in sorted(group, key=_hash)[:most]}
    config.hook.pytest_deselected(items=[item for item in items if id(item) not in kept])
    items[:] = [item for item in items if id(item) in kept]


def pytest_collection_finish(session: Any) -> None:
    """Take what exists now out of garbage collection, which coremltools runs after each conversion.

    It took three quarters of a test's time.
    """
    gc.collect()
    gc.freeze()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: Any, nextitem: Any) -> Iterator[None]:
    """Seed each test by its name, so that it draws the same numbers in any order and process."""
    _notes.clear()
    random.seed(_hash(item))
    np.random.seed(_hash(item))
    torch.manual_seed(_hash(item))
    return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: Any, call: Any) -> Any:
    """Hand what was noted to the process that counts."""
    report = yield
    report.user_properties.append((NOTES, dict(_notes)))
    return report


def _hash(item: Any) -> int:
    return zlib.crc32(stable(item.nodeid).encode())


def stable(name: str) -> str:
    """Return a test's name without the addresses of the objects that it was made of."""
    return re.sub(r"0x[0-9a-f]+", "0x", name)
