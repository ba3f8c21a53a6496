"""Inputs and outputs computed by the published implementation (seed A; its README states the tolerances)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from qlot.model.checkpoint import load_state
from qlot.model.gate import TensorGate
from qlot.model.qlot import QLOT
from qlot.model.state import TensorState, from_pixels, to_pixels

SIZE = 224
GATE = TensorGate(2.0 / (SIZE / 2), 0.05)
Tensors = Callable[[str], torch.Tensor]


@pytest.fixture(scope="module")
def reference(shared: Path) -> Tensors:
    path = shared / "conformance" / "reference_a.npz"
    if not path.is_file():
        pytest.skip(f"no published reference at {path}")
    arrays = np.load(path)
    return lambda key: torch.from_numpy(arrays[key])


@pytest.fixture(params=["dense", "windowed"])
def model(reference: Tensors, shared: Path, request: pytest.FixtureRequest) -> QLOT:
    keys = [line.split("\t")[0] for line in (shared / "conformance/state_dict_keys.txt").read_text().splitlines()]
    model = QLOT(lowering=request.param)
    load_state(model, {k: reference(f"sd/{k}") for k in keys})
    return model.eval()


def _check(reference: Tensors, case: str, state: TensorState, px: float = 2e-3, hidden: float = 1e-4) -> None:
    landmarks, wanted = to_pixels(state, SIZE), reference(f"{case}/out/predictions")
    moved = [0, 1, 5, 6]
    torch.testing.assert_close(landmarks[..., moved], wanted[..., moved], atol=px, rtol=0)
    torch.testing.assert_close(landmarks[..., 2:5], wanted[..., 2:5], atol=1e-3, rtol=0)
    torch.testing.assert_close(state.hidden, reference(f"{case}/out/hidden_state"), atol=hidden, rtol=0)


def _start(reference: Tensors) -> TensorState:
    landmarks = reference("d/in/starting_landmarks")
    return from_pixels(landmarks, torch.zeros(*landmarks.shape[:2], 128), SIZE)


@torch.no_grad()
@pytest.mark.parametrize(("case", "iterations"), [("a", 1), ("g", 3), ("h", 2)])
def test_cold_starts(model: QLOT, reference: Tensors, case: str, iterations: int) -> None:
    image = reference(f"{'a' if case == 'g' else case}/in/image")
    _check(reference, case, model(image, reference(f"{case}/in/query_points"), iterations=iterations)[-1])


@torch.no_grad()
def test_every_iteration_of_a_frame(model: QLOT, reference: Tensors) -> None:
    states = model(reference("b/in/image"), reference("b/in/query_points"), iterations=4)
    wanted = reference("b/out/predictions_sequence")
    for state, one in zip(states, wanted, strict=True):
        torch.testing.assert_close(to_pixels(state, SIZE)[..., :2], one[..., :2], atol=1e-2, rtol=0)
    _check(reference, "b", states[-1], px=1e-2)


@torch.no_grad()
def test_state_carried_over_gated_frames(model: QLOT, reference: Tensors) -> None:
    state, gated = None, 0
    for t, frame in enumerate(reference("c/in/frames")):
        states = model(frame[None], reference("c/in/query_points"), state, 4 if t == 0 else 1, GATE)
        state = states[-1]
        landmarks, wanted = to_pixels(state, SIZE)[0], reference("c/out/predictions")[t]
        torch.testing.assert_close(landmarks[:, [0, 1, 5, 6]], wanted[:, [0, 1, 5, 6]], atol=1e-2, rtol=0)
        torch.testing.assert_close(landmarks[:, 2:5], wanted[:, 2:5], atol=1e-3, rtol=0)
        torch.testing.assert_close(state.hidden[0], reference("c/out/hidden_state")[t], atol=5e-4, rtol=0)
        gated += int((state.delta == 0).all(-1).sum())
    assert gated > 20  # the case would say nothing about the gate if it never closed


@torch.no_grad()
def test_given_starts_at_the_border_and_beyond(model: QLOT, reference: Tensors) -> None:
    image, points, start = reference("d/in/image"), reference("d/in/query_points"), _start(reference)
    _check(reference, "d", model(image, points, start, 2)[-1])
    warm = start._replace(hidden=reference("d2/in/hidden_state"))
    _check(reference, "d2", model(image, points, warm, 2, GATE)[-1])
    model.refiner.covariance.bias.copy_(reference("e/in/override_cov_proj_bias"))
    _check(reference, "e", model(image, points, start, 2)[-1])


@torch.no_grad()
def test_write_masks(model: QLOT, reference: Tensors) -> None:
    image, points, mask = (reference(k) for k in ("a/in/image", "a/in/query_points", "f/in/landmarks_to_mask"))
    _check(reference, "f", model(image, points, iterations=2, mask=mask)[-1])
    _check(reference, "f_allmasked", model(image, points, iterations=1, mask=torch.ones_like(mask))[-1])


@torch.no_grad()
def test_intermediate_values(model: QLOT, reference: Tensors) -> None:
    from qlot.model.qlot import correlate, look_up, normalise_image

    image, points = reference("a/in/image"), reference("a/in/query_points")
    got: dict[str, torch.Tensor] = {}
    stages = model.backbone(normalise_image(image))
    got["backbone_stem"] = model.backbone.stem(normalise_image(image))
    got |= {f"backbone_stage{i + 1}": s for i, s in enumerate(stages)}
    pyramid, got["global_feature"] = model.pyramid(stages)
    laterals = zip(model.pyramid.lateral, stages, strict=False)
    got |= {f"lateral_{i}": lateral(stage) for i, (lateral, stage) in enumerate(laterals)}
    got |= {f"feature_map_{i}": f for i, f in enumerate(pyramid)}
    queries = model.encode(points)
    got["query_pre_enc"], got["query_encoding"] = model.encoding(points), queries.identity
    got["correlator_query_embedding"] = model.templates.trunk(model.encoding(points))
    if model.lowering == "dense":
        maps = correlate(pyramid, queries.templates, "dense")
        got |= {f"similarity_map_{i}_first4queries": m[:, :4].transpose(2, 3) for i, m in enumerate(maps)}
    levels = correlate(pyramid, queries.templates, model.lowering)
    position = points[..., :2] * torch.tensor([1.0, -1.0])
    patches = look_up(levels, queries.templates, position, 5, model.lowering)
    got |= {f"corr_features_{i}": p for i, p in enumerate(patches)}
    got |= {
        f"corr_branch_{i}": b(p)[0]
        for i, (b, p) in enumerate(zip(model.refiner.encoder.branches, patches, strict=True))
    }
    for name, value in got.items():
        wanted = reference(f"a/mid/{name}")
        torch.testing.assert_close(value, wanted, atol=2e-5 * float(wanted.abs().max()), rtol=0, msg=f"differs: {name}")
