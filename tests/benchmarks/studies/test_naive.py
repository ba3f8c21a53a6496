from __future__ import annotations

import numpy as np
import pytest
import torch

from qlot.assets import sample_clip
from qlot.benchmarks.studies.naive import NaiveQLOT, load_naive
from qlot.model.layout import load_layout
from qlot.model.qlot import QLOT
from qlot.model.state import TensorState, cold_start, from_pixels, to_pixels
from qlot.model.weights import load_default
from qlot.runtime.geometry import CropBox
from qlot.runtime.media.video import VideoReader
from qlot.runtime.tracking.crop import sample_crop
from tests.export import small

LAYOUT = load_layout("wflw98")
POINTS = torch.tensor(LAYOUT.points, dtype=torch.float32)[None]
ITERATIONS = 2
TOLERANCE = 2e-3  # px


@pytest.fixture(scope="module")
def model() -> QLOT:
    return load_default("nano")


@pytest.fixture(scope="module")
def feeds(model: QLOT) -> dict[str, torch.Tensor]:
    return feeds_of(model, POINTS)


def feeds_of(model: QLOT, points: torch.Tensor) -> dict[str, torch.Tensor]:
    """A real picture, some landmarks beyond its edges so that the border rule counts, and a lived-in hidden state."""
    frame = next(iter(VideoReader(sample_clip())))
    height, width = frame.rgb.shape[:2]
    size = model.config.image_size
    image = torch.from_numpy(sample_crop(frame.rgb, CropBox(width / 2, height / 2, height), size))
    start = cold_start(points, model.config.hidden_width)
    hidden = torch.from_numpy(np.random.default_rng(3).normal(0, 0.5, start.hidden.shape).astype(np.float32))
    state = TensorState(start.position * 1.3, start.covariance - 2, start.delta + 0.01, hidden)
    return {"image": image, "landmarks": to_pixels(state, size), "hidden": hidden}


def expected(
    model: QLOT, feeds: dict[str, torch.Tensor], iterations: int = ITERATIONS, points: torch.Tensor = POINTS
) -> np.ndarray:
    size = model.config.image_size
    with torch.no_grad():
        state = from_pixels(feeds["landmarks"], feeds["hidden"], size)
        return to_pixels(model(feeds["image"], points, state, iterations)[-1], size).numpy()


def test_computes_what_the_model_computes(model: QLOT, feeds: dict[str, torch.Tensor]) -> None:
    with torch.no_grad():
        landmarks, hidden = NaiveQLOT(model, LAYOUT, ITERATIONS)(*feeds.values())
    wanted = expected(model, feeds)
    assert np.abs(wanted[..., :2] - feeds["landmarks"][..., :2].numpy()).max() > 1
    assert hidden.shape == feeds["hidden"].shape
    np.testing.assert_allclose(landmarks.numpy(), wanted, atol=TOLERANCE, rtol=0)
    assert np.abs(landmarks.numpy() - expected(model, feeds, 1))[..., :2].max() > 10 * TOLERANCE


@pytest.mark.slow  # tracing takes a quarter of a minute
def test_its_graph_does_so_in_the_engine() -> None:
    """With a network that is exported in a moment: the graph has the same operators at any size."""
    model, layout = small.network(), small.layout()
    points = torch.tensor(layout.points, dtype=torch.float32)[None]
    feeds = feeds_of(model, points)
    out = load_naive(model, layout, ITERATIONS).run({name: tensor.numpy() for name, tensor in feeds.items()})
    wanted = expected(model, feeds, points=points)
    np.testing.assert_allclose(out["landmarks_out"], wanted, atol=TOLERANCE, rtol=0)
    assert np.abs(out["landmarks_out"] - expected(model, feeds, 1, points)).max() > 10 * TOLERANCE
