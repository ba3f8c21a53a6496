"""Renders scenes once, for training to draw from.

Run it as `python -m qlot.training.data.synthetic.cache --model ICT.npz --out DIR`.

Every scene is a file of its own, written whole; a run that was interrupted goes on where it stopped, and a larger
number of scenes adds to the smaller one. The folder's `cache.json` says what it was rendered with.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from functools import lru_cache
from multiprocessing import get_context
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from pydantic import BaseModel, ConfigDict, ValidationError
from rich.console import Console
from rich.progress import Progress

from qlot.runtime.errors import QlotError
from qlot.runtime.partial import written_whole
from qlot.training.data.clip import DataError
from qlot.training.data.pictures import picture_files
from qlot.training.data.synthetic import ict
from qlot.training.data.synthetic.ict import FaceModel
from qlot.training.data.synthetic.motion import Motion
from qlot.training.data.synthetic.random_motion import RandomMotion
from qlot.training.data.synthetic.random_scene import random_scene
from qlot.training.data.synthetic.record import Record, encode
from qlot.training.data.synthetic.renderer import Renderer
from qlot.training.data.synthetic.scene import Scene


class CacheSettings(BaseModel):
    """What a cache was rendered with. Scenes of two settings do not mix in one folder."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    version: int = 3  # of looks and motion: the same seed renders differently under another
    seed: int = 0
    frames: int = 12  # per scene
    size: int = 256  # pixels of a side
    backgrounds: str | None = None  # folder of pictures


def render_cache(
    model_path: Path, out: Path, scenes: int, settings: CacheSettings | None = None, workers: int = 1
) -> Iterator[Path]:
    """Render the scenes that a folder does not have yet, and yield their files as they are finished.

    Args:
        model_path: the ICT-FaceKit model, see `FaceModel`.
        out: the folder; made if need be.
        scenes: how many scenes it is to have.
        settings: what to render.
        workers: processes; each holds the model (30 MB) and an OpenGL context.

    Raises:
        DataError: the folder was rendered with other settings, or something cannot be read, or there is no OpenGL.
    """
    settings = settings or CacheSettings()
    _claim(out, settings)
    wanted = [index for index in range(scenes) if not scene_file(out, index).exists()]
    if workers <= 1:
        with _rendering(model_path, settings.size) as renderer:
            for index in wanted:
                yield _render_one(renderer, out, index, settings)
        return
    with ProcessPoolExecutor(workers, get_context("spawn")) as pool:
        jobs = [pool.submit(_in_worker, model_path, out, index, settings) for index in wanted]
        try:
            for job in as_completed(jobs):
                yield job.result()
        finally:
            pool.shutdown(cancel_futures=True)


def scene_file(out: Path, index: int) -> Path:
    """Return where a cache keeps a scene."""
    return out / f"scene_{index:06d}.npz"


def draw(names: tuple[str, ...], seed: int, index: int, pictures: Sequence[Path]) -> tuple[Scene, Motion, float, float]:
    """Return a cache's scene by number: looks, motion, when in the motion to start (seconds), and frames per second."""
    numbers = np.random.SeedSequence([seed, index]).generate_state(3)
    rng = np.random.default_rng(int(numbers[2]))
    still, liveliness = rng.random() < 0.1, float(rng.lognormal(0, 0.5))
    motion = RandomMotion(names, int(numbers[1]), 0.0 if still else liveliness)
    fps = float(rng.choice([25.0, 30.0]))
    return random_scene(int(numbers[0]), pictures), motion, float(rng.uniform(0, 55)), fps


def render_record(renderer: Renderer, scene: Scene, motion: Motion, times: Sequence[float], fps: float) -> Record:
    """Render a scene at the given times (seconds)."""
    face = np.arange(ict.FACE.stop)
    frames = [renderer.render(scene, motion(time)) for time in times]
    return Record(
        scene,
        tuple(frame.state for frame in frames),
        fps,
        renderer.size,
        tuple(encode(frame.rgb) for frame in frames),
        np.stack([frame.unhidden(face) for frame in frames]),
        np.stack([frame.uncovered(face) for frame in frames]),
    )


def _render_one(renderer: Renderer, out: Path, index: int, settings: CacheSettings) -> Path:
    pictures = _pictures(settings.backgrounds)
    scene, motion, start, fps = draw(renderer.model.names, settings.seed, index, pictures)
    times = [start + frame / fps for frame in range(settings.frames)]
    path = scene_file(out, index)
    render_record(renderer, scene, motion, times, fps).write(path)
    return path


def _in_worker(model_path: Path, out: Path, index: int, settings: CacheSettings) -> Path:
    return _render_one(_kept_renderer(model_path, settings.size), out, index, settings)


@lru_cache(maxsize=1)
def _kept_renderer(model_path: Path, size: int) -> Renderer:
    return Renderer(FaceModel.load(model_path), size)


@contextmanager
def _rendering(model_path: Path, size: int) -> Iterator[Renderer]:
    with Renderer(FaceModel.load(model_path), size) as renderer:
        yield renderer


def _pictures(folder: str | None) -> list[Path]:
    if folder is None:
        return []
    return picture_files(Path(folder))


def _claim(out: Path, settings: CacheSettings) -> None:
    """Make the folder ours, or see that it already was rendered like this."""
    note = out / "cache.json"
    if not note.exists():
        out.mkdir(parents=True, exist_ok=True)
        with written_whole(note) as temporary:
            temporary.write_text(settings.model_dump_json(indent=2) + "\n")
        return
    if (held := read_settings(out)) != settings:
        raise DataError(f"{out}: was rendered with {held!r}, not {settings!r}; choose another folder")


def read_settings(out: Path) -> CacheSettings:
    """Return what a cache was rendered with.

    Raises:
        DataError: the folder is not a cache.
    """
    note = out / "cache.json"
    try:
        return CacheSettings.model_validate_json(note.read_text())
    except OSError as error:
        raise DataError(
            f"{note}: not there; render first: python -m qlot.training.data.synthetic.cache --model ICT.npz --out {out}"
        ) from error
    except ValidationError as error:
        raise DataError(
            f"{note}: not a cache's settings ({error.errors()[0]['msg']}); render into a new folder"
        ) from error


def _main(
    model: Annotated[Path, typer.Option(help="ICT-FaceKit model, .npz")],
    out: Annotated[Path, typer.Option(help="folder to render into")],
    scenes: Annotated[int, typer.Option(min=1)] = 400,
    frames: Annotated[int, typer.Option(min=1, help="per scene")] = 12,
    size: Annotated[int, typer.Option(min=32, help="pixels of a side")] = 256,
    seed: int = 0,
    backgrounds: Annotated[Path | None, typer.Option(help="folder of pictures to put behind the heads")] = None,
    workers: Annotated[int, typer.Option(min=1, help="processes")] = 1,
) -> None:
    """Render a cache of synthetic faces."""
    console = Console(stderr=True)
    settings = CacheSettings(seed=seed, frames=frames, size=size, backgrounds=str(backgrounds) if backgrounds else None)
    try:
        with Progress(console=console) as progress:
            task = progress.add_task("scenes", total=scenes)
            present = sum(scene_file(out, index).exists() for index in range(scenes))
            progress.advance(task, present)
            for _ in render_cache(model, out, scenes, settings, workers):
                progress.advance(task)
    except QlotError as error:
        console.print(f"error: {error}", style="red", soft_wrap=True, markup=False)
        raise typer.Exit(1) from None


if __name__ == "__main__":
    typer.run(_main)
