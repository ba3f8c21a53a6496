"""The body of `qlot track`: a source through the tracker into a folder of files."""

from __future__ import annotations

import functools
import signal
import time
import warnings
from collections import Counter
from collections.abc import Generator, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text

from qlot.runtime.bundle.folder import Bundle
from qlot.runtime.cli.keys import KeyWatcher
from qlot.runtime.cli.tally import Tally
from qlot.runtime.errors import QlotError, TimeUnitWarning, VideoError
from qlot.runtime.media.camera import CameraReader
from qlot.runtime.media.drawing import draw
from qlot.runtime.media.summary import Summary
from qlot.runtime.media.table import TableFormat, landmark_table
from qlot.runtime.media.thinned import Thinned
from qlot.runtime.media.video import Frame, FrameSource, ImageFolder, VideoReader
from qlot.runtime.media.video_writer import VideoWriter
from qlot.runtime.network.bundle_network import BundleNetwork
from qlot.runtime.network.recurrence import Gate
from qlot.runtime.stopping import StopRequest
from qlot.runtime.tracking.filters import make_filter
from qlot.runtime.tracking.orientation import TURNS, Orientation
from qlot.runtime.tracking.result import Status, TrackResult
from qlot.runtime.tracking.tracker import MIN_FRAME, Tracker

VIDEO, SUMMARY = "tracked.mp4", "summary.png"
EVERY = 10.0  # seconds between two lines of progress where there is no terminal
TURNED = 1  # frames, or one more, that are looked at turned where no face was found
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
    filter: str | None = None  # in place of the bundle's own rule
    raw: bool = False  # landmarks as the network says
    table: TableFormat = "csv"
    ellipses: bool = False
    crop: bool = False
    rotation: int = 0  # degrees clockwise
    mirrored: bool = False
    threads: int = 1
    seconds: float | None = None
    video: bool = True
    summary: bool = True
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


def track(request: TrackRequest, console: Console, progress_console: Console) -> signal.Signals | None:
    """Track a source and write its files.

    Returns:
        The signal that ended the run early, or None.

    Raises:
        QlotError: the bundle, the source, an option or the output folder is unusable, and what was begun is removed; or
            the source broke off, and what was tracked until then is written.
    """
    bundle = Bundle.open(request.bundle)
    manifest = bundle.manifest
    source = open_source(request.source)
    stages = BundleNetwork(bundle, request.threads)
    orientation = Orientation(request.rotation, request.mirrored)
    about = (manifest.model.preset, manifest.layout.name, manifest.target, manifest.scheme.name, stages.engine)
    summary = Summary(f"{request.source}\n{', '.join(about)}") if request.summary else None
    tally = Tally()

    # The first Ctrl-C ends the loop; what has been tracked is then finished under its protection.
    with StopRequest() as stop, _output_folder(request) as out:
        answers = _Answers(bundle, stages, request, live=isinstance(source, CameraReader))
        files = [out / TABLES[request.table]]
        with ExitStack() as stack:
            write_row = stack.enter_context(landmark_table(files[0], manifest.layout.names, request.table))
            writer = stack.enter_context(VideoWriter(out / VIDEO)) if request.video else None
            frames = stack.enter_context(closing(_frames(source, request.seconds, stop, progress_console)))
            for frame, result in answers.of(frames):
                picture = functools.cache(
                    functools.partial(
                        draw, frame.rgb, result, manifest.layout, ellipses=request.ellipses, crop=request.crop,
                        orientation=orientation,
                    )
                )  # fmt: skip
                write_row(frame.index, result)
                if writer:
                    writer.write(picture(), frame.timestamp)
                if summary:
                    summary.add(result, picture)
                tally.add(result)
            if not tally.frames and not answers.remarks():
                raise VideoError(f"{request.source}: stopped before the first frame, nothing was written")
            if not tally.frames:
                raise VideoError(f"{request.source}: {', '.join(answers.remarks())}, nothing was written")
        if writer:
            files.append(out / VIDEO)
        if summary:
            summary.write(out / SUMMARY)
            files.append(out / SUMMARY)
        for name in {VIDEO, SUMMARY, *TABLES.values()} - {file.name for file in files}:
            (out / name).unlink(missing_ok=True)  # of an earlier run into the same folder: would contradict these files
        remarks = source.remarks() + answers.remarks() + (writer.remarks() if writer else [])
        if not tally.tracked and not stop.made:
            remarks += answers.turned()
    tally.report(console, stages.engine, files, remarks)
    if answers.broken_off is not None:
        raise VideoError(f"{answers.broken_off} The frames until {tally.last:g} s are tracked and written.")
    if stop.made:
        console.print(f"stopped at {tally.last:.2f} s, after {tally.frames} frames", highlight=False)
    return stop.signal


class _Answers:
    """Frames through the tracker; looks at what it had no face in, and says what it came across."""

    def __init__(self, bundle: Bundle, stages: BundleNetwork, request: TrackRequest, live: bool) -> None:
        self.broken_off: QlotError | None = None
        self._tracker = functools.partial(_tracker, bundle, stages, request, offline=not live)
        self._request = request
        self._max_gap = bundle.manifest.tracking.max_gap
        self._faceless: Thinned[Frame] | None = Thinned(TURNED)
        self._small = self._apart = self._count = 0

    def of(self, frames: Iterator[Frame]) -> Iterator[tuple[Frame, TrackResult]]:
        """Yield each frame with its answer. What fails after the first frame ends the frames: `broken_off`."""
        tracker = self._tracker(self._request.rotation)
        smooth = _Smoother(self._request.filter, self._max_gap) if self._request.filter else None
        last: float | None = None
        try:
            for frame in frames:
                if min(frame.rgb.shape[:2]) < MIN_FRAME:
                    self._small += 1
                    continue
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore", TimeUnitWarning)  # a remark says it in this command's words
                    result = tracker.update(frame.rgb, frame.timestamp)
                self._apart += last is not None and frame.timestamp - last > self._max_gap
                self._count, last = self._count + 1, frame.timestamp
                if result.status == Status.TRACKING:
                    self._faceless = None
                elif self._faceless:
                    self._faceless.add(lambda frame=frame: frame)  # type: ignore[misc]
                yield frame, smooth(result) if smooth else result
        except QlotError as error:
            if not self._count:
                raise
            self.broken_off = error

    def remarks(self) -> list[str]:
        out = []
        if self._small:
            out.append(f"{self._small} frames below {MIN_FRAME} x {MIN_FRAME} pixels were skipped")
        if 2 * self._apart > self._count:
            out.append(
                f"{self._apart} of {self._count} frames came more than {self._max_gap:g} s after the one before: "
                "each was searched by itself. If the input is not that slow, its time stamps are wrong"
            )
        return out

    def turned(self) -> list[str]:
        """Look for a face in some of the frames, turned, and name the rotation that shows one."""
        frames = self._faceless.items if self._faceless else []
        found = Counter[int]()
        for turn in TURNS[1:]:
            rotation = (self._request.rotation + turn) % 360
            for frame in frames:
                found[rotation] += self._tracker(rotation).update(frame.rgb, 0.0).status == Status.TRACKING
        rotation, count = found.most_common(1)[0] if found else (0, 0)
        if not count:
            return []
        return [f"turned by {rotation} degrees, {count} of {len(frames)} frames show a face: try --rotation {rotation}"]


def _tracker(bundle: Bundle, stages: BundleNetwork, request: TrackRequest, rotation: int, *, offline: bool) -> Tracker:
    gate, iterations = bundle.manifest.gate, bundle.manifest.iterations
    return Tracker(
        bundle,
        stages,
        rotation=rotation,
        mirrored=request.mirrored,
        gate=Gate(
            gate.radius if request.gate_radius is None else request.gate_radius,
            gate.cutoff if request.gate_cutoff is None else request.gate_cutoff,
        ),
        iterations=iterations.model_copy(update={"tracking": request.iterations or iterations.tracking}),
        steady=not (request.raw or request.filter),
        offline=offline,
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
        console.print("press q to stop (Ctrl-C stops too, with exit code 130)", highlight=False)
    with ExitStack() as stack:
        keys = stack.enter_context(KeyWatcher()) if live else None
        progress = stack.enter_context(Progress(*columns, console=console, disable=not console.is_terminal))
        task = progress.add_task("", total=source.total)
        start: float | None = None
        said = time.monotonic()
        for done, frame in enumerate(source):
            if not console.is_terminal and time.monotonic() - said >= EVERY:
                said = time.monotonic()
                console.print(f"tracking: {done} of {source.total or 'an unknown number of'} frames", highlight=False)
            start = frame.timestamp if start is None else start
            if seconds is not None and frame.timestamp - start >= seconds:
                return
            yield frame
            progress.advance(task)
            if stop.made or (keys and "q" in keys.pressed()):
                return
