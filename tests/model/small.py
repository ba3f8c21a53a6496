"""Sizes of small networks that are like no shipped one: one level, and two."""

from __future__ import annotations

import dataclasses

from qlot.model.config import QLOTConfig, StageConfig

ONE_LEVEL = QLOTConfig(
    preset="one", image_size=48, stem=(6, 10), stages=(StageConfig(10, 6, 20, 1, False, True, 3, 1),), channels=20,
    lateral=16, groups=2, correlation_heads=(5,), correlation_kernels=(3,), window=3, harmonic_pairs=3, low_channels=5,
    template_widths=(12, 14), branch_channels=(10,), state_width=5, feature_width=18, hidden_width=7, mixer_heads=3,
    mixer_slots=2, mixer_key=4, head_width=9,
)  # fmt: skip
TWO_LEVELS = dataclasses.replace(
    QLOTConfig(preset="two", image_size=128), correlation_heads=(2, 6), correlation_kernels=(3, 2),
    branch_channels=(8, 12), hidden_width=40, mixer_slots=5, mixer_key=16, head_width=24,
)  # fmt: skip
