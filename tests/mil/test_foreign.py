"""Networks that are not the project's, converted as their authors would, against PyTorch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from torch import Tensor, nn
from torch.nn import functional as F

from tests.mil import build
from tests.mil.build import Program, from_model

ct = build.ct


class Texts(nn.Module):
    """Embedding, an LSTM both ways, a classifier."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.out = nn.Embedding(20, 8), nn.Linear(12, 3)
        self.layers = nn.LSTM(8, 6, num_layers=2, bidirectional=True, batch_first=True)

    def forward(self, tokens: Tensor) -> Tensor:
        return F.log_softmax(self.out(self.layers(self.words(tokens))[0][:, -1]), -1)


class Sounds(nn.Module):
    """A GRU, which coremltools writes as a loop that scatters into its result."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.out = nn.GRU(5, 4), nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.layer(x)[0])


class Block(nn.Module):
    """One block of a transformer."""

    def __init__(self) -> None:
        super().__init__()
        self.norms = nn.ModuleList([nn.LayerNorm(16), nn.LayerNorm(16)])
        self.mix, self.out = nn.Linear(16, 48), nn.Linear(16, 16)
        self.wide = nn.Sequential(nn.Linear(16, 32), nn.GELU(), nn.Linear(32, 16))

    def forward(self, x: Tensor) -> Tensor:
        parts = self.mix(self.norms[0](x)).reshape(2, 5, 3, 2, 8).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(parts[0], parts[1], parts[2])
        x = x + self.out(mixed.transpose(1, 2).reshape(2, 5, 16))
        return x + self.wide(self.norms[1](x))


class UNet(nn.Module):
    """Down by a stride, up by a transposed convolution and by pixel shuffle, with a skip."""

    def __init__(self) -> None:
        super().__init__()
        self.down = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.SiLU())
        self.deep = nn.Sequential(nn.Conv2d(8, 8, 3, padding=1, groups=8), nn.InstanceNorm2d(8), nn.Hardswish())
        self.up, self.last = nn.ConvTranspose2d(8, 8, 4, 2, 1), nn.Conv2d(11, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        low = self.down(x)
        wide = torch.cat([self.up(low + self.deep(low)), F.pad(x, (1, 1, 1, 1), "reflect")[..., 1:-1, 1:-1]], 1)
        return F.pixel_shuffle(F.max_pool2d(self.last(wide), 3, 1, 1), 2)


class Sizes(nn.Module):
    """Reads its own size, as many a model's last lines do."""

    def forward(self, x: Tensor) -> Tensor:
        return x.reshape(x.size(0), -1).cumsum(1) / x.size(2)


class Marks(nn.Module):
    """Writes rows of an embedding where indices say, and drops what is below a threshold."""

    def __init__(self) -> None:
        super().__init__()
        self.rows = nn.Embedding(6, 4)

    def forward(self, x: Tensor, at: Tensor) -> Tensor:
        index = at[:, None].expand(3, 4)
        y = x.scatter_add(0, index, self.rows(at))
        y = y.masked_fill(y < -0.5, 0.0)
        return y.scatter(0, index[:1], 9.0)


class Warp(nn.Module):
    """Reads an image along a learned field, and enlarges it by a fraction."""

    def forward(self, x: Tensor, field: Tensor) -> Tensor:
        y = F.grid_sample(x, field, mode="bilinear", padding_mode="reflection", align_corners=False)
        return F.interpolate(y, size=(6, 9), mode="bilinear", align_corners=False)


def dynamic(*shape: Any) -> Any:
    return ct.TensorType(name="x", shape=ct.Shape(shape=shape), dtype=np.float32)


def converted(module: nn.Module, feeds: dict[str, np.ndarray], inputs: Sequence[Any] | None, half: bool) -> Program:
    example = tuple(torch.from_numpy(a) for a in feeds.values())
    kinds = inputs or [ct.TensorType(name=n, shape=a.shape, dtype=a.dtype.type) for n, a in feeds.items()]
    with build.quiet():
        model = ct.convert(
            torch.jit.trace(module, example),
            inputs=kinds,
            outputs=[ct.TensorType(name="y", dtype=np.float32)],
            minimum_deployment_target=ct.target.iOS17,
            compute_precision=ct.precision.FLOAT16 if half else ct.precision.FLOAT32,
            skip_model_load=True,
        )
    return from_model(model)


RANDOM = np.random.default_rng(0)
NETWORKS: dict[str, tuple[type[nn.Module], dict[str, np.ndarray], Sequence[Any] | None, set[str]]] = {
    "texts": (Texts, {"tokens": RANDOM.integers(0, 20, (2, 7)).astype(np.int32)}, None, {"lstm", "gather"}),
    "sounds": (Sounds, {"x": build.normal(6, 2, 5)}, None, {"while_loop"}),
    "block": (Block, {"x": build.normal(2, 5, 16)}, None, {"layer_norm", "matmul"}),
    "unet": (UNet, {"x": build.normal(1, 3, 16, 12)}, None, {"conv_transpose", "pixel_shuffle", "instance_norm"}),
    "sizes": (Sizes, {"x": build.normal(2, 3, 4)}, [dynamic(ct.RangeDim(1, 5), 3, ct.RangeDim(2, 6))], {"gather"}),
    "marks": (
        Marks,
        {"x": build.normal(5, 4), "at": np.int32([4, 0, 4])},
        None,
        {"scatter_along_axis"},
    ),
    "warp": (
        Warp,
        {"x": build.normal(1, 2, 6, 8), "field": (build.normal(1, 4, 6, 2, seed=1) * 1.1).astype(np.float32)},
        None,
        {"resample", "upsample_bilinear"},
    ),
}


@pytest.mark.parametrize("half", [False, True], ids=["fp32", "fp16"])
@pytest.mark.parametrize("name", NETWORKS)
def test_a_network(name: str, half: bool) -> None:
    kind, feeds, inputs, ops = NETWORKS[name]
    torch.manual_seed(0)
    module = kind().eval()
    program = converted(module, feeds, inputs, half)
    assert ops <= program.ops.keys()
    tensors = [torch.from_numpy(a) for a in feeds.values()]
    with torch.no_grad():
        want = module(*(t.long() if t.dtype is torch.int32 else t for t in tensors)).numpy()
    found = program.run({p.name: feeds[p.name].astype(p.dtype) for p in program.inputs})["y"]
    assert found.shape == want.shape
    assert_allclose(found, want, atol=(0.02 if half else 2e-5) * np.abs(want).max())


def test_another_size_than_the_traced_one() -> None:
    kind, feeds, inputs, _ = NETWORKS["sizes"]
    program, x = converted(kind(), feeds, inputs, half=False), build.normal(5, 3, 2, seed=4)
    want = x.reshape(5, -1).astype(np.float64).cumsum(1) / 2
    assert_allclose(program.run({"x": x})["y"], want, atol=1e-5)
