from __future__ import annotations

import json
import os
import pickle
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from qlot.model.checkpoint import (
    PUBLISHED,
    CheckpointError,
    checkpoint_metadata,
    load_checkpoint,
    load_state,
    save_checkpoint,
    translate_published,
)
from qlot.model.qlot import QLOT
from tests.conformance import networks

BROADCAST = (
    "refiner.encoder.branches.0.log_temperature",
    "refiner.encoder.state.rows.bias",
    "backbone.stem.stem1.lab.scale",
)


@pytest.fixture(scope="module")
def model() -> QLOT:
    return networks.seeded_network(size=224)


@pytest.fixture(scope="module")
def published(model: QLOT) -> dict[str, Tensor]:
    """The same weights under published names: the table read backwards."""
    state = {}
    for key, value in model.state_dict().items():
        name = _published_name(key)
        state[name] = value[None, ..., None] if key in BROADCAST else value
    return state


def _published_name(key: str) -> str:
    for pattern, ours in PUBLISHED:
        if ours == "backbone." and key.startswith("backbone.stages."):
            continue
        group = next(iter(re.findall(r"\([^)]*\)", pattern)), "")
        found = re.match(re.escape(ours).replace(r"\\1", group), key)
        if found:
            name = pattern.replace(group, found[1]) if group else pattern
            return name.replace("\\.", ".") + key[found.end() :]
    raise AssertionError(f"no rule gives {key}")


def same(a: QLOT, b: QLOT, tolerance: float = 0.0) -> None:
    one, two = a.state_dict(), b.state_dict()
    for key in one:
        if not key.endswith("num_batches_tracked"):
            torch.testing.assert_close(one[key], two[key], atol=tolerance, rtol=tolerance, msg=key)


def test_own_round_trip(model: QLOT, tmp_path: Path) -> None:
    path = tmp_path / "own.safetensors"
    save_checkpoint(model, path, licence="CC0", note="ä")
    loaded = load_checkpoint(path)
    same(loaded, model)
    assert loaded.config == model.config
    assert not loaded.training
    metadata = checkpoint_metadata(path)
    assert (metadata["format"], metadata["licence"], metadata["note"]) == ("qlot-mobile/1", "CC0", "ä")
    assert [p.name for p in tmp_path.iterdir()] == ["own.safetensors"]


def test_half_the_size(model: QLOT, tmp_path: Path) -> None:
    save_checkpoint(model, tmp_path / "full.safetensors")
    save_checkpoint(model, tmp_path / "half.safetensors", half=True)
    loaded = load_checkpoint(tmp_path / "half.safetensors")
    same(loaded, model, tolerance=1e-3)
    assert {v.dtype for k, v in loaded.state_dict().items() if "num_batches" not in k} == {torch.float32}
    full, half = ((tmp_path / f"{n}.safetensors").stat().st_size for n in ("full", "half"))
    assert half < 0.55 * full


@pytest.mark.parametrize(("value", "half"), [(float("nan"), False), (1e5, True)])
def test_what_could_not_be_loaded_is_not_written(value: float, half: bool, tmp_path: Path) -> None:
    model = networks.seeded_network()
    with torch.no_grad():
        model.refiner.delta.weight[0, 0] = value
    with pytest.raises(CheckpointError, match=r"not written.*refiner\.delta\.weight"):
        save_checkpoint(model, tmp_path / "m.safetensors", half=half)
    assert not list(tmp_path.iterdir())


def wrapped(state: dict[str, Tensor]) -> dict[str, Any]:
    return {"model_state_dict": state}


def prefixed(state: dict[str, Tensor]) -> dict[str, Any]:
    return {f"model.{k}": v for k, v in state.items()}


def older(state: dict[str, Tensor]) -> dict[str, Any]:
    return {k.replace("update_predictor.mixer.", "update_predictor.bypass_attention."): v for k, v in state.items()}


@pytest.mark.parametrize("form", [dict, wrapped, prefixed, older, lambda s: wrapped(prefixed(older(s)))])
def test_published_pth(
    form: Callable[[dict[str, Tensor]], Any], model: QLOT, published: dict[str, Tensor], tmp_path: Path
) -> None:
    torch.save(form(published), tmp_path / "published.pth")
    loaded = load_checkpoint(tmp_path / "published.pth")
    same(loaded, model)
    assert loaded.config.preset == "final"


def test_published_keys_as_safetensors(model: QLOT, published: dict[str, Tensor], tmp_path: Path) -> None:
    save_file({k: v.contiguous() for k, v in published.items()}, tmp_path / "m.safetensors", {"image_size": "128"})
    loaded = load_checkpoint(tmp_path / "m.safetensors")
    same(loaded, model)
    assert loaded.config.preset == "final128"


def test_the_published_list_of_keys(shared: Path, published: dict[str, Tensor]) -> None:
    rows = [r.split("\t") for r in (shared / "conformance/state_dict_keys.txt").read_text().splitlines()]
    assert {r[0] for r in rows} == published.keys()
    names = translate_published(published)
    assert len(names) == len(rows)
    shapes = {r[0]: tuple(map(int, re.findall(r"\d+", r[1]))) for r in rows}
    load_state(QLOT(), {k: torch.zeros(shape) for k, shape in shapes.items()})


def test_every_mistake_is_listed_at_once(model: QLOT) -> None:
    state = dict(model.state_dict())
    del state["encoding.omega"], state["refiner.delta.bias"]
    state["refiner.extra"] = torch.zeros(3)
    state["refiner.covariance.weight"] = torch.zeros(4, 64)
    state["identity.mlp.0.bias"] = torch.full((96,), float("inf"))
    with pytest.raises(CheckpointError) as e:
        load_state(QLOT(), state)
    for part in (
        "missing keys: encoding.omega, refiner.delta.bias",
        "unexpected keys: refiner.extra",
        "refiner.covariance.weight is (4, 64), wanted (3, 64)",
        "not finite: identity.mlp.0.bias",
        "preset 'final'",
    ):
        assert part in str(e.value)


def test_a_refused_state_changes_nothing(model: QLOT) -> None:
    target = networks.seeded_network()
    before = {k: v.clone() for k, v in target.state_dict().items()}
    state = {**model.state_dict(), "refiner.delta.bias": torch.full((2,), float("nan"))}
    with pytest.raises(CheckpointError):
        load_state(target, {k: v + 1 for k, v in state.items()})
    assert all(torch.equal(v, before[k]) for k, v in target.state_dict().items())


def test_foreign_keys_are_listed_and_long_lists_cut(published: dict[str, Tensor]) -> None:
    with pytest.raises(CheckpointError, match=r"not keys of a QLOT checkpoint: head\.weight"):
        translate_published({**published, "head.weight": torch.zeros(1)})
    with pytest.raises(CheckpointError, match=r"layer11 and 38 more$"):
        translate_published({f"layer{i}": torch.zeros(1) for i in range(50)})


class _Code:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(_Code.target),)

    target = Path("unset")


@pytest.mark.parametrize("write", [torch.save, lambda x, p: p.write_bytes(pickle.dumps(x, 2))], ids=["torch", "pickle"])
def test_code_in_a_checkpoint_is_not_run(write: Callable[[object, Path], object], tmp_path: Path) -> None:
    _Code.target = tmp_path / "was_run"
    path = tmp_path / "evil.pth"
    write({"a": _Code()}, path)
    with pytest.raises(CheckpointError, match=r"evil\.pth: damaged, or more than a state dict") as e:
        load_checkpoint(path)
    assert "weights_only" not in str(e.value)  # torch's message tells the user how to run it
    assert not _Code.target.exists()
    pickle.loads(pickle.dumps(_Code()))  # it would have run
    assert _Code.target.exists()


def test_damaged_and_foreign_files(model: QLOT, published: dict[str, Tensor], tmp_path: Path) -> None:
    good, pth = tmp_path / "good.safetensors", tmp_path / "good.pth"
    save_checkpoint(model, good)
    torch.save(published, pth)
    files = {
        "cut.safetensors": good.read_bytes()[:-100],
        "header.safetensors": good.read_bytes()[:50],
        "empty.safetensors": b"",
        "text.pth": b"hello",
        "empty.pth": b"",
        "cut.pth": pth.read_bytes()[: pth.stat().st_size // 2],
        "renamed.pth": good.read_bytes(),
        "renamed.safetensors": pth.read_bytes(),
    }
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
        with pytest.raises(CheckpointError, match=re.escape(name)):
            load_checkpoint(tmp_path / name)
    torch.save([1, 2], tmp_path / "list.pth")
    torch.save({"a": 1}, tmp_path / "numbers.pth")
    for name in ("list.pth", "numbers.pth"):
        with pytest.raises(CheckpointError, match=f"{name}: no state dict of tensors"):
            load_checkpoint(tmp_path / name)
    for absent in (tmp_path / "absent.pth", tmp_path):
        with pytest.raises(CheckpointError, match="no checkpoint at"):
            load_checkpoint(absent)


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ({"preset": "huge"}, "unknown preset 'huge'; known: final, final128"),
        ({"image_size": "100"}, "multiple of 32"),
        ({"image_size": "big"}, "not usable"),
        ({"config": "[1]"}, "not usable"),
        ({"config": "{}"}, "not usable"),
        ({"config": "no json"}, "not usable"),
        ({"config": json.dumps({"stages": [], "image_size": 224})}, "one entry per pyramid level"),
        ({"format": "qlot-mobile/2"}, "has format 'qlot-mobile/2', this version reads 'qlot-mobile/1'"),
    ],
)
def test_unusable_metadata(metadata: dict[str, str], message: str, tmp_path: Path) -> None:
    save_file({"a": torch.zeros(1)}, tmp_path / "m.safetensors", metadata)
    with pytest.raises(CheckpointError, match=message) as e:
        load_checkpoint(tmp_path / "m.safetensors")
    assert "m.safetensors" in str(e.value)
