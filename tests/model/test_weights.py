from __future__ import annotations

import pytest
import torch

from qlot.model.checkpoint import CheckpointError, checkpoint_metadata
from qlot.model.config import PRESETS
from qlot.model.weights import DEFAULT, load_default, shipped_weights, weights_path


def test_what_ships() -> None:
    assert set(shipped_weights()) <= set(PRESETS)
    assert DEFAULT in shipped_weights()


@pytest.mark.parametrize("name", shipped_weights())
def test_shipped_weights_are_named_after_their_preset(name: str) -> None:
    model = load_default(name)
    assert model.config == PRESETS[name]
    assert not model.training
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    assert checkpoint_metadata(weights_path(name))["licence"]


def test_unknown_weights_name_the_choices() -> None:
    with pytest.raises(CheckpointError, match=r"'huge'; there are: base, nano"):
        weights_path("huge")
    with pytest.raises(CheckpointError, match="no shipped weights"):
        load_default("../weights/final")
