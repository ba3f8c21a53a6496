"""The training loop: on Lightning Fabric, so that one process, `torchrun` on many, and bf16 are the same code."""

from __future__ import annotations

import math
import os
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.data import DataLoader

from qlot.model.checkpoint import CheckpointError, load_checkpoint, save_checkpoint
from qlot.model.checkpoint import load_state as fill
from qlot.model.qlot import QLOT
from qlot.runtime.errors import QlotError
from qlot.runtime.stopping import StopRequest
from qlot.training.data.augment import Augment
from qlot.training.data.batch import Batch, Delivery, Mixture, SampleMaker, Steps, started
from qlot.training.data.clip import DataError, Source
from qlot.training.data.cover import Cover
from qlot.training.fit.checkpoint import LOG, WEIGHTS, load_state, save_state
from qlot.training.fit.journal import Journal, draw_curves, read_journal
from qlot.training.fit.meter import Clock, Means
from qlot.training.fit.recipe import Recipe
from qlot.training.fit.schedule import learning_rate, plan
from qlot.training.fit.unroll import Task, Unroll

LOG_EVERY = 50  # steps
PATIENCE = 600  # seconds to wait for a batch; the slowest seen took two
BAD = "not-finite.pt"
Validate = Callable[[QLOT], dict[str, float]]


class TrainingError(QlotError):
    """A run cannot go on; the message says why and where its last state is."""


@dataclass(frozen=True)
class StepReport:
    """What a progress bar shows."""

    step: int
    steps: int
    loss: float
    frames_per_second: float
    checks: dict[str, float]


@dataclass
class Run:
    """One training run.

    Args:
        recipe: what to train on what.
        sources: opened material with shares.
        out: the run's folder; a run found there is resumed.
        validate: measures a network; called with the EMA weights on the first process.
        workers: data processes of each training process.
        precision: of Fabric: "32-true", "bf16-mixed".
        accelerator: of Fabric: "auto", "cpu", "cuda".
        report: called after every step on the first process.

    Attributes:
        step: how many steps are done.
        stopped_by: the signal that ended the run before its last step.
    """

    recipe: Recipe
    sources: list[tuple[Source, float]]
    out: Path
    validate: Validate | None = None
    workers: int = 1
    precision: Any = "32-true"
    accelerator: str = "auto"
    report: Callable[[StepReport], None] = lambda _: None
    step: int = field(default=0, init=False)
    stopped_by: signal.Signals | None = field(default=None, init=False)

    def __call__(self) -> Path:
        """Train to the recipe's last step, or until SIGTERM or Ctrl-C, which save.

        Returns:
            The file of the EMA weights.

        Raises:
            DataError: material or a saved state that cannot be used.
            TrainingError: a loss or gradient that is not finite; its batch is saved.
        """
        recipe = self.recipe
        fabric = _fabric(self.accelerator, self.precision)
        fabric.launch()
        if recipe.micro % fabric.world_size:
            raise DataError(f"{recipe.micro} micro-batches cannot be shared by {fabric.world_size} processes")
        self.out.mkdir(parents=True, exist_ok=True)
        torch.manual_seed(recipe.seed)
        unroll = Unroll(self._network(), recipe.chances)
        ema = AveragedModel(unroll.model, multi_avg_fn=get_ema_multi_avg_fn(recipe.ema), use_buffers=True)
        optimizer = torch.optim.AdamW(parameter_groups(unroll, recipe.weight_decay), lr=recipe.learning_rate)
        state = load_state(self.out, recipe.model_dump(mode="json"))
        begin, seconds = 0, 0.0
        if state is not None:
            begin, seconds = state["step"], state["seconds"]
            unroll.model.load_state_dict(state["model"])
            ema.load_state_dict(state["ema"])
            optimizer.load_state_dict(state["optimizer"])
        module, optimizer = fabric.setup(unroll.to(memory_format=torch.channels_last), optimizer)
        ema.to(fabric.device)
        journal = Journal(self.out / LOG, begin) if fabric.is_global_zero else None
        means, clock = Means(), Clock(seconds)

        def save(step: int) -> None:
            if not fabric.is_global_zero:
                return
            save_state(
                self.out,
                {
                    "step": step,
                    "seconds": clock.total,
                    "recipe": recipe.model_dump(mode="json"),
                    "model": unroll.model.state_dict(),
                    "ema": ema.state_dict(),
                    "optimizer": optimizer.state_dict(),
                },
            )
            save_checkpoint(ema.module, self.out / WEIGHTS, training=f"{step} steps of recipe {recipe.preset}")
            draw_curves(read_journal(self.out / LOG), self.out / "curves.png")

        step = begin
        self.stopped_by = None
        with StopRequest() as stop:
            batches = started(self._loader(begin, fabric))
            try:
                while step < recipe.steps:
                    self.stopped_by = _asked(stop, fabric)
                    if self.stopped_by:
                        break
                    rate = self._set_rate(optimizer, step)
                    iterations, weights = plan(recipe, step)
                    for i in range(recipe.micro // fabric.world_size):
                        batch = _arrived(_next(batches), fabric)
                        last = (i + 1) * fabric.world_size == recipe.micro
                        with fabric.no_backward_sync(module, enabled=not last):
                            found: dict[str, Tensor] = module(Task(batch, iterations, weights))
                            if not found["total"].isfinite():
                                self._refuse("loss", found, batch, step)
                            fabric.backward(found["total"] * (fabric.world_size / recipe.micro))
                        means.add(found)
                        clock.count(batch.images.shape[0] * batch.images.shape[1] * fabric.world_size)
                    norm = fabric.clip_gradients(module, optimizer, max_norm=recipe.clip_norm, error_if_nonfinite=False)
                    if not norm.isfinite() and self.precision != "16-mixed":  # there the scaler leaves the step out
                        self._refuse("gradient", found, batch, step)
                    optimizer.step()
                    optimizer.zero_grad(set_to_none=True)
                    ema.update_parameters(unroll.model)
                    step += 1
                    checks: dict[str, float] = {}
                    if journal and self.validate and (step % recipe.validate_every == 0 or step == recipe.steps):
                        with clock.paused():
                            checks = self.validate(ema.module.eval())
                        journal.write("validate", step, seconds=clock.total, **checks)
                    if step % LOG_EVERY == 0 or step == recipe.steps:
                        values = {k: float(fabric.all_reduce(torch.tensor(v))) for k, v in means.take().items()}
                        if journal:
                            journal.write("train", step, lr=rate, frames_per_s=clock.rate(), **values)
                    if step % recipe.save_every == 0:
                        save(step)
                    if fabric.is_global_zero:
                        self.report(StepReport(step, recipe.steps, means.last("total"), clock.rate(), checks))
            finally:
                del batches  # ends the workers, which a frame kept alive by a cycle would not
        save(step)
        self.step = step
        return self.out / WEIGHTS

    def _network(self) -> QLOT:
        config, start = self.recipe.config(), self.recipe.start_from
        model = QLOT(config)
        if start is not None:
            try:
                fill(model, load_checkpoint(start, None).state_dict())
            except CheckpointError as e:
                raise DataError(f"start_from: {e}") from e
        return model.train()

    def _loader(self, begin: int, fabric: Any) -> Any:
        recipe = self.recipe
        size, augment = recipe.config().image_size, Augment(recipe.augment)
        make = SampleMaker(size, recipe.landmarks, recipe.disturbance, augment, recipe.eyes, Cover(recipe.cover))
        data = Delivery(Mixture(self.sources, make, recipe.frames, recipe.batch, recipe.seed))
        steps = Steps(begin, recipe.steps, recipe.micro, fabric.global_rank, fabric.world_size)
        return DataLoader(
            data,
            batch_size=None,
            sampler=steps,
            num_workers=self.workers,
            prefetch_factor=4 if self.workers else None,
            timeout=PATIENCE if self.workers else 0,
            worker_init_fn=_one_thread,
        )

    def _set_rate(self, optimizer: Any, step: int) -> float:
        rate = learning_rate(self.recipe, step)
        for group in optimizer.param_groups:
            group["lr"] = rate
        return rate

    def _refuse(self, what: str, found: dict[str, Tensor], batch: Batch, step: int) -> NoReturn:
        values = {k: v.item() for k, v in found.items()}
        save_state(self.out, {"step": step, "batch": tuple(batch), "losses": values}, BAD)
        bad = ", ".join(k for k, v in values.items() if not math.isfinite(v)) or "all losses are finite"
        raise TrainingError(
            f"step {step}: the {what} is not finite ({bad}). The batch is in {self.out / BAD}. If its labels are "
            "sound, the run has diverged: begin another with a lower learning_rate."
        )


def _fabric(accelerator: str, precision: Any) -> Fabric:
    """One process, or those that torchrun has started and counts in the environment."""
    devices, nodes = (int(os.environ.get(name, 1)) for name in ("LOCAL_WORLD_SIZE", "GROUP_WORLD_SIZE"))
    try:
        return Fabric(accelerator=accelerator, precision=precision, devices=devices, num_nodes=nodes)
    except (ValueError, RuntimeError) as e:
        raise TrainingError(f"accelerator {accelerator!r} with precision {precision!r}: {e}") from e


def _asked(stop: StopRequest, fabric: Any) -> signal.Signals | None:
    """Return the signal that came to any process: all must end with the same step, or others would wait for ever."""
    number = stop.signal or 0
    if fabric.world_size > 1:
        number = int(fabric.all_reduce(torch.tensor(float(number)), reduce_op="max"))
    return signal.Signals(number) if number else None


def _next(batches: Iterator[Any]) -> Any:
    """Take the next delivery; a data process that hangs, as decoders can, would otherwise hold the run for ever."""
    try:
        return next(batches)
    except RuntimeError as e:
        if "timed out" not in str(e):
            raise
        raise TrainingError(
            f"no batch has come for {PATIENCE} s. Start the run again: it goes on from its last save."
        ) from e


def _arrived(delivered: list[Tensor] | Exception, fabric: Any) -> Batch:
    if isinstance(delivered, Exception):
        raise delivered
    return Batch(*(fabric.to_device(x) for x in delivered))


def parameter_groups(module: nn.Module, decay: float) -> list[dict[str, Any]]:
    """Weights decay; biases, norms, scales and frequencies do not."""
    decays: dict[bool, list[nn.Parameter]] = {True: [], False: []}
    for name, parameter in module.named_parameters():
        decays[parameter.ndim > 1 and not name.endswith(("omega", "slot_gain", "bias"))].append(parameter)
    return [{"params": decays[True], "weight_decay": decay}, {"params": decays[False], "weight_decay": 0.0}]


def _one_thread(_: int) -> None:
    """Workers leave the cores to the training, and signals to the process that saves: they often reach all of them."""
    import cv2

    cv2.setNumThreads(0)
    torch.set_num_threads(1)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
