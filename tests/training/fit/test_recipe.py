"""Recipes: what ships can be read, and what is wrong is named."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from qlot.model.config import PRESETS
from qlot.training.data.clip import DataError
from qlot.training.fit.recipe import SHIPPED, load_recipe
from qlot.training.fit.sources import open_sources
from tests.training.tiny import SIZES, recipe

BASE = 'preset = "nano"\nsteps = 10\nmaterial = [{kind = "faces", path = "x", share = 1.0}]\n'


def _read(tmp_path: Path, text: str) -> str:
    path = tmp_path / "mine.toml"
    path.write_text(text)
    with pytest.raises(DataError) as error:
        load_recipe(path).config()
    return str(error.value)


@pytest.mark.parametrize("name", sorted(p.stem for p in SHIPPED.glob("*.toml")))
def test_shipped_recipes(name: str) -> None:
    found = load_recipe(name)
    config = found.config()
    assert config in PRESETS.values()
    assert sum(item.share for item in found.material) == pytest.approx(1, abs=0.01)
    assert len({(m.kind, m.path, m.labels) for m in found.material}) == len(found.material)


def test_changes_replace_values() -> None:
    assert load_recipe("nano", steps=7, seed=None).steps == 7
    assert load_recipe("nano", steps=None) == load_recipe("nano")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            BASE.replace("share", "moving_eyes = 0.5, share"),
            "material.0: Value error, moving_eyes is for kind faces with",
        ),
        ("stepz = 4\n" + BASE, "stepz: Extra inputs are not permitted"),
        (BASE + "[weights]\npositoin = 1\n", "weights.positoin: Extra inputs"),
        (BASE + "[disturbance]\nscal = 1\n", "disturbance.scal: Unexpected keyword argument"),
        (BASE + "[chances]\nwlid = 1\n", "chances.wlid: Unexpected keyword argument"),
        (BASE.replace("10", "0"), "steps: Input should be greater than or equal to 1"),
        (BASE.replace('"faces"', '"cats"'), "material.0.kind: Input should be"),
        (BASE.replace("1.0", "0.0"), "material.0.share: Input should be greater than 0"),
        (BASE + "ema = 1.0\n", "ema: Input should be less than 1"),
        (BASE + "first_iterations = []\n", "first_iterations: Value error, one of the chances must be above 0"),
        (BASE + "next_iterations = [0.0, 0.0]\n", "next_iterations: Value error, one of the chances"),
        (BASE + "batch = 1\n", "batch must be 2 or more"),
        ('preset = "nano"\nsteps = 10\nmaterial = []\n', "material: Tuple should have at least 1 item"),
        (BASE.replace('"nano"', '"nona"'), "no preset 'nona'; there are final"),
        (BASE + "[model]\nstem = [0, 1]\n", "the recipe's model: not a QLOT configuration: stem"),
        (BASE + "[model]\nstemm = 1\n", "the recipe's model: "),
        ("steps = = 3", "mine.toml is not TOML"),
    ],
)
def test_mistakes_are_named(tmp_path: Path, text: str, said: str) -> None:
    assert said in _read(tmp_path, text)


def test_no_such_recipe(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no recipe nanno \(No such file or directory\)\. Shipped recipes: .*nano"):
        load_recipe("nanno")
    (tmp_path / "latin.toml").write_bytes(b"preset = '\xff'")
    with pytest.raises(DataError, match=r"latin\.toml is not TOML"):
        load_recipe(tmp_path / "latin.toml")


def test_sizes_in_place_of_a_preset() -> None:
    config = recipe().config()
    assert config.image_size == SIZES["image_size"] and config.levels == 2 and config.preset == "tiny"


def test_a_recipe_survives_the_saved_state() -> None:
    """A state file holds the recipe as plain data; what is read back must compare equal."""
    values = recipe().model_dump(mode="json")
    assert type(recipe()).model_validate(values).model_dump(mode="json") == values
    assert not any(isinstance(v, torch.Tensor) for v in values.values())


def test_no_data_folder(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"nowhere is not a folder: give .* --data"):
        open_sources(recipe().material, tmp_path / "nowhere")
