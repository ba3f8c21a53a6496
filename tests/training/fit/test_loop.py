"""The loop on a tiny network: it resumes to the step, saves when it is told to end, and stops where it must."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from qlot.model.checkpoint import checkpoint_metadata, load_checkpoint
from qlot.model.qlot import QLOT
from qlot.runtime.geometry import CropBox
from qlot.training.data.clip import Clip, DataError, Source
from qlot.training.fit import loop
from qlot.training.fit.journal import read_journal
from qlot.training.fit.loop import Run, StepReport, TrainingError, parameter_groups
from qlot.training.fit.recipe import Recipe
from qlot.training.fit.unroll import Task, Unroll
from tests.training.tiny import POINTS, Blobs, recipe

ROOT = Path(__file__).parents[3]


@pytest.fixture(autouse=True)
def no_curves(whole: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the run of `whole` draws its curves, which takes a third of a second."""
    monkeypatch.setattr(loop, "draw_curves", lambda *_: None)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Sums in one order, so that runs can be compared bit by bit."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def _run(out: Path, how: Recipe | None = None, source: Source | None = None, **options: Any) -> Path:
    material: list[tuple[Source, float]] = [(source or Blobs(POINTS), 1.0)]
    return Run(how or recipe(), material, out, **{"workers": 0, "accelerator": "cpu"} | options)()


def _state(out: Path) -> dict[str, Any]:
    return torch.load(out / "state.pt", weights_only=True)


def _tensors(value: Any, name: str = "") -> Iterator[tuple[str, Tensor]]:
    if isinstance(value, Tensor):
        yield name, value
    elif isinstance(value, dict):
        for k, v in value.items():
            yield from _tensors(v, f"{name}.{k}")


def _equal(a: Path, b: Path) -> bool:
    """Whether network, moving average and optimiser are the same bits."""
    first, second = (
        {n: v for k in ("model", "ema", "optimizer") for n, v in _tensors(_state(x)[k], k)} for x in (a, b)
    )
    assert len(first) > 100 and first.keys() == second.keys()
    return all(torch.equal(v, second[k]) for k, v in first.items())


def _at(step: int, do: Callable[[], None]) -> Callable[[StepReport], None]:
    """Return a report that does something after a step."""

    def report(progress: StepReport) -> None:
        if progress.step == step:
            do()

    return report


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six steps in one go."""
    torch.set_num_threads(1)
    out = tmp_path_factory.mktemp("whole")
    _run(out)
    return out


def test_a_run_leaves_what_is_promised(whole: Path) -> None:
    assert {p.name for p in whole.iterdir()} == {"state.pt", "weights.safetensors", "log.jsonl", "curves.png"}
    entry = read_journal(whole / "log.jsonl")[-1]
    assert entry["step"] == 6 and entry["frames_per_s"] > 0 and np.isfinite(list(entry.values())[1:]).all()
    assert {"position", "covariance", "first_difference", "second_difference", "maps", "unsure", "total"} <= set(entry)
    ema = _state(whole)["ema"]
    model = load_checkpoint(whole / "weights.safetensors")
    assert (
        model.config == recipe().config()
        and "6 steps" in checkpoint_metadata(whole / "weights.safetensors")["training"]
    )
    assert all(torch.equal(v, ema[f"module.{k}"]) for k, v in model.state_dict().items() if "num_batches" not in k)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stopped_run_goes_on_as_if_it_had_not_been(whole: Path, tmp_path: Path, number: signal.Signals) -> None:
    before = signal.getsignal(number)
    run = Run(
        recipe(), [(Blobs(POINTS), 1.0)], tmp_path, workers=0, accelerator="cpu",
        report=_at(3, lambda: signal.raise_signal(number)),
    )  # fmt: skip
    run()
    assert (run.step, run.stopped_by) == (3, number)
    assert _state(tmp_path)["step"] == 3 and not _equal(tmp_path, whole)
    assert signal.getsignal(number) is before
    assert _run(tmp_path) == tmp_path / "weights.safetensors"
    assert _state(tmp_path)["step"] == 6 and _equal(tmp_path, whole)


def test_a_second_interrupt_ends_it_at_once(tmp_path: Path) -> None:
    def twice() -> None:
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        _run(tmp_path, report=_at(2, twice))
    assert not (tmp_path / "state.pt").exists()


def test_another_seed_is_another_run(whole: Path, tmp_path: Path) -> None:
    """The negative control of comparing bits."""
    _run(tmp_path, recipe(seed=1))
    assert not _equal(tmp_path, whole)


def test_a_crash_goes_back_to_the_last_save(whole: Path, tmp_path: Path) -> None:
    def crash() -> None:
        raise RuntimeError("power cut")

    with pytest.raises(RuntimeError, match="power cut"):
        _run(tmp_path, recipe(save_every=2), report=_at(5, crash))
    assert _state(tmp_path)["step"] == 4
    _run(tmp_path)
    assert _equal(tmp_path, whole)


def test_the_moving_average(tmp_path: Path) -> None:
    """EMA by hand over three steps, of weights and of batch norm's statistics."""
    expected: dict[str, Tensor] = {}
    for step in (1, 2, 3):
        _run(tmp_path, recipe(ema=0.5), report=_at(step, lambda: signal.raise_signal(signal.SIGTERM)))
        for k, v in _state(tmp_path)["model"].items():
            if v.is_floating_point():
                expected[k] = v.clone() if step == 1 else 0.5 * expected[k] + 0.5 * v
    ema = _state(tmp_path)["ema"]
    for k, v in expected.items():
        assert torch.allclose(ema[f"module.{k}"], v, rtol=1e-5, atol=1e-7), k
    assert any(not torch.equal(ema[f"module.{k}"], v) for k, v in _state(tmp_path)["model"].items())


def test_another_recipe_is_refused_by_name(whole: Path, tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match=r"was begun with another recipe: batch, learning_rate differ\. Give another --out"
    ):
        _run(whole, recipe(learning_rate=2e-3, batch=3))
    _run(tmp_path, recipe(steps=1))
    _run(tmp_path, recipe(steps=2, save_every=1))  # a longer run with more saves is the same run
    assert _state(tmp_path)["step"] == 2


def test_a_damaged_state_is_named(tmp_path: Path) -> None:
    for content in (b"", b"no state at all"):
        (tmp_path / "state.pt").write_bytes(content)
        with pytest.raises(DataError, match=r"state\.pt cannot be resumed from .*Remove it"):
            _run(tmp_path)
    torch.save({"step": 3}, tmp_path / "state.pt")
    with pytest.raises(DataError, match="cannot be resumed from"):
        _run(tmp_path)


def _bad_loss(monkeypatch: pytest.MonkeyPatch, value: Callable[[Tensor], Tensor]) -> None:
    plain = Unroll.forward

    def forward(self: Unroll, *arguments: Any) -> dict[str, Tensor]:
        found = plain(self, *arguments)
        return found | {"covariance": value(found["covariance"]), "total": found["total"] + value(found["covariance"])}

    monkeypatch.setattr(Unroll, "forward", forward)


def test_a_loss_that_is_not_finite_ends_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _run(tmp_path, recipe(steps=2))
    _bad_loss(monkeypatch, lambda x: x * float("nan"))
    with pytest.raises(
        TrainingError, match=r"^step 2: the loss is not finite \(covariance, total\)\. The batch is in .*"
    ) as error:
        _run(tmp_path)
    saved = torch.load(tmp_path / "not-finite.pt", weights_only=True)
    assert str(tmp_path / "not-finite.pt") in str(error.value)
    assert (
        saved["step"] == 2 and saved["batch"][0].shape == (2, 3, 3, 64, 64) and np.isnan(saved["losses"]["covariance"])
    )
    assert _state(tmp_path)["step"] == 2  # untouched


def test_a_gradient_that_is_not_finite_ends_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A square root at 0 has a finite value and no finite slope."""
    _bad_loss(monkeypatch, lambda x: ((x - x) * x).abs().sqrt())
    with pytest.raises(TrainingError, match=r"step 0: the gradient is not finite \(all losses are finite\)"):
        _run(tmp_path)
    assert (tmp_path / "not-finite.pt").is_file() and not (tmp_path / "state.pt").exists()


@pytest.mark.parametrize("workers", [0, 1])
def test_a_damaged_picture_is_one_error(tmp_path: Path, workers: int) -> None:
    with pytest.raises(DataError) as error:
        _run(tmp_path, recipe(steps=20, batch=8), Blobs(POINTS, broken=2), workers=workers)
    assert str(error.value) == "face-2.jpg is not a readable picture"


class _Stuck(Blobs):
    def clip(self, index: int, length: int, rng: np.random.Generator) -> Clip:
        time.sleep(60)
        return super().clip(index, length, rng)


def test_a_data_process_that_hangs_ends_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "PATIENCE", 1)
    monkeypatch.setattr("torch.utils.data._utils.MP_STATUS_CHECK_INTERVAL", 0.2)  # what PyTorch waits for each process
    with pytest.raises(TrainingError, match="no batch has come for 1 s"):
        _run(tmp_path, source=_Stuck(POINTS), workers=1)


def test_validation_sees_the_moving_average(tmp_path: Path) -> None:
    seen: list[tuple[bool, Tensor]] = []
    reports: list[StepReport] = []

    def validate(model: QLOT) -> dict[str, float]:
        seen.append((model.training, model.refiner.delta.weight.clone()))
        return {"nme": 5.0}

    _run(tmp_path, recipe(validate_every=4), validate=validate, report=reports.append)
    assert [t for t, _ in seen] == [False, False]
    assert torch.equal(seen[1][1], _state(tmp_path)["ema"]["module.refiner.delta.weight"])
    checks = [e for e in read_journal(tmp_path / "log.jsonl") if e["kind"] == "validate"]
    assert [(e["step"], e["nme"]) for e in checks] == [(4, 5.0), (6, 5.0)]
    assert [r.step for r in reports] == [1, 2, 3, 4, 5, 6] and [r.checks for r in reports if r.checks] == [
        {"nme": 5.0}
    ] * 2


def test_micro_batches_add_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two micro-batches that are alike make the step of one: the gradient is their mean."""
    plain = loop.Mixture.__getitem__
    monkeypatch.setattr(loop.Mixture, "__getitem__", lambda self, key: plain(self, (key[0], 0)))
    _run(tmp_path / "one", recipe(steps=1))
    _run(tmp_path / "two", recipe(steps=1, micro=2))
    one, two = (_state(tmp_path / name)["optimizer"]["state"] for name in ("one", "two"))
    for k, v in one.items():
        assert torch.allclose(v["exp_avg"], two[k]["exp_avg"], rtol=1e-4, atol=1e-7)


def test_fine_tuning_starts_from_weights(whole: Path, tmp_path: Path) -> None:
    start = str(whole / "weights.safetensors")
    _run(tmp_path / "a", recipe(steps=1, start_from=start, learning_rate=1e-9, ema=0.0))
    before, after = load_checkpoint(start), load_checkpoint(tmp_path / "a" / "weights.safetensors")
    assert torch.allclose(before.refiner.delta.weight, after.refiner.delta.weight, atol=1e-6)
    with pytest.raises(DataError, match="start_from: no checkpoint at"):
        _run(tmp_path / "b", recipe(start_from="nowhere.safetensors"))


def test_bfloat16_trains_and_keeps_the_labels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain, seen = Unroll.forward, []

    def forward(self: Unroll, task: Task) -> dict[str, Tensor]:
        seen.append((task.batch.targets, torch.is_autocast_enabled("cpu")))
        return plain(self, task)

    monkeypatch.setattr(Unroll, "forward", forward)
    _run(tmp_path, recipe(steps=2), precision="bf16-mixed")
    assert np.isfinite(read_journal(tmp_path / "log.jsonl")[-1]["total"])
    targets, automatic = seen[0]
    assert automatic and targets.dtype == torch.float32 and not torch.equal(targets, targets.bfloat16().float())


def test_what_decays() -> None:
    model = QLOT(recipe().config())
    decays, rest = parameter_groups(model, 0.1)
    assert (decays["weight_decay"], rest["weight_decay"]) == (0.1, 0.0)
    names = {id(p): n for n, p in model.named_parameters()}
    kept = {names[id(p)] for p in rest["params"]}
    assert len(decays["params"]) + len(rest["params"]) == len(names)
    norms = {
        f"{n}.weight"
        for n, m in model.named_modules()
        if isinstance(m, nn.BatchNorm2d | nn.RMSNorm) and m.weight is not None
    }
    assert norms | {"encoding.omega", "encoding.phi", "refiner.mixer.slot_gain"} <= kept
    assert {n for n in names.values() if n.endswith("bias")} <= kept
    assert "refiner.delta.weight" not in kept and all(".conv.weight" not in n for n in kept)


def _start(out: Path, *arguments: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.training.tiny", str(out), *map(str, arguments)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, start_new_session=True)


@pytest.mark.slow
def test_a_signal_to_all_processes_saves(tmp_path: Path) -> None:
    """Terminals, `timeout` and job schedulers signal the workers too; they must not die before the step is done."""
    process = _start(tmp_path, 100000, 1, 1)
    try:
        assert process.stdout is not None
        lines = [next(process.stdout) for _ in range(3)]
        os.killpg(process.pid, signal.SIGTERM)
        lines += process.stdout  # to its end: nobody holds it open
        assert process.wait(60) == 0
        assert f"step={_state(tmp_path)['step']}," in lines[-1]
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


@pytest.mark.slow
def test_two_processes_are_one_run(tmp_path: Path) -> None:
    """Through torchrun on CPUs: each takes one of the two micro-batches of a step."""
    log = "log.jsonl"
    _run(tmp_path / "one", recipe(micro=2))
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    arguments = ["-m", "tests.training.tiny", str(tmp_path / "two"), "6", "2", "0"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        command + arguments, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    one, two = (read_journal(tmp_path / n / log)[-1] for n in ("one", "two"))
    del one["frames_per_s"], two["frames_per_s"]
    assert two == pytest.approx(one, abs=1e-5)
    assert done.stdout.count("StepReport(step=6") == 1  # one of them speaks


def test_fewest_frames(tmp_path: Path) -> None:
    """One frame has no differences; its losses are simply not there."""
    _run(tmp_path, recipe(steps=2, frames=1))
    entry = read_journal(tmp_path / "log.jsonl")[-1]
    assert "first_difference" not in entry and np.isfinite(entry["total"])


def test_clips_without_a_face(tmp_path: Path) -> None:
    """A whole batch without a single label trains without a NaN."""

    class Nothing(Blobs):
        def clip(self, index: int, length: int, rng: np.random.Generator) -> Clip:
            clip = super().clip(index, length, rng)
            return replace(clip, valid=np.zeros_like(clip.valid), box=CropBox(40, 40, 50))

    _run(tmp_path, recipe(steps=2), Nothing(POINTS))
    entry = read_journal(tmp_path / "log.jsonl")[-1]
    assert entry["position"] == 0 and entry["unsure"] > 0 and np.isfinite(entry["total"])
