"""Beside the peer: `python -m qlot.benchmarks.faces.run WEIGHTS_OR_BUNDLE ... --data DATA`.

Weights or bundles on people held back from training, on videos of them, and on pictures with points placed by people
(these pictures are trained on, with the teacher's labels; the placed points never were), beside MediaPipe's
FaceLandmarker at its defaults, which a user would pick instead.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Annotated, TypeVar

import numpy as np
import typer
from pydantic import TypeAdapter
from rich.console import Console
from rich.table import Table

from qlot.benchmarks.faces.compare import Scores, scores
from qlot.benchmarks.faces.material import FaceMaterial
from qlot.benchmarks.faces.trackers import FaceTracker, Landmarker, Ours
from qlot.runtime.errors import QlotError
from qlot.runtime.partial import written_whole
from qlot.runtime.progress import shown
from qlot.training.evaluation.protocol import EvaluationProtocol
from qlot.training.evaluation.subject import open_subject

Part = TypeVar("Part")


def table(results: Sequence[Scores]) -> Table:
    """Return one column per tracker."""
    made = Table("", *(r.name for r in results), box=None, pad_edge=False)
    for title, values in rows(results):
        made.add_row(title, *(v if isinstance(v, str) else _cell(v) for v in values))
    return made


def rows(results: Sequence[Scores]) -> Iterator[tuple[str, list[float | str | None]]]:
    """Yield what each row says, and a value per tracker."""
    for layout in dict.fromkeys(layout for r in results for layout in r.placed):
        for what in dict.fromkeys(w for r in results for w in r.placed.get(layout, {})):
            yield f"placed by people, {layout}: {what}, %", [r.placed.get(layout, {}).get(what) for r in results]
    yield "faces_val, 68 labels less their offset, %", [r.labels for r in results]
    yield "faces_val, denoised teacher, %", [r.teacher for r in results]
    yield "jaw of wflw98, bend over the canonical face's", [r.jaw for r in results]
    hidden = [r.hidden for r in results]
    inside = "landmarks of wflw98 inside the 50/90/95 % ellipses, %"
    yield f"hidden {inside}", [_of(h, lambda h: _shares(h.hidden)) for h in hidden]
    yield f"seen {inside}", [_of(h, lambda h: _shares(h.seen)) for h in hidden]
    yield "sigma of a hidden landmark over its own when seen", [_of(h, lambda h: h.growth) for h in hidden]
    for i in range(max(len(r.clips) for r in results)):
        clips = [r.clips[i] if r.clips else None for r in results]
        name, eyes = next(c.name for c in clips if c), [_of(c, lambda c: c.eyes) for c in clips]
        yield f"{name}: aperture r with the peer's", [_of(e, lambda e: e.aperture_r) for e in eyes]
        yield f"{name}: blink depth over the peer's", [_of(e, lambda e: e.blink_depth) for e in eyes]
        yield f"{name}: pupils' movement over the peer's", [_of(e, lambda e: e.pupils) for e in eyes]
        yield f"{name}: flicker over FaceMesh's raw labels'", [_of(c, lambda c: c.flicker) for c in clips]
        left = [_of(c, lambda c: c.leaving) for c in clips]
        yield f"{name}: frames until a face that is gone is lost", [_of(x, lambda x: x.gone) for x in left]
        yield f"{name}: ... one that is covered whole", [_of(x, lambda x: x.covered) for x in left]


Value = TypeVar("Value")


def _of(part: Part | None, pick: Callable[[Part], Value]) -> Value | None:
    return None if part is None else pick(part)


def _shares(shares: dict[float, float]) -> str:
    return "/".join(f"{100 * share:.0f}" for share in shares.values())


def _cell(value: float | None) -> str:
    return "-" if value is None or not np.isfinite(value) else f"{value:.2f}"


def main(
    subjects: Annotated[list[str], typer.Argument(metavar="WEIGHTS_OR_BUNDLE...", help="What is compared.")],
    data: Annotated[Path, typer.Option(help="Folder of the shared faces and videos.")],
    model: Annotated[
        Path | None, typer.Option(help="face_landmarker.task.", show_default="DATA/../peers/face_landmarker.task")
    ] = None,
    environment: Annotated[Path | None, typer.Option(help="MediaPipe's virtual environment.")] = None,
    out: Annotated[Path | None, typer.Option(help="Also write the figures as JSON.")] = None,
    threads: Annotated[int, typer.Option(min=1)] = 1,
) -> None:
    """Compare weights and bundles with FaceLandmarker on people's faces."""
    console, protocol = Console(), EvaluationProtocol()
    try:
        with shown(Console(stderr=True)) as progress:
            progress("reading the faces")
            material = FaceMaterial.open(data)
            peer = Landmarker(model or data.parent / "peers" / "face_landmarker.task", environment)
            tracks = []
            for clip in material.videos:
                progress(f"{peer.name}: {clip.source}")
                tracks.append(peer.video(clip))
            trackers: list[FaceTracker] = [Ours(open_subject(name, threads), protocol) for name in subjects]
            results = [scores(t, tracks, material, protocol, progress) for t in (*trackers, peer)]
    except QlotError as e:
        console.print(f"error: {e}", style="red", markup=False, soft_wrap=True)
        raise typer.Exit(1) from None
    console.print(table(results))
    if out:
        with written_whole(out) as temporary:
            temporary.write_bytes(TypeAdapter(list[Scores]).dump_json(results, indent=1) + b"\n")


if __name__ == "__main__":
    typer.run(main)
