"""The fixture of our own making: the architecture's numbers without any material from outside."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest
import torch

from qlot.model.gate import TensorGate
from qlot.model.layout import load_layout
from qlot.model.state import to_pixels

_spec = importlib.util.spec_from_file_location("networks", Path(__file__).with_name("networks.py"))
networks = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(networks)

POINTS = torch.tensor(load_layout("wflw98").points, dtype=torch.float32)[None]
MASK = torch.arange(98)[None] % 5 == 0


def _run(model: torch.nn.Module) -> tuple[np.ndarray, np.ndarray]:
    with torch.no_grad():
        first = model(networks.test_image().float(), POINTS, iterations=3)
        second = model(networks.test_image(frame=1).float(), POINTS, first[-1], 2, TensorGate(2 / 48, 0.05), MASK)
    return np.stack([to_pixels(s, 96)[0].numpy() for s in [*first, *second]]), second[-1].hidden[0, ::7].numpy()


@pytest.fixture(scope="module")
def expected() -> dict[str, np.ndarray]:
    return dict(np.load(Path(__file__).with_name("seeded.npz")))


@pytest.mark.parametrize("lowering", ["dense", "windowed"])
def test_the_seeded_network_computes_the_stored_numbers(lowering: str, expected: dict[str, np.ndarray]) -> None:
    landmarks, hidden = _run(networks.seeded_network(lowering))
    np.testing.assert_allclose(landmarks, expected["landmarks"], atol=2e-3)
    np.testing.assert_allclose(hidden, expected["hidden"], atol=1e-4)


@pytest.mark.parametrize(
    "parameter",
    [
        "refiner.mixer.slot_gain",
        "refiner.encoder.branches.0.log_temperature",
        "refiner.mixer.write_temperature",
        "encoding.phi",
        "backbone.stem.stem2a.lab.bias",
        "refiner.encoder.state.rows.bias",
    ],
)
def test_a_changed_parameter_is_seen(parameter: str, expected: dict[str, np.ndarray]) -> None:
    model = networks.seeded_network()
    with torch.no_grad():
        model.get_parameter(parameter).add_(0.2)
    landmarks, _ = _run(model)
    assert np.abs(landmarks - expected["landmarks"])[..., :2].max() > 3 * 2e-3
