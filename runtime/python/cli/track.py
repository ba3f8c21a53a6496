"""The body of `qlot track`: a source through the tracker into a folder of files."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Generator, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from qlot.runtime.bundle.folder import Bundle
from qlot.runtime.cli.keys import KeyWatcher, StopRequest
from qlot.runtime.errors import QlotError, VideoError
from qlot.runtime.media.camera import CameraReader
from qlot.runtime.media.drawing import draw
from qlot.runtime.media.summary import Summary
from qlot.runtime.media.table import TableFormat, landmark_table
from qlot.runtime.media.video import Frame, FrameSource, ImageFolder, VideoReader
from qlot.runtime.media.video_writer import VideoWriter
from qlot.runtime.network.bundle_network import BundleNetwork
from qlot.runtime.network.recurrence import Gate
from qlot.runtime.tracking.filters import make_filter
from qlot.runtime.tracking.orientation import Orientation
from qlot.runtime.tracking.result import Status, TrackResult
from qlot.runtime.tracking.tracker import Tracker

VIDEO, SUMMARY = "tracked.mp4", "summary.png"
TABLES: dict[TableFormat, str] = {"csv": "landmarks.csv", "jsonl": "landmarks.jsonl"}


@dataclass(frozen=True)
class TrackRequest:
    """What the user asked for; None stands for the bundle's own value."""

    source: str
    bundle: Path
    out: Path | None = None
    iterations: int | None = None
    gate_radius: float | None = None  # pixels of the network input
    gate_cutoff: float | None = None
    filter: str | None = None
    table: TableFormat = "csv"
    ellipses: bool = False
    crop: bool = False
    rotation: int = 0  # degrees clockwise
    mirrored: bool = False
    threads: int = 1
    seconds: float | None = None
    video: bool = True
    force: bool = False


def open_source(source: str) -> FrameSource:
    """Open a video file, an image folder, a camera (a number that names no file) or a stream (scheme://...).

    Raises:
        VideoError: it cannot be opened.
    """
    path = Path(source)
    if path.is_dir():
        return ImageFolder(path)
    if "://" in source:
        return CameraReader(source)
    if source.isdecimal() and not path.exists():
        return CameraReader(int(source))
    return VideoReader(path)


def track(request: TrackRequest, console: Console, progress_console: Console) -> None:
    """Track a source and write its files.

    Raises:
        QlotError: the bundle, the source, an option or the output folder is unusable; what was begun is removed.
    """
    bundle = Bundle.open(request.bundle)
    manifest = bundle.manifest
    source = open_source(request.source)
    stages = BundleNetwork(bundle, request.threads)
    tracker = _tracker(bundle, stages, request)
    smooth = _Smoother(request.filter, manifest.tracking.max_gap) if request.filter else None
    orientation = Orientation(request.rotation, request.mirrored)
    about = (manifest.model.preset, manifest.layout.name, manifest.target, manifest.scheme.name, stages.engine)
    summary, tally = Summary(f"{request.source}\n{', '.join(about)}"), _Tally()

    # The first Ctrl-C ends the loop; what has been tracked is then finished under its protection.
    with StopRequest() as stop, _output_folder(request) as out:
        files = [out / TABLES[request.table]]
        with ExitStack() as stack:
            write_row = stack.enter_context(landmark_table(files[0], manifest.layout.names, request.table))
            writer = stack.enter_context(VideoWriter(out / VIDEO)) if request.video else None
            frames = stack.enter_context(closing(_frames(source, request.seconds, stop, progress_console)))
            for frame in frames:
                result = tracker.update(frame.rgb, frame.timestamp)
                result = smooth(result) if smooth else result
                picture = functools.cache(
                    functools.partial(
                        draw, frame.rgb, result, manifest.layout, ellipses=request.ellipses, crop=request.crop,
                        orientation=orientation,
                    )
                )  # fmt: skip
                write_row(frame.index, result)
                if writer:
                    writer.write(picture(), frame.timestamp)
                summary.add(result, picture)
                tally.add(result)
            if not tally.frames:
                raise VideoError(f"{request.source}: stopped before the first frame, nothing was written")
        summary.write(out / SUMMARY)
        files += [out / VIDEO, out / SUMMARY] if writer else [out / SUMMARY]
        for name in {VIDEO, SUMMARY, *TABLES.values()} - {file.name for file in files}:
            (out / name).unlink(missing_ok=True)  # of an earlier run into the same folder: would contradict these files
    remarks = source.remarks() + ([writer.remark] if writer and writer.remark else [])
    tally.report(console, stages.engine, files, remarks)


def _tracker(bundle: Bundle, stages: BundleNetwork, request: TrackRequest) -> Tracker:
    gate, iterations = bundle.manifest.gate, bundle.manifest.iterations
    return Tracker(
        bundle,
        stages,
        rotation=request.rotation,
        mirrored=request.mirrored,
        gate=Gate(
            gate.radius if request.gate_radius is None else request.gate_radius,
            gate.cutoff if request.gate_cutoff is None else request.gate_cutoff,
        ),
        iterations=iterations.model_copy(update={"tracking": request.iterations or iterations.tracking}),
    )


class _Smoother:
    """Replaces landmarks by filtered ones; starts anew wherever the tracker does."""

    def __init__(self, name: str, max_gap: float) -> None:
        self._filter = make_filter(name)
        self._max_gap = max_gap
        self._last = -np.inf

    def __call__(self, result: TrackResult) -> TrackResult:
        if result.landmarks is None or result.timestamp - self._last > self._max_gap:
            self._filter.reset()
        self._last = result.timestamp
        if result.landmarks is None:
            return result
        return replace(result, landmarks=self._filter.update(result.landmarks, result.timestamp, result.covariances))


@contextmanager
def _output_folder(request: TrackRequest) -> Iterator[Path]:
    """Yield the folder to write into; if it was made here and nothing got written, it is removed again."""
    source = Path(request.source)
    out = request.out or Path(f"{source.resolve().stem if source.exists() else 'camera'}-tracked")
    if out.exists() and not out.is_dir():
        raise QlotError(f"{out} exists and is not a folder: choose another --out")
    if source.is_dir() and out.exists() and out.samefile(source):
        raise QlotError(f"{out} is the input folder: choose another --out")
    existed = out.exists()
    if existed and any(out.iterdir()) and not request.force:
        raise QlotError(f"{out} exists and is not empty: choose another --out, or replace its files with --force")
    out.mkdir(parents=True, exist_ok=True)
    try:
        yield out
    finally:
        if not existed and not any(out.iterdir()):
            out.rmdir()


class _Rate(ProgressColumn):
    """Frames per second."""

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text("" if speed is None else f"{speed:.1f} frames/s")


def _frames(source: FrameSource, seconds: float | None, stop: StopRequest, console: Console) -> Generator[Frame]:
    """Deliver frames until the source ends, its time is up, Ctrl-C, or (camera) q; show progress on a terminal."""
    live = isinstance(source, CameraReader)
    columns = [TextColumn("tracking"), BarColumn(), MofNCompleteColumn(), _Rate(), TimeRemainingColumn()]
    if live:
        console.print("press q or Ctrl-C to stop", highlight=False)
    with ExitStack() as stack:
        keys = stack.enter_context(KeyWatcher()) if live else None
        progress = stack.enter_context(Progress(*columns, console=console, disable=not console.is_terminal))
        task = progress.add_task("", total=source.total)
        start: float | None = None
        for frame in source:
            start = frame.timestamp if start is None else start
            if seconds is not None and frame.timestamp - start >= seconds:
                return
            yield frame
            progress.advance(task)
            if stop.made or (keys and "q" in keys.pressed()):
                return


class _Tally:
    """Counts for the closing table."""

    def __init__(self) -> None:
        self.frames = 0
        self._losses = 0
        self._statuses: Counter[Status] = Counter()
        self._milliseconds: dict[str, list[float]] = {}
        self._last = Status.SEARCHING

    def add(self, result: TrackResult) -> None:
        self.frames += 1
        self._losses += result.status == Status.LOST and self._last == Status.TRACKING
        self._statuses[result.status] += 1
        self._last = result.status
        for stage, spent in result.milliseconds.items():
            self._milliseconds.setdefault(stage, []).append(spent)

    def report(self, console: Console, engine: str, files: list[Path], remarks: list[str]) -> None:
        tracked = self._statuses[Status.TRACKING]
        table = Table(show_header=False, box=None, pad_edge=False)
        table.add_row("frames", str(self.frames))
        table.add_row("tracked", f"{tracked} ({tracked / self.frames:.1%})")
        table.add_row("losses", str(self._losses))
        for stage, spent in self._milliseconds.items():
            table.add_row(f"median {stage}", f"{np.median(spent):.2f} ms")
        table.add_row("engine", Text(engine))
        console.print(table)
        for file in files:
            console.print(f"wrote {file}", markup=False, highlight=False, soft_wrap=True)
        for remark in remarks:
            console.print(f"note: {remark}", markup=False, highlight=False)
        if not tracked:
            console.print("no face was found in any frame: landmarks are empty", highlight=False)
