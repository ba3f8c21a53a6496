from __future__ import annotations

import json
import struct
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qlot.runtime.bundle.folder import Bundle
from qlot.runtime.bundle.golden import ALIGNMENT, GoldenSequence, read_golden, write_golden
from qlot.runtime.errors import BundleError, IntegrityError
from qlot.runtime.network.replay import replay
from tests.runtime.bundles import write_bundle

INDEX, DATA = "golden/index.json", "golden/data.bin"


def sequence(T: int = 2, S: int = 3, K: int = 4, N: int = 2, C: int = 5, seed: int = 0) -> GoldenSequence:
    rng = np.random.default_rng(seed)
    steps = rng.integers(1, K + 1, T, np.int32)
    landmarks = rng.normal(size=(T, K, N, 7)).astype(np.float32)
    landmarks[np.arange(K) >= steps[:, None]] = 0
    return GoldenSequence(
        crops=rng.integers(0, 256, (T, S, S, 3), np.uint8),
        boxes=rng.uniform(1, 100, (T, 3)),
        steps=steps,
        landmarks=landmarks,
        hidden=rng.normal(size=(T, N, C)).astype(np.float32),
        gate=np.array([16, 0.1], np.float32),
    )


def written(folder: Path, golden: GoldenSequence) -> dict[str, bytes]:
    return {path: (folder / path).read_bytes() for path in write_golden(folder, golden)}


def edited(files: dict[str, bytes], change: Callable[[dict[str, Any]], object]) -> dict[str, bytes]:
    index = json.loads(files[INDEX])
    change(index)
    return {**files, INDEX: json.dumps(index).encode()}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    return written(tmp_path_factory.mktemp("golden"), sequence())


@settings(deadline=None)
@given(sizes=st.tuples(*[st.integers(1, 5)] * 5), seed=st.integers(0, 9))
def test_read_is_what_was_written(
    tmp_path_factory: pytest.TempPathFactory, sizes: tuple[int, int, int, int, int], seed: int
) -> None:
    golden = sequence(*sizes, seed=seed)
    back = read_golden(written(tmp_path_factory.mktemp("golden"), golden))
    for field in fields(golden):
        one, two = getattr(golden, field.name), getattr(back, field.name)
        assert one.dtype == two.dtype and one.shape == two.shape and (one == two).all()


def test_a_reader_without_a_library_finds_the_same_numbers(files: dict[str, bytes]) -> None:
    """What a port does: parse the index, then unpack little-endian numbers at their offsets."""
    golden = sequence()
    formats = {"uint8": "B", "int32": "i", "float32": "f", "float64": "d"}
    index = json.loads(files[INDEX])
    assert (index["format"], index["version"], index["byte_order"]) == ("qlot-golden", 1, "little")
    assert [t["name"] for t in index["tensors"]] == [f.name for f in fields(golden)]
    for tensor in index["tensors"]:
        count = int(np.prod(tensor["shape"]))
        assert tensor["file"] == DATA and tensor["offset"] % ALIGNMENT == 0
        assert tensor["bytes"] == struct.calcsize(f"<{count}{formats[tensor['dtype']]}")
        numbers = struct.unpack_from(f"<{count}{formats[tensor['dtype']]}", files[DATA], tensor["offset"])
        assert list(numbers) == getattr(golden, tensor["name"]).ravel().tolist()


def test_a_bundle_reproduces_its_golden_sequence(tmp_path: Path) -> None:
    folder = write_bundle(tmp_path / "bundle", unrolled=True)
    replay(Bundle.open(folder)).check()
    other = write_bundle(tmp_path / "other", seed=1)
    for name in (INDEX, DATA):
        (folder / name).write_bytes((other / name).read_bytes())
    with pytest.raises(IntegrityError):
        Bundle.open(folder)


def test_an_existing_sequence_is_not_overwritten_and_nothing_is_left_behind(tmp_path: Path) -> None:
    before = written(tmp_path, sequence())
    with pytest.raises(BundleError, match="exists already"):
        write_golden(tmp_path, sequence(seed=1))
    assert {p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("*")} == {"golden", *before}
    assert read_golden({p: (tmp_path / p).read_bytes() for p in before}).gate[0] == 16


@pytest.mark.parametrize("name", [f.name for f in fields(GoldenSequence)])
@pytest.mark.parametrize("damage", ["nan", "inf", "type", "shape", "empty", "list"])
def test_tensors_are_exactly_as_described(name: str, damage: str) -> None:
    golden = sequence()
    tensor = getattr(golden, name).copy()
    if damage in ("nan", "inf"):
        if tensor.dtype.kind != "f":
            return
        tensor.flat[0] = float(damage)
    elif damage == "type":
        tensor = tensor.astype(np.float16)
    elif damage == "shape":
        tensor = tensor[..., None]
    elif damage == "empty":
        tensor = tensor[:0]
    with pytest.raises(IntegrityError, match=f"golden .*{name}"):
        replace(golden, **{name: tensor.tolist() if damage == "list" else tensor})


@pytest.mark.parametrize(
    ("name", "at", "value"),
    [
        ("steps", (0,), 0),
        ("steps", (0,), 5),
        ("steps", (0,), -1),
        ("landmarks", (1, 3, 0, 0), 1e-9),  # beyond the steps of frame 1
        ("boxes", (1, 2), 0.0),
        ("boxes", (0, 2), -5.0),
        ("gate", (0,), -1.0),
        ("gate", (1,), 1.0),
        ("gate", (1,), -0.1),
    ],
)
def test_values_are_in_range(name: str, at: tuple[int, ...], value: float) -> None:
    golden = sequence(seed=2)
    assert golden.steps[1] < 4
    tensor = getattr(golden, name).copy()
    tensor[at] = value
    with pytest.raises(IntegrityError, match=f"golden .*{name}"):
        replace(golden, **{name: tensor})


def _tensor(i: int, **change: Any) -> Callable[[dict[str, Any]], None]:
    return lambda index: index["tensors"][i].update(change)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda x: x.update(format="other"), "format"),
        (lambda x: x.update(version=2), "version"),
        (lambda x: x.update(byte_order="big"), "byte_order"),
        (lambda x: x.update(extra=1), "extra"),
        (lambda x: x["tensors"].pop(), "tensors: .*at least 6"),
        (lambda x: x["tensors"].append(x["tensors"][0]), "tensors: .*at most 6"),
        (_tensor(0, name="crop"), r"tensors\.0\.name"),
        (_tensor(0, name="boxes"), "lists the tensors"),
        (_tensor(0, dtype="int8"), "dtype"),
        (_tensor(2, dtype="float32"), "golden steps is float32"),
        (_tensor(1, offset=1), "offset"),
        (_tensor(1, offset=-64), "offset"),
        (_tensor(1, offset=0), "overlaps"),
        (_tensor(1, offset=2**70), "offset"),
        (_tensor(5, offset=2**20), "ends beyond"),
        (_tensor(1, bytes=47), "its shape needs 48"),
        (_tensor(1, shape=[10**30, 3]), "shape"),
        (_tensor(1, shape=[2**27, 3]), "its shape needs"),
        (_tensor(1, shape=[2**20, 3], bytes=24 * 2**20), "ends beyond"),
        (_tensor(1, bytes=2**70), "bytes"),
        (_tensor(1, shape=[3, 2]), "golden boxes has shape"),
        (_tensor(1, shape=[-2, -3]), "shape"),
        (_tensor(1, shape=[1] * 99), "shape"),
        (_tensor(1, shape=["2", 3]), "shape"),
        (_tensor(1, file="golden/other.bin"), "'golden/other.bin' is missing"),
        (_tensor(1, file="../../etc/passwd"), "is missing"),
    ],
)
def test_a_wrong_index_is_refused(files: dict[str, bytes], change: Callable[[Any], object], message: str) -> None:
    with pytest.raises(IntegrityError, match=message):
        read_golden(edited(files, change))


@pytest.mark.parametrize(
    "text", [b"", b"{", b"[]", b"null", b'{"format": "qlot-golden", "format": "qlot-golden"}', b"\xff"]
)
def test_an_index_that_is_no_index(files: dict[str, bytes], text: bytes) -> None:
    with pytest.raises(IntegrityError, match=r"golden/index\.json"):
        read_golden({**files, INDEX: text})


def test_a_repeated_key_is_refused(files: dict[str, bytes]) -> None:
    twice = files[INDEX].replace(b'"version": 1', b'"version": 1, "version": 1')
    with pytest.raises(IntegrityError, match="repeated"):
        read_golden({**files, INDEX: twice})


def test_short_or_missing_data(files: dict[str, bytes]) -> None:
    with pytest.raises(IntegrityError, match="ends beyond"):
        read_golden({**files, DATA: files[DATA][:-1]})
    with pytest.raises(IntegrityError, match=f"'{DATA}' is missing"):
        read_golden({INDEX: files[INDEX]})


def test_a_bundle_hands_out_only_listed_data(tmp_path: Path) -> None:
    """An index cannot point outside the bundle: its files go through the same door as all others."""
    folder = write_bundle(tmp_path / "bundle")
    bundle = Bundle.open(folder)

    class Elsewhere:
        def read(self, relpath: str) -> bytes:
            data = bundle.read(relpath)
            return data.replace(b"golden/data.bin", b"../secrets.dat0") if relpath == INDEX else data

    with pytest.raises(IntegrityError, match=r"does not list '\.\./secrets\.dat0'"):
        read_golden(Elsewhere())
