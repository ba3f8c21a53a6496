"""Every size of a QLOT network in one frozen table, and the published presets."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class StageConfig:
    """One HGNetV2 stage, in the order of the published tables."""

    width_in: int
    width_mid: int
    width_out: int
    blocks: int
    downsample: bool
    light: bool
    kernel: int
    layers: int


@dataclass(frozen=True)
class QLOTConfig:
    """Sizes of a QLOT network. The defaults are QLOT-final of Gschwind, Weisenhorn, Badertscher (OST, 2026)."""

    preset: str = "final"
    image_size: int = 224  # S, pixels
    stem: tuple[int, int] = (24, 32)
    stages: tuple[StageConfig, ...] = (
        StageConfig(32, 32, 64, 1, False, False, 3, 3),
        StageConfig(64, 48, 256, 1, True, False, 3, 3),
        StageConfig(256, 96, 384, 2, True, True, 5, 3),
        StageConfig(384, 96, 192, 1, True, True, 5, 3),
    )
    channels: int = 96  # C of the pyramid, the context and the identity encoding
    lateral: int = 128  # width between the two grouped convolutions of a lateral projection
    groups: int = 4
    correlation_heads: tuple[int, ...] = (2, 3, 4)  # finest level first
    correlation_kernels: tuple[int, ...] = (2, 1, 1)
    window: int = 5  # looked-up points per axis
    harmonic_pairs: int = 16
    low_channels: int = 16
    template_widths: tuple[int, int] = (128, 192)
    branch_channels: tuple[int, ...] = (14, 15, 16)
    state_width: int = 32  # per row of the state encoding
    feature_width: int = 256
    hidden_width: int = 128
    mixer_heads: int = 4
    mixer_slots: int = 8
    mixer_key: int = 32  # per head: attention queries and keys, and the local features
    head_width: int = 64

    def __post_init__(self) -> None:
        levels = len(self.correlation_heads)
        problems = []
        if not len(self.correlation_kernels) == len(self.branch_channels) == levels < len(self.stages) + 1:
            problems.append("heads, kernels and branch channels need one entry per pyramid level")
        problems += [
            f"{k} heads do not divide {self.channels} channels" for k in self.correlation_heads if self.channels % k
        ]
        if any(b % k for b, k in zip(self.branch_channels, self.correlation_heads, strict=False)):
            problems.append("branch channels must be multiples of the heads of their level")
        if self.channels % self.groups or self.lateral % self.groups or self.feature_width % self.mixer_heads:
            problems.append("channels, lateral and feature widths must be multiples of their groups")
        if self.image_size % self.stride:
            problems.append(f"the image size must be a multiple of {self.stride}")
        coarsest = self.image_size // 4 // 2 ** sum(s.downsample for s in self.stages[:levels])
        if coarsest - self.correlation_kernels[-1] < self.window:
            problems.append(f"the coarsest map ({coarsest} px) is too small for a window of {self.window}")
        if problems:
            raise ValueError(f"not a QLOT configuration: {'; '.join(problems)}")

    @property
    def levels(self) -> int:
        """Number of pyramid levels; level 0 is the finest, at stride 4."""
        return len(self.correlation_heads)

    @property
    def stride(self) -> int:
        """Stride of the last backbone stage."""
        return 4 * 2 ** sum(s.downsample for s in self.stages)

    @property
    def frequencies(self) -> int:
        """Sine channels per coordinate of the query encoding."""
        return 2 * self.harmonic_pairs + self.low_channels

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for a checkpoint's metadata."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> QLOTConfig:
        """Rebuild a configuration from `to_dict` data, lists standing for tuples."""
        plain = {k: tuple(v) if isinstance(v, list) else v for k, v in data.items()}
        plain["stages"] = tuple(StageConfig(**s) for s in data["stages"])
        return cls(**plain)


PRESETS: dict[str, QLOTConfig] = {
    "final": QLOTConfig(),
    "final128": QLOTConfig(preset="final128", image_size=128),
}
