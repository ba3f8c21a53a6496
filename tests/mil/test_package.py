from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from tests.mil import build
from tests.mil.build import OpError, PackageError, from_model, load

mb = build.mb
X = build.normal(1, 8, 6, 6)
WEIGHT = build.normal(16, 8, 3, 3, seed=1)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    model = build.model(lambda x: mb.relu(x=mb.conv(x=x, weight=WEIGHT, pad_type="valid")), {"x": X})
    return build.save(model, tmp_path_factory.mktemp("mil") / "conv.mlpackage")


@pytest.fixture
def package(whole: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "copy.mlpackage"))


def test_a_saved_program_computes_what_it_did_in_memory(package: Path) -> None:
    direct = build.run(lambda x: mb.relu(x=mb.conv(x=x, weight=WEIGHT, pad_type="valid")), {"x": X})
    program = load(package)
    assert program.functions == ("main",)
    assert_array_equal(next(iter(program.run({"x": X}).values())), direct[0])


def test_reading_writes_nothing_and_the_package_is_not_needed_afterwards(package: Path) -> None:
    before = {p: p.stat().st_mtime_ns for p in package.rglob("*")}
    program = load(package)
    assert {p: p.stat().st_mtime_ns for p in package.rglob("*")} == before
    shutil.rmtree(package)
    assert next(iter(program.run({"x": X}).values())).shape == (1, 16, 4, 4)


def test_a_model_in_memory() -> None:
    model = build.model(lambda x: mb.relu(x=x), {"x": X})
    assert_array_equal(next(iter(from_model(model).run({"x": X}).values())), np.maximum(X, 0))


def weights(package: Path) -> Path:
    (found,) = package.rglob("weight.bin")
    return found


def test_missing_weights(package: Path) -> None:
    weights(package).unlink()
    with pytest.raises(PackageError, match=r"weight\.bin is missing"):
        load(package)


@pytest.mark.parametrize("keep", [0, 100, 1000])
def test_cut_weights(package: Path, keep: int) -> None:
    weights(package).write_bytes(weights(package).read_bytes()[:keep])
    with pytest.raises((PackageError, OpError), match=r"copy\.mlpackage"):
        load(package)


def test_a_damaged_model_file(package: Path) -> None:
    (model,) = package.rglob("*.mlmodel")
    model.write_bytes(b"\xff" * 100)
    with pytest.raises(PackageError, match="not a CoreML model"):
        load(package)
    model.unlink()
    with pytest.raises(PackageError, match="cannot be read"):
        load(package)


@pytest.mark.parametrize("text", [None, "", "{", "[]", "{}"])
def test_a_damaged_list(package: Path, text: str | None) -> None:
    listing = package / "Manifest.json"
    listing.unlink() if text is None else listing.write_text(text)
    with pytest.raises(PackageError, match=r"Manifest\.json"):
        load(package)
    assert listing.exists() == (text is not None)  # coremltools' own reader makes a new one


def test_a_list_that_leaves_the_package(package: Path) -> None:
    listing = package / "Manifest.json"
    manifest = json.loads(listing.read_text())
    manifest["itemInfoEntries"][manifest["rootModelIdentifier"]]["path"] = "../../other.mlmodel"
    listing.write_text(json.dumps(manifest))
    with pytest.raises(PackageError, match="outside"):
        load(package)


def test_no_package(tmp_path: Path) -> None:
    with pytest.raises(PackageError, match="no such folder"):
        load(tmp_path / "nothing.mlpackage")
    (tmp_path / "file.mlpackage").write_text("")
    with pytest.raises(PackageError, match="is a file"):
        load(tmp_path / "file.mlpackage")


def test_another_kind_of_model(package: Path) -> None:
    from qlot.mil._coremltools import Model_pb2

    (file,) = package.rglob("*.mlmodel")
    spec = Model_pb2.Model(specificationVersion=8)
    spec.identity.SetInParent()
    file.write_bytes(spec.SerializeToString())
    with pytest.raises(PackageError, match="identity, not an ML program"):
        load(package)


def test_functions_share_weights_and_are_picked_by_name(tmp_path: Path) -> None:
    ct = build.ct
    for name, factor in (("once", np.float32(1)), ("twice", np.float32(2))):

        def body(x: Any, factor: np.float32 = factor) -> Any:
            return mb.mul(x=mb.conv(x=x, weight=WEIGHT, pad_type="valid"), y=factor, name="y")

        build.save(build.model(body, {"x": X}, ct.target.iOS18), tmp_path / f"{name}.mlpackage")
    both = ct.utils.MultiFunctionDescriptor()
    for name in ("once", "twice"):
        both.add_function(str(tmp_path / f"{name}.mlpackage"), "main", name)
    both.default_function_name = "once"
    with build.quiet():
        ct.utils.save_multifunction(both, str(tmp_path / "both.mlpackage"))
    once, twice = (load(tmp_path / "both.mlpackage", name) for name in ("once", "twice"))
    assert set(once.functions) == {"once", "twice"}
    assert_array_equal(2 * once.run({"x": X})["y"], twice.run({"x": X})["y"])
    assert load(tmp_path / "both.mlpackage").function == "once"
    with pytest.raises(PackageError, match=r"no function 'thrice'; there are: "):
        load(tmp_path / "both.mlpackage", "thrice")
