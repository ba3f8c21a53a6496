"""What the network says of landmarks that something hides: whether its ellipses hold them, and how much they grow."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from qlot.benchmarks.faces.trackers import Ours
from qlot.metrics import coverage
from qlot.training.data.clip import Array, Clip
from qlot.training.data.cover import covered_by
from qlot.training.evaluation.stills import disturbed, label_box, look

LEVELS: Final = (0.5, 0.9, 0.95)
KINDS: Final = ("mask", "glasses", "hand", "hair", "thing")
SEED: Final = 7  # training draws its own


@dataclass(frozen=True)
class HiddenScores:
    """Of hidden landmarks and of those beside them in the same pictures."""

    hidden: dict[float, float]  # share of the errors inside the ellipse that should hold so many
    seen: dict[float, float]
    growth: float  # median of a hidden landmark's sigma over its own in the picture as it was


def hidden_scores(tracker: Ours, clips: list[Clip], layout: str) -> HiddenScores:
    """Cover a part of each face, look, and compare with the labels of the picture as it was."""
    network, rng = tracker.subject.network(layout), np.random.default_rng(SEED)
    errors, spreads, growth, under = list[Array](), list[Array](), list[Array](), list[NDArray[np.bool_]]()
    for i, clip in enumerate(clips):
        before = clip.frames[0]
        frames = before[None].copy()
        covered_by(KINDS[i % len(KINDS)], frames, clip.landmarks[:1], clip.queries, clip.valid[:1], rng)
        box = disturbed(label_box(clip, 0, network.spec.preprocessing.crop), tracker.protocol, rng)
        plain = look(network, before, box, tracker.protocol.cold)
        found = look(network, frames[0], box, tracker.protocol.cold)
        x, y = np.rint(clip.landmarks[0]).astype(int).T
        inside = clip.valid[0] & (x >= 0) & (y >= 0) & (x < before.shape[1]) & (y < before.shape[0])
        x, y = x.clip(0, before.shape[1] - 1), y.clip(0, before.shape[0] - 1)
        hidden = (before[y, x].astype(int) != frames[0, y, x]).any(-1)
        errors.append((found[0] - clip.landmarks[0])[inside])
        spreads.append(found[1][inside])
        under.append(hidden[inside])
        growth.append((np.linalg.det(found[1]) / np.linalg.det(plain[1]))[inside & hidden] ** 0.25)
    error, spread, hide = np.concatenate(errors), np.concatenate(spreads), np.concatenate(under)
    return HiddenScores(
        hidden={level: coverage(error[hide], spread[hide], level) for level in LEVELS},
        seen={level: coverage(error[~hide], spread[~hide], level) for level in LEVELS},
        growth=float(np.median(np.concatenate(growth))),
    )
