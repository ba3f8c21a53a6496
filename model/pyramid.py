"""Lateral projections and the top-down pathway over the backbone, and the global context."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from qlot.model.config import QLOTConfig
from qlot.model.layers import ChannelShuffle


def lateral_projection(width_in: int, cfg: QLOTConfig) -> nn.Module:
    """Project a stage to C channels: one 1x1 convolution, or two grouped ones with a shuffle where that is cheaper."""
    if width_in <= cfg.channels:
        return nn.Conv2d(width_in, cfg.channels, 1, bias=False)
    return nn.Sequential(
        nn.Conv2d(width_in, cfg.lateral, 1, groups=cfg.groups, bias=False),
        ChannelShuffle(cfg.groups),
        nn.Conv2d(cfg.lateral, cfg.channels, 1, groups=cfg.groups, bias=False),
    )


class Fuse(nn.Module):
    """Depthwise 3x3, grouped pointwise, shuffle."""

    def __init__(self, cfg: QLOTConfig) -> None:
        super().__init__()
        c = cfg.channels
        self.depthwise = nn.Conv2d(c, c, 3, padding=1, groups=c, bias=False)
        self.pointwise = nn.Conv2d(c, c, 1, groups=cfg.groups, bias=False)
        self.shuffle = ChannelShuffle(cfg.groups)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        return self.shuffle(self.pointwise(self.depthwise(x)))


class Pyramid(nn.Module):
    """Feature maps with C channels at strides 4, 8, 16, and the context vector; the coarsest level is not fused."""

    def __init__(self, cfg: QLOTConfig) -> None:
        super().__init__()
        self.lateral = nn.ModuleList(lateral_projection(s.width_out, cfg) for s in cfg.stages[: cfg.levels])
        self.fuse = nn.ModuleList(Fuse(cfg) for _ in range(cfg.levels - 1))
        self.context = nn.Linear(cfg.stages[-1].width_out, cfg.channels)

    def forward(self, stages: list[Tensor]) -> tuple[list[Tensor], Tensor]:
        """Stage outputs -> ([(B, C, H_i, W_i)] finest first, (B, C))."""
        maps = [lateral(x) for lateral, x in zip(self.lateral, stages, strict=False)]
        for i in range(len(maps) - 2, -1, -1):
            factor = maps[i].shape[-1] // maps[i + 1].shape[-1]  # sizes are multiples of the stride
            up = F.interpolate(maps[i + 1], scale_factor=factor, mode="bilinear", align_corners=False)
            maps[i] = self.fuse[i](maps[i] + up)
        return maps, self.context(stages[-1].mean((-2, -1)))
