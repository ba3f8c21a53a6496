"""A linear relation is found again, wherever the face is and however large."""

from __future__ import annotations

import numpy as np

from qlot.benchmarks.faces.linear_map import LinearMap


def test_a_linear_relation_is_found_at_any_place_and_scale() -> None:
    rng = np.random.default_rng(0)
    mix = rng.normal(0, 0.3, (6, 4))
    mix[:, 0] = 1 / 6

    def faces(count: int) -> tuple[np.ndarray, np.ndarray]:
        shape = rng.normal(0, 1, (count, 6, 2))
        labels = np.einsum("fnd,nm->fmd", shape - shape.mean(1, keepdims=True), mix)
        scale, place = rng.uniform(20, 60, (count, 1, 1)), rng.uniform(50, 200, (count, 1, 2))
        return shape * scale + place, (labels + shape.mean(1, keepdims=True)) * scale + place

    points, labels = faces(4000)
    found = LinearMap.fit(points, labels)
    points, labels = faces(50)
    error = np.linalg.norm(found(points) - labels, axis=-1).mean() / points.std()
    assert error < 0.02
    assert error < 0.2 * np.linalg.norm(points[:, :4] - labels, axis=-1).mean() / points.std()
