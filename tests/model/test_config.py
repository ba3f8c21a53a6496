from __future__ import annotations

import json
from typing import Any

import pytest
import torch

from qlot.model.config import PRESETS, QLOTConfig, StageConfig
from qlot.model.layout import load_layout
from qlot.model.qlot import QLOT
from tests.model.small import ONE_LEVEL, TWO_LEVELS


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"correlation_heads": (2, 3)}, "one entry per pyramid level"),
        ({"correlation_heads": (), "correlation_kernels": (), "branch_channels": ()}, "one entry per pyramid level"),
        ({"correlation_heads": (2, 3, 5)}, "5 heads do not divide 96 channels"),
        ({"correlation_heads": (2, 0, 4)}, "correlation_heads must be whole numbers from 1 on"),
        ({"branch_channels": (14, 16, 16)}, "branch channels must be multiples"),
        ({"groups": 5}, "multiples of their groups"),
        ({"mixer_heads": 3}, "multiples of their groups"),
        ({"mixer_heads": 0}, "mixer_heads must be whole numbers from 1 on"),
        ({"image_size": 100}, "the image size must be a multiple of 32"),
        ({"image_size": -32}, "image_size must be whole numbers from 1 on"),
        ({"image_size": 224.0}, "image_size must be whole numbers from 1 on"),
        ({"hidden_width": "128"}, "hidden_width must be whole numbers from 1 on"),
        ({"image_size": 64}, "the map of level 2 is 4 px wide, its window and kernel need 6"),
        ({"correlation_kernels": (52, 1, 1)}, "the map of level 0 is 56 px wide"),
        ({"window": 2}, "the window must be at least 3"),
        ({"stem": (24, 48)}, "stage 0 takes 32 channels but is given 48"),
        ({"stages": (StageConfig(32, 0, 64, 1, False, False, 3, 3),) * 3}, "stages must be whole numbers from 1 on"),
    ],
)
def test_a_network_that_cannot_be_is_refused_by_name(change: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValueError, match="not a QLOT configuration") as e:
        QLOTConfig(**change)
    assert problem in str(e.value)


def test_every_problem_is_listed() -> None:
    with pytest.raises(ValueError, match=r"multiple of 32.*window must be at least 3"):
        QLOTConfig(image_size=200, window=2)


@pytest.mark.parametrize("config", [*PRESETS.values(), ONE_LEVEL, TWO_LEVELS], ids=lambda c: c.preset)
def test_json_keeps_a_configuration(config: QLOTConfig) -> None:
    assert QLOTConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config


def test_unknown_fields_are_refused() -> None:
    with pytest.raises(TypeError, match="colour"):
        QLOTConfig.from_dict({**QLOTConfig().to_dict(), "colour": 3})


def test_the_published_network_has_the_published_size() -> None:
    assert round(sum(p.numel() for p in QLOT().parameters()) / 1e6, 2) == 1.98


@torch.no_grad()
@pytest.mark.parametrize("config", [ONE_LEVEL, TWO_LEVELS], ids=lambda c: c.preset)
def test_no_size_is_hard_wired(config: QLOTConfig) -> None:
    torch.manual_seed(0)
    points = torch.tensor(load_layout("wflw98").points[::9], dtype=torch.float32)[None].expand(2, -1, -1)
    image = torch.rand(2, 3, config.image_size, config.image_size)
    network = QLOT(config).eval()
    results = []
    for lowering in ("dense", "windowed"):
        network.lowering = lowering
        results.append(network(image, points, iterations=2)[-1])
    n = points.shape[1]
    assert [tuple(x.shape) for x in results[0]] == [(2, n, 2), (2, n, 3), (2, n, 2), (2, n, config.hidden_width)]
    for a, b in zip(*results, strict=True):
        assert a.isfinite().all()
        torch.testing.assert_close(a, b, atol=1e-5, rtol=0)
