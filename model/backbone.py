"""HGNetV2 with learnable affine blocks, weight-compatible with the published checkpoints.

PP-HGNetV2 is Baidu's backbone (PaddleDetection, RT-DETR, Zhao et al. 2023); module names follow timm's port, so that
`backbone.` keys of a checkpoint load as they are. `Stem` zero-pads right and bottom before its even kernels.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from qlot.model.config import QLOTConfig, StageConfig


class LearnableAffine(nn.Module):
    """One scale and one bias for a whole activation map, after the ReLU."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1))
        self.bias = nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        """Any shape."""
        return self.scale * x + self.bias


class ConvNormAct(nn.Module):
    """Convolution, batch norm, and where asked for ReLU with a learnable affine block."""

    def __init__(
        self, width_in: int, width_out: int, kernel: int, stride: int = 1, groups: int = 1, act: bool = True
    ) -> None:
        super().__init__()
        pad = (kernel - 1) // 2
        self.conv = nn.Conv2d(width_in, width_out, kernel, stride, pad, groups=groups, bias=False)
        self.bn = nn.BatchNorm2d(width_out)
        self.lab = LearnableAffine() if act else None

    def forward(self, x: Tensor) -> Tensor:
        """(B, in, H, W) -> (B, out, H/stride, W/stride)."""
        x = self.bn(self.conv(x))
        return x if self.lab is None else self.lab(F.relu(x))


class LightConv(nn.Module):
    """Pointwise convolution without activation, then a depthwise one."""

    def __init__(self, width_in: int, width_out: int, kernel: int) -> None:
        super().__init__()
        self.conv1 = ConvNormAct(width_in, width_out, 1, act=False)
        self.conv2 = ConvNormAct(width_out, width_out, kernel, groups=width_out)

    def forward(self, x: Tensor) -> Tensor:
        """(B, in, H, W) -> (B, out, H, W)."""
        return self.conv2(self.conv1(x))


class Stem(nn.Module):
    """Image to stride 4."""

    def __init__(self, width_mid: int, width_out: int) -> None:
        super().__init__()
        self.stem1 = ConvNormAct(3, width_mid, 3, 2)
        self.pad = nn.ZeroPad2d((0, 1, 0, 1))
        self.stem2a = ConvNormAct(width_mid, width_mid // 2, 2)
        self.stem2b = ConvNormAct(width_mid // 2, width_mid, 2)
        self.stem3 = ConvNormAct(2 * width_mid, width_mid, 3, 2)
        self.stem4 = ConvNormAct(width_mid, width_out, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, 3, S, S) -> (B, out, S/4, S/4)."""
        x = self.pad(self.stem1(x))
        fine = self.stem2b(F.pad(self.stem2a(x), (0, 1, 0, 1)))
        coarse = F.max_pool2d(x, kernel_size=2, stride=1)
        return self.stem4(self.stem3(torch.cat([coarse, fine], 1)))


class Block(nn.Module):
    """A chain of convolutions whose input and every output are aggregated by two pointwise convolutions."""

    def __init__(self, cfg: StageConfig, width_in: int, residual: bool) -> None:
        super().__init__()
        widths = [width_in] + [cfg.width_mid] * cfg.layers
        layer = LightConv if cfg.light else ConvNormAct
        self.layers = nn.ModuleList(layer(a, b, cfg.kernel) for a, b in pairwise(widths))
        self.aggregation = nn.Sequential(
            ConvNormAct(sum(widths), cfg.width_out // 2, 1), ConvNormAct(cfg.width_out // 2, cfg.width_out, 1)
        )
        self.residual = residual

    def forward(self, x: Tensor) -> Tensor:
        """(B, in, H, W) -> (B, out, H, W)."""
        outputs = [x]
        for layer in self.layers:
            outputs.append(layer(outputs[-1]))
        y = self.aggregation(torch.cat(outputs, 1))
        return y + x if self.residual else y


class BackboneStage(nn.Module):
    """An optional depthwise downsampling and a row of blocks; all but the first block are residual."""

    def __init__(self, cfg: StageConfig) -> None:
        super().__init__()
        w = cfg.width_in
        self.downsample = ConvNormAct(w, w, 3, 2, groups=w, act=False) if cfg.downsample else nn.Identity()
        self.blocks = nn.Sequential(
            *(Block(cfg, w if i == 0 else cfg.width_out, residual=i > 0) for i in range(cfg.blocks))
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, in, H, W) -> (B, out, H/2, W/2) or the same size."""
        return self.blocks(self.downsample(x))


class HGNetV2(nn.Module):
    """Normalised image to the outputs of all stages, finest first."""

    def __init__(self, cfg: QLOTConfig) -> None:
        super().__init__()
        self.stem = Stem(*cfg.stem)
        self.stages = nn.ModuleList(BackboneStage(s) for s in cfg.stages)

    def forward(self, x: Tensor) -> list[Tensor]:
        """(B, 3, S, S) -> [(B, out_i, S/stride_i, S/stride_i)]."""
        x = self.stem(x)
        outputs = []
        for stage in self.stages:
            x = stage(x)
            outputs.append(x)
        return outputs
