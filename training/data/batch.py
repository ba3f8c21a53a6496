"""Samples and batches: what workers make of clips, and how they are stacked.

Everything random is drawn from a generator seeded by (seed, step, micro-batch, sample): a run that is resumed, or
spread over several processes, sees the same samples as one that was not.
"""

from __future__ import annotations

import gc
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from qlot.training.data.augment import Augment
from qlot.training.data.clip import Array, Clip, DataError, Source
from qlot.training.data.cover import Cover
from qlot.training.data.crops import Disturbance, crop_clip
from qlot.training.data.eyes import eye_sides

Sample = tuple[NDArray[np.uint8], Array, Array, NDArray[np.bool_]]


class Batch(NamedTuple):
    """B clips of L frames with N landmarks each; normalised coordinates."""

    images: Tensor  # (B, L, 3, S, S) uint8
    points: Tensor  # (B, N, 3) canonical, y up
    targets: Tensor  # (B, L, N, 2); 0 where not valid
    valid: Tensor  # (B, L, N) bool
    seeds: Tensor  # (B,) int64, for what is drawn later: starts, masks, resets


@dataclass(frozen=True)
class SampleMaker:
    """Turns a clip into network inputs: crop with motion, mirror, photometric augmentation, N landmarks of it."""

    size: int  # S, pixels
    landmarks: int  # N of every sample, so that layouts mix in one batch
    disturbance: Disturbance
    augment: Augment
    eyes: float = 1.0  # how many times as often a landmark of an eye is drawn as another
    cover: Cover = field(default_factory=lambda: Cover(0.0))
    mirror: bool = True

    def __call__(self, clip: Clip, rng: np.random.Generator) -> Sample:
        """Return crops (L, S, S, 3), canonical points (N, 3), targets (L, N, 2) normalised, validity (L, N)."""
        clip = self._some_landmarks(clip, rng)
        crops, positions = crop_clip(clip, self.size, self.disturbance, rng)
        points = clip.queries.copy()
        valid = self.cover(crops, positions, points, clip.valid, rng)
        if self.mirror and rng.random() < 0.5:
            # The canonical face is symmetric: a point of the mirrored picture is the point mirrored.
            crops, positions = crops[:, :, ::-1], positions.copy()
            positions[..., 0] = self.size - 1 - positions[..., 0]
            points[:, 0] *= -1
        crops = self.augment(np.ascontiguousarray(crops), rng)
        targets = np.where(valid[..., None], (positions + 0.5) * (2 / self.size) - 1, 0.0)
        # Far outside there is nothing to see, and a single wild label would rule the loss.
        valid = valid & (np.abs(targets) < 2).all(-1)
        return crops, points, np.where(valid[..., None], targets, 0.0), valid

    def _some_landmarks(self, clip: Clip, rng: np.random.Generator) -> Clip:
        """Draw N landmarks; a clip with fewer repeats some, not valid, so that they count nowhere."""
        count = len(clip.queries)
        if count == self.landmarks:
            return clip
        odds = np.where(eye_sides(clip.queries) == 0, 1.0, self.eyes)
        drawn = min(count, self.landmarks)
        chosen = rng.choice(count, drawn, replace=False, p=odds / odds.sum())
        valid = clip.valid[:, chosen]
        if count < self.landmarks:
            fill = rng.integers(0, count, self.landmarks - count)
            chosen = np.concatenate([chosen, fill])
            valid = np.concatenate([valid, np.zeros((len(valid), len(fill)), bool)], 1)
        return replace(clip, landmarks=clip.landmarks[:, chosen], valid=valid, queries=clip.queries[chosen])


class Mixture(Dataset[Batch]):
    """Micro-batches by (step, micro-batch index): a weighted draw of sources, then of clips.

    Args:
        sources: what to draw from, with the share of samples that each gets.
        make: clip to sample.
        frames: L.
        batch: B of a micro-batch.
        seed: of the run.
    """

    def __init__(
        self, sources: Sequence[tuple[Source, float]], make: SampleMaker, frames: int, batch: int, seed: int
    ) -> None:
        self.sources = [s for s, _ in sources]
        weights = np.array([w for _, w in sources], np.float64)
        self.shares = weights / weights.sum()
        self.make, self.frames, self.batch, self.seed = make, frames, batch, seed

    def __getitem__(self, key: tuple[int, int]) -> Batch:
        """Return micro-batch `key` = (step, index)."""
        samples, seeds = [], []
        for i in range(self.batch):
            rng = np.random.default_rng([self.seed, *key, i])
            source = self.sources[rng.choice(len(self.sources), p=self.shares)]
            clip = source.clip(int(rng.integers(len(source))), self.frames, rng)
            samples.append(self.make(clip, rng))
            seeds.append(int(rng.integers(2**62)))
        crops, points, targets, valid = (np.stack(x) for x in zip(*samples, strict=True))
        return Batch(
            torch.from_numpy(np.ascontiguousarray(crops.transpose(0, 1, 4, 2, 3))),
            torch.from_numpy(points.astype(np.float32)),
            torch.from_numpy(targets.astype(np.float32)),
            torch.from_numpy(valid),
            torch.tensor(seeds),
        )


class Delivery(Dataset[Batch | Exception]):
    """A mixture whose errors are handed over as values.

    Raised in a worker, one that a user can mend would arrive as a traceback's text, and any would keep the iterator
    alive in its own traceback: its workers would never end.
    """

    def __init__(self, mixture: Mixture) -> None:
        self.mixture = mixture

    def __getitem__(self, key: tuple[int, int]) -> Batch | Exception:
        """Return the micro-batch, or what prevents it; a fault of ours with its traceback as its text."""
        try:
            return self.mixture[key]
        except DataError as e:
            return e
        except Exception:  # whatever it is, it may not be one that can be sent to another process
            return RuntimeError(f"in a data process:\n{traceback.format_exc()}")


class Steps(Sampler[tuple[int, int]]):
    """The micro-batches of one process: of every step from `start` on, indices rank, rank + world, ...

    A step always has `micro` of them, however many processes share them.
    """

    def __init__(self, start: int, stop: int, micro: int, rank: int = 0, world: int = 1) -> None:
        self.keys = [(step, m) for step in range(start, stop) for m in range(rank, micro, world)]

    def __len__(self) -> int:
        return len(self.keys)

    def __iter__(self) -> Iterator[tuple[int, int]]:
        return iter(self.keys)


def started(loader: DataLoader[Any]) -> Iterator[Any]:
    """Start a loader's workers, and keep their garbage collectors off what this process has made.

    A decoded video frame that died in a reference cycle holds a scaler with threads. A forked worker that collects it
    waits for these threads, which it does not have, and for ever: training stood still after hours.
    """
    gc.collect()
    gc.freeze()
    try:
        return iter(loader)
    finally:
        gc.unfreeze()
