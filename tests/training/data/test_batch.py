"""Samples by key: the same for any worker or process, and layouts in one batch."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator

import av
import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from qlot.assets import sample_clip
from qlot.model.layout import load_layout
from qlot.training.data.augment import Augment
from qlot.training.data.batch import Batch, Delivery, Mixture, SampleMaker, Steps, started
from qlot.training.data.clip import Clip, DataError
from qlot.training.data.crops import Disturbance
from tests.training.tiny import POINTS, Blobs

MANY = load_layout("ibug68").points[::5]  # 14
NONE = Disturbance(scale=0, shift=0, rotation=0, aspect=0, shear=0, perspective=0, still=1)


def _mixture(landmarks: int = 9, seed: int = 3, share: float = 1.0) -> Mixture:
    make = SampleMaker(48, landmarks, Disturbance(), Augment(1.0))
    return Mixture([(Blobs(POINTS), 1.0), (Blobs(MANY, "many"), share)], make, frames=2, batch=6, seed=seed)


def _same(a: Batch, b: Batch) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


def test_a_key_is_a_batch() -> None:
    first = _mixture()[(5, 1)]
    assert _same(first, _mixture()[(5, 1)])
    assert not any(_same(first, other) for other in (_mixture()[(5, 0)], _mixture()[(6, 1)], _mixture(seed=4)[(5, 1)]))
    assert len(set(first.seeds.tolist())) == 6


def test_workers_change_nothing() -> None:
    keys = Steps(2, 4, 2)
    alone, spread = (
        list(DataLoader(Delivery(_mixture()), batch_size=None, sampler=keys, num_workers=n)) for n in (0, 2)
    )
    assert len(alone) == 4
    for a, b, key in zip(alone, spread, keys, strict=True):
        assert isinstance(a, Batch) and _same(a, b) and _same(a, _mixture()[key])


def test_layouts_mix() -> None:
    batch = _mixture()[(0, 0)]
    assert batch.images.shape == (6, 2, 3, 48, 48) and batch.images.dtype == torch.uint8
    assert batch.points.shape == (6, 9, 3) and batch.targets.shape == (6, 2, 9, 2) and batch.valid.shape == (6, 2, 9)
    assert {x.dtype for x in (batch.points, batch.targets)} == {torch.float32}
    assert set(batch.valid.sum(-1).flatten().tolist()) == {len(POINTS), 9}  # a few of each sample, all of the other


@pytest.mark.parametrize(("points", "valid"), [(POINTS, 7), (MANY, 9)])
def test_points_and_targets_belong_together(points: np.ndarray, valid: int) -> None:
    """With neither disturbance nor mirror, every valid target is its point's place in the rule's crop."""
    make = SampleMaker(48, 9, NONE, Augment(0), mirror=False)
    clip = Blobs(points).clip(0, 2, np.random.default_rng(0))
    seen = set()
    for seed in range(4):
        _, chosen, targets, known = make(clip, np.random.default_rng(seed))
        expected = (chosen[:, :2] * (1, -1) - (0, 0.34)) / 1.2  # contract: centre (0, -0.34), side 2.4
        assert known.sum(1).tolist() == [valid, valid]
        assert targets[known] == pytest.approx(np.stack([expected] * 2)[known], abs=1e-6) and not targets[~known].any()
        assert len(np.unique(chosen[known[0]], axis=0)) == valid
        seen.add(chosen.tobytes())
    assert len(seen) == 4


def test_shares_are_kept() -> None:
    rare = _mixture(share=0.05)
    few = sum(int((rare[(s, 0)].valid.sum(-1)[:, 0] == len(POINTS)).sum()) for s in range(10))
    assert 50 <= few < 60


def test_steps_are_shared_by_processes() -> None:
    whole = list(Steps(3, 6, 4))
    parts = [list(Steps(3, 6, 4, rank, 2)) for rank in range(2)]
    assert whole == [(s, m) for s in (3, 4, 5) for m in range(4)] and len(Steps(3, 6, 4)) == 12
    assert sorted(parts[0] + parts[1]) == whole
    assert [[s for s, _ in p] for p in parts] == [[3, 3, 4, 4, 5, 5]] * 2


@pytest.mark.parametrize("workers", [0, 1])
def test_what_cannot_be_read_arrives_as_its_error(workers: int) -> None:
    make = SampleMaker(48, 5, Disturbance(), Augment(0))
    mixture = Mixture([(Blobs(POINTS, broken=3), 1.0)], make, frames=1, batch=8, seed=0)
    with pytest.raises(DataError, match="face-3"):
        mixture[(0, 0)]
    (found,) = DataLoader(Delivery(mixture), batch_size=None, sampler=[(0, 0)], num_workers=workers)
    assert isinstance(found, DataError) and str(found) == "face-3.jpg is not a readable picture"


class _Faulty(Blobs):
    """A source with a fault of its own, which no user can mend."""

    def clip(self, index: int, length: int, rng: np.random.Generator) -> Clip:
        raise ZeroDivisionError("a fault")


@pytest.mark.parametrize("workers", [0, 1])
def test_a_fault_arrives_with_its_traceback(workers: int) -> None:
    make = SampleMaker(48, 5, Disturbance(), Augment(0))
    mixture = Mixture([(_Faulty(POINTS), 1.0)], make, frames=1, batch=2, seed=0)
    (found,) = DataLoader(Delivery(mixture), batch_size=None, sampler=[(0, 0)], num_workers=workers)
    assert isinstance(found, RuntimeError) and "ZeroDivisionError: a fault" in str(found) and "test_batch" in str(found)


class _Collecting(Dataset[int]):
    """A sample for which the worker collects garbage."""

    def __len__(self) -> int:
        return 1

    def __getitem__(self, index: int) -> int:
        return gc.collect()


@pytest.fixture
def dead_frame() -> Iterator[None]:
    """A decoded frame in a reference cycle that nothing has collected yet: freeing it joins its scaler's threads."""
    gc.disable()
    with av.open(str(sample_clip())) as container:
        frame = next(container.decode(video=0))
    frame.to_ndarray(format="rgb24")
    cycle = [frame]
    cycle.append(cycle)
    del frame, cycle
    yield
    gc.enable()


def _loader(patience: float) -> DataLoader[int]:
    return DataLoader(_Collecting(), batch_size=None, num_workers=1, timeout=patience)


def test_workers_leave_dead_frames_alone(dead_frame: None) -> None:
    assert next(started(_loader(60))) >= 0


@pytest.mark.skipif(os.cpu_count() == 1, reason="on one core the scaler has no threads")
def test_workers_that_collect_dead_frames_stand_still(dead_frame: None) -> None:
    """Negative control."""
    batches = iter(_loader(3))
    with pytest.raises(RuntimeError, match="timed out"):
        next(batches)
    for worker in batches._workers:  # type: ignore[attr-defined]
        worker.kill()
