"""The modules to be traced: their interfaces, and that they compute what the network computes."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from qlot.export.calibration.record import RecordingNetwork
from qlot.export.graphs.stages import make_stages
from qlot.model.fuse import fuse
from qlot.model.qlot import Lowering
from qlot.model.torch_network import TorchNetwork, write_mask
from qlot.runtime.network.recurrence import Gate, step
from qlot.runtime.network.state import State, cold_start
from tests.export import small

N, C, S, H = len(small.layout()), small.SMALL.channels, small.SMALL.image_size, small.SMALL.hidden_width
LOWERINGS: tuple[Lowering, ...] = ("dense", "windowed")
STAGES = ("extractor", "refiner", "refiner_unrolled")
FEATURES = {
    "dense": {"map_0": (1, N, 23, 2, 23), "map_1": (1, N, 12, 3, 12), "map_2": (1, N, 6, 4, 6), "context": (1, C)},
    "windowed": {"pyramid_0": (1, 576, C), "map_1": (1, 3 * N, 12, 12), "map_2": (1, 4 * N, 6, 6), "context": (1, C)},
}
STATE = {"landmarks": (1, N, 7), "hidden": (1, N, H)}


@pytest.mark.parametrize("lowering", LOWERINGS)
def test_interfaces(lowering: Lowering) -> None:
    features = FEATURES[lowering]
    wanted = {
        "extractor": ({"image": (1, 3, S, S)}, features, 0),
        "refiner": (
            {**features, **STATE},
            {"displacement": (1, N, 2), "covariance": (1, N, 3), "hidden_out": (1, N, H)},
            1,
        ),
        "refiner_unrolled": (
            {**features, **STATE, "gate": (2,)},
            {
                "total_displacement": (1, N, 2), "displacement": (1, N, 2), "covariance": (1, N, 3),
                "hidden_out": (1, N, H),
            },
            small.UNROLLED,
        ),
    }  # fmt: skip
    assert [s.name for s in small.stages(lowering)] == list(wanted)
    for stage in small.stages(lowering):
        inputs, outputs, iterations = wanted[stage.name]
        assert list({t.name: t.shape for t in stage.inputs}.items()) == list(inputs.items())
        assert list({t.name: t.shape for t in stage.outputs}.items()) == list(outputs.items())
        assert {t.dtype for t in (*stage.inputs, *stage.outputs)} == {"float32"}
        assert all(t.unit and t.meaning for t in (*stage.inputs, *stage.outputs))
        assert stage.iterations == iterations
        found = small.run_torch(stage, small.feeds_of(stage))
        assert {k: v.shape for k, v in found.items()} == outputs
        assert all(np.isfinite(v).all() for v in found.values())
        assert [tuple(t.shape) for t in stage.example()] == list(inputs.values())


def test_without_unrolling_there_are_two_stages() -> None:
    points = torch.tensor(small.layout().points, dtype=torch.float32)
    assert [s.name for s in make_stages(fuse(small.network(), points))] == ["extractor", "refiner"]


def _recorder(lowering: Lowering, gate: Gate) -> RecordingNetwork:
    return RecordingNetwork(small.stages(lowering), S, np.array([gate.radius, gate.cutoff], np.float32))


def _warm() -> State:
    random = np.random.default_rng(3)
    start = cold_start(small.layout().points, S, H)
    landmarks = start.landmarks + random.normal(0, 1, start.landmarks.shape).astype(np.float32)
    return State(landmarks, random.standard_normal(start.hidden.shape).astype(np.float32))


@pytest.mark.parametrize("lowering", LOWERINGS)
def test_the_stages_are_the_network(lowering: Lowering) -> None:
    """The fused stages against the network that nobody fused, over several gated steps."""
    state = other = _warm()
    ours, theirs = _recorder(lowering, small.GATE), TorchNetwork(small.network(), small.layout())
    image = small.images(1)[0]
    features, reference = ours.extract(image), theirs.extract(image)
    for _ in range(3):
        state, other = step(ours, features, state, small.GATE), step(theirs, reference, other, small.GATE)
        np.testing.assert_allclose(state.landmarks, other.landmarks, atol=2e-3)
        np.testing.assert_allclose(state.hidden, other.hidden, atol=1e-4)


def test_the_write_mask_is_baked_in() -> None:
    points = torch.tensor(small.layout().points, dtype=torch.float32)
    assert write_mask(small.layout()).nonzero().flatten().tolist() == [0, 3]
    masked, free = small.stage("windowed", "refiner"), make_stages(fuse(small.network(), points))[1]
    feeds = small.feeds_of(masked)
    one, two = small.run_torch(masked, feeds), small.run_torch(free, feeds)
    assert np.abs(one["displacement"] - two["displacement"]).max() > 1e-3  # rounding is a thousandth of that


@pytest.mark.parametrize("lowering", LOWERINGS)
@pytest.mark.parametrize("gate", [small.GATE, Gate(0.0, 0.05), Gate(40.0, 0.02), Gate(1e4, 0.5)])
def test_unrolled_is_so_many_single_steps(lowering: Lowering, gate: Gate) -> None:
    stages, start = _recorder(lowering, gate), _warm()
    features = stages.extract(small.images(1)[0])
    state = start
    for _ in range(small.UNROLLED):
        state = step(stages, features, state, gate)
    feeds = {**features, "landmarks": start.landmarks, "hidden": start.hidden, "gate": stages.gate}
    found = small.run_torch(small.stage(lowering, "refiner_unrolled"), feeds)
    assert all(np.isfinite(v).all() for v in found.values())
    np.testing.assert_allclose(found["total_displacement"], (state.landmarks - start.landmarks)[..., :2], atol=1e-4)
    np.testing.assert_allclose(found["displacement"], state.landmarks[..., 5:], atol=1e-4)
    np.testing.assert_allclose(found["covariance"], state.landmarks[..., 2:5], atol=1e-4)
    np.testing.assert_allclose(found["hidden_out"], state.hidden, atol=1e-5)
    if gate.radius == 1e4:
        assert not found["total_displacement"].any()  # closed


def test_the_gate_matters() -> None:
    stage = small.stage("windowed", "refiner_unrolled")
    feeds = small.feeds_of(stage)
    gated = small.run_torch(stage, feeds)
    free = small.run_torch(stage, {**feeds, "gate": np.zeros(2, np.float32)})
    assert np.abs(gated["total_displacement"] - free["total_displacement"]).max() > 0.5
