"""Every size of a QLOT network in one frozen table, and the published presets."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, astuple, dataclass, fields, replace
from typing import Any

from qlot.model.convention import conventions


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
    """Sizes of a QLOT network. The defaults are QLOT-final of Gschwind, Weisenhorn, Badertscher (OST, 2026).

    Raises:
        ValueError: sizes that no network can have; the message lists every problem.
    """

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
    convention: str = ""  # of the labels that the weights learned from, see `qlot.model.convention`; "" for none

    def __post_init__(self) -> None:
        problems = [
            f"{f.name} must be whole numbers from 1 on"
            for f, value in zip(fields(self), astuple(self), strict=True)
            if f.name not in ("preset", "convention") and any(not isinstance(n, int) or n < 1 for n in _numbers(value))
        ] or self._contradictions()
        if problems:
            raise ValueError(f"not a QLOT configuration: {'; '.join(problems)}")

    def _contradictions(self) -> list[str]:
        levels, problems = self.levels, list[str]()
        if self.convention and self.convention not in conventions():
            problems.append(f"there is no convention {self.convention!r}, only {', '.join(conventions())}")
        if not 0 < len(self.correlation_kernels) == len(self.branch_channels) == levels <= len(self.stages):
            return [
                *problems,
                "heads, kernels and branch channels need one entry per pyramid level, at most one per stage",
            ]
        widths = [self.stem[-1], *(s.width_out for s in self.stages)]
        problems += [
            f"stage {i} takes {s.width_in} channels but is given {w}"
            for i, (s, w) in enumerate(zip(self.stages, widths, strict=False))
            if s.width_in != w
        ]
        problems += [
            f"{k} heads do not divide {self.channels} channels" for k in self.correlation_heads if self.channels % k
        ]
        if any(b % k for b, k in zip(self.branch_channels, self.correlation_heads, strict=False)):
            problems.append("branch channels must be multiples of the heads of their level")
        if self.channels % self.groups or self.lateral % self.groups or self.feature_width % self.mixer_heads:
            problems.append("channels, lateral and feature widths must be multiples of their groups")
        if self.image_size % self.stride:
            problems.append(f"the image size must be a multiple of {self.stride}")
        if self.window < 3:
            problems.append("the window must be at least 3, the kernel of the branches")
        for i, kernel in enumerate(self.correlation_kernels):
            width = self.image_size // 4 // 2 ** sum(s.downsample for s in self.stages[: i + 1])
            if width - kernel < self.window:
                needed = self.window + kernel
                problems.append(f"the map of level {i} is {width} px wide, its window and kernel need {needed}")
        return problems

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
        plain: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in data.items()}
        plain["stages"] = tuple(StageConfig(**s) for s in data["stages"])
        return cls(**plain)


def _numbers(value: object) -> Iterator[object]:
    """Everything in a field that counts something; flags do not."""
    if isinstance(value, (tuple, list)):
        for item in value:
            yield from _numbers(item)
    elif not isinstance(value, bool):
        yield value


# For phones; docs/measured/2026-11-23-nano-sizes.md has the study it was chosen by.
_NANO = QLOTConfig(
    preset="nano",
    image_size=112,
    stem=(16, 16),
    stages=(
        StageConfig(16, 16, 32, 1, False, False, 3, 1),
        StageConfig(32, 32, 64, 1, True, False, 3, 1),
        StageConfig(64, 64, 160, 1, True, True, 5, 2),
        StageConfig(160, 64, 128, 1, False, True, 5, 2),
    ),
    channels=48,
    lateral=64,
    correlation_kernels=(1, 1, 1),  # every level is a map: nothing is gathered from features
    branch_channels=(8, 9, 12),
    state_width=16,
    feature_width=64,
    hidden_width=48,
    mixer_key=12,
    head_width=24,
    convention="labels68",
)

PRESETS: dict[str, QLOTConfig] = {
    "final": QLOTConfig(),
    "final128": QLOTConfig(preset="final128", image_size=128),
    "nano": _NANO,
    "base": replace(_NANO, preset="base", image_size=160),  # twice the pixels where eyes are
}
