from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from torch.nn import functional as F

from tests.mil import build
from tests.mil.build import OpError

X = build.normal(2, 3, 5, 6)
GRID = (build.normal(2, 4, 3, 2, seed=1) * 1.2).astype(np.float32)
RANGES: dict[str, Any] = {
    "normalized_minus_one_to_one": lambda grid, align: grid,
    "normalized_zero_to_one": lambda grid, align: (grid + 1) / 2,
    "unnormalized": lambda grid, align: (grid + 1) / 2 * [5, 4] if align else ((grid + 1) * [6, 5] - 1) / 2,
}


@pytest.mark.parametrize("align", [True, False])
@pytest.mark.parametrize("sampling", ["bilinear", "nearest"])
@pytest.mark.parametrize("coordinates", RANGES)
@pytest.mark.parametrize(("padding", "theirs"), [("constant", "zeros"), ("border", "border")])
def test_resample(align: bool, sampling: str, coordinates: str, padding: str, theirs: str) -> None:
    points = RANGES[coordinates](GRID, align).astype(np.float32)
    (y,) = build.run_op(
        "resample", {"x": X, "coordinates": points},
        sampling_mode=sampling, padding_mode=padding, padding_value=np.float32(0),
        coordinates_mode=coordinates, align_corners=align,
    )  # fmt: skip
    x64, grid = torch.from_numpy(X).double(), torch.from_numpy(GRID).double()
    assert_allclose(y, F.grid_sample(x64, grid, sampling, theirs, align), atol=2e-5)


@pytest.mark.parametrize(("padding", "align"), [("reflection", True), ("symmetric", False)])
def test_resample_reflects_about_the_last_pixel_or_behind_it(padding: str, align: bool) -> None:
    """What PyTorch calls reflection: about pixel centres if corners are aligned, about pixel edges if not."""
    (y,) = build.run_op(
        "resample", {"x": X, "coordinates": GRID},
        sampling_mode="bilinear", padding_mode=padding, padding_value=np.float32(0),
        coordinates_mode="normalized_minus_one_to_one", align_corners=align,
    )  # fmt: skip
    want = F.grid_sample(torch.from_numpy(X).double(), torch.from_numpy(GRID).double(), "bilinear", "reflection", align)
    assert_allclose(y, want, atol=2e-5)


def test_resample_pads_with_a_value() -> None:
    x, points = np.float32([[[[10, 20]]]]), np.float32([[[[-0.5, 0], [1.25, 0], [3, 0]]]])
    (y,) = build.run_op(
        "resample", {"x": x, "coordinates": points},
        sampling_mode="bilinear", padding_mode="constant", padding_value=np.float32(4),
        coordinates_mode="unnormalized", align_corners=True,
    )  # fmt: skip
    assert_allclose(y, [[[[7, 16, 4]]]])


@pytest.mark.parametrize("matrices", [1, 2])
def test_affine(matrices: int) -> None:
    matrix = (build.normal(matrices, 6, seed=2) * 0.7).astype(np.float32)
    options = {"output_height": 4, "output_width": 7, "sampling_mode": "bilinear", "padding_mode": "constant"}
    options |= {"padding_value": np.float32(0), "coordinates_mode": "normalized_minus_one_to_one"}
    (y,) = build.run_op("affine", {"x": X, "transform_matrix": matrix}, align_corners=True, **options)
    theta = torch.from_numpy(matrix).double().reshape(-1, 2, 3).expand(2, 2, 3)
    grid = F.affine_grid(theta, [2, 3, 4, 7], align_corners=True)
    assert_allclose(y, F.grid_sample(torch.from_numpy(X).double(), grid, align_corners=True), atol=2e-5)
    with pytest.raises(OpError, match="align_corners False is not supported"):
        build.run_op("affine", {"x": X, "transform_matrix": matrix}, align_corners=False, **options)


def test_crop() -> None:
    (y,) = build.run_op("crop", {"x": X}, crop_height=[1, 0], crop_width=[0, 2])
    assert_array_equal(y, X[..., 1:, :-2])


BOXES = np.float32([[0.5, 1, 3, 4.5], [3, 0, 1, 2], [0, 0, 4, 5]])  # the second is upside down


def read(image: np.ndarray, down: float, across: float) -> np.ndarray:
    """Bilinear at one point inside."""
    row, column = min(int(down), image.shape[-2] - 2), min(int(across), image.shape[-1] - 2)
    a, b = down - row, across - column
    top, bottom = (image[:, r, column] * (1 - b) + image[:, r, column + 1] * b for r in (row, row + 1))
    return top * (1 - a) + bottom * a


@pytest.mark.parametrize("normalised", [True, False])
@pytest.mark.parametrize("order", ["HEIGHT_FIRST", "WIDTH_FIRST"])
@pytest.mark.parametrize("convention", ["CORNERS", "CENTER_SIZE"])
def test_crop_resize_of_aligned_corners(convention: str, order: str, normalised: bool) -> None:
    boxes = BOXES if convention == "CORNERS" else np.c_[(BOXES[:, :2] + BOXES[:, 2:]) / 2, BOXES[:, 2:] - BOXES[:, :2]]
    boxes = boxes / [4, 5, 4, 5] if normalised else boxes
    boxes = boxes[:, [1, 0, 3, 2]] if order == "WIDTH_FIRST" else boxes
    feeds = {"x": X, "boxes": boxes.astype(np.float32), "box_indices": np.int32([1, 0, 1])}
    options = {"target_height": 3, "target_width": 2, "box_coordinate_mode": f"{convention}_{order}"}
    options |= {"sampling_mode": "ALIGN_CORNERS", "normalized_coordinates": normalised}
    (y,) = build.run_op("crop_resize", feeds, **options)
    assert y.shape == (3, 3, 3, 2)
    for found, box, image in zip(y, BOXES.astype(np.float64), X[[1, 0, 1]].astype(np.float64), strict=True):
        for i, down in enumerate(np.linspace(box[0], box[2], 3)):
            for j, across in enumerate(np.linspace(box[1], box[3], 2)):
                assert_allclose(found[:, i, j], read(image, down, across), atol=1e-4)


@pytest.mark.parametrize("mode", ["UNALIGN_CORNERS", "DEFAULT", "OFFSET_CORNERS", "STRICT_ALIGN_CORNERS"])
def test_a_box_of_the_whole_image_resizes_it(mode: str) -> None:
    options = {"target_height": 4, "target_width": 9, "sampling_mode": mode}
    feeds = {"x": X, "roi": np.float32([[[[[0]], [[0]], [[4]], [[5]]]]])}
    (y,) = build.run_op("crop_resize", feeds, build.ct.target.iOS16, **options)
    sizes = {"target_size_height": 4, "target_size_width": 9, "sampling_mode": mode}
    assert_allclose(y, build.run_op("resize_bilinear", {"x": X}, **sizes)[0][None], atol=1e-5)


def test_crop_resize_pads_and_scales() -> None:
    x, roi = X[1:], np.float32([0, 0, 0, 8, 10]).reshape(1, 1, 5, 1, 1)  # of the first image; halved
    options = {"target_height": 2, "target_width": 2, "sampling_mode": "ALIGN_CORNERS", "spatial_scale": 0.5}
    (y,) = build.run_op("crop_resize", {"x": x, "roi": roi}, build.ct.target.iOS16, **options)
    assert_allclose(y[0, 0], x[0][:, [0, 0, 4, 4], [0, 5, 0, 5]].reshape(3, 2, 2), atol=1e-5)
    options |= {"spatial_scale": 1.0, "pad_value": np.float32(9)}
    (y,) = build.run_op("crop_resize", {"x": x, "roi": roi}, build.ct.target.iOS16, **options)
    assert_allclose(y[0, 0, :, 0, 0], x[0, :, 0, 0])
    assert_array_equal(y[0, 0, :, 1], np.full((3, 2), 9))
