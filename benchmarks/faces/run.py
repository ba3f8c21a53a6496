"""Beside the peer: `python -m qlot.benchmarks.faces.run WEIGHTS_OR_BUNDLE ... --data DATA`.

Weights or bundles on people held back from training, on videos of them, and on pictures with points placed by people
(these pictures are trained on, with the teacher's labels; the placed points never were), beside MediaPipe's
FaceLandmarker at its defaults, which a user would pick instead.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from rich.console import Console
from rich.table import Table

from qlot.benchmarks.faces.compare import Scores, scores
from qlot.benchmarks.faces.material import FaceMaterial
from qlot.benchmarks.faces.trackers import Landmarker, Ours
from qlot.runtime.errors import QlotError
from qlot.runtime.partial import written_whole
from qlot.runtime.progress import shown
from qlot.training.evaluation.protocol import EvaluationProtocol
from qlot.training.evaluation.subject import open_subject


def table(results: list[Scores]) -> Table:
    """Return one column per tracker."""
    made = Table("", *(r.name for r in results), box=None, pad_edge=False)
    for layout in dict.fromkeys(layout for r in results for layout in r.placed):
        for what in dict.fromkeys(w for r in results for w in r.placed.get(layout, {})):
            made.add_row(
                f"placed by people, {layout}: {what}, %", *(_cell(r.placed.get(layout, {}).get(what)) for r in results)
            )
    made.add_row("faces_val, 68 labels less their offset, %", *(_cell(r.labels) for r in results))
    made.add_row("faces_val, denoised teacher, %", *(_cell(r.teacher) for r in results))
    made.add_row("jaw of wflw98, bend over the canonical face's", *(_cell(r.jaw) for r in results))
    for title, pick in (("hidden", lambda h: h.hidden), ("seen", lambda h: h.seen)):
        cells = ["/".join(f"{100 * v:.0f}" for v in pick(r.hidden).values()) if r.hidden else "-" for r in results]
        made.add_row(f"{title} landmarks of wflw98 inside the 50/90/95 % ellipses, %", *cells)
    made.add_row(
        "sigma of a hidden landmark over its own when seen", *(_cell(r.hidden and r.hidden.growth) for r in results)
    )
    for i in range(max(len(r.clips) for r in results)):
        rows = [r.clips[i] if r.clips else None for r in results]
        name = next(c.name for c in rows if c)
        for what, key in (("aperture r", "aperture_r"), ("blink depth", "blink_depth"), ("pupils", "pupils")):
            cells = [_cell(getattr(c.eyes, key)) if c and c.eyes else "-" for c in rows]
            made.add_row(f"{name}: {what}, over the peer's", *cells)
        flicker = [
            c.flicker.flicker / c.flicker.label_flicker if c and c.flicker.flicker and c.flicker.label_flicker else None
            for c in rows
        ]
        made.add_row(f"{name}: flicker over the labels'", *map(_cell, flicker))
    return made


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
            ours = [Ours(open_subject(name, threads), protocol) for name in subjects]
            results = [scores(t, tracks, material, protocol, progress) for t in (*ours, peer)]
    except QlotError as e:
        console.print(f"error: {e}", style="red", markup=False, soft_wrap=True)
        raise typer.Exit(1) from None
    console.print(table(results))
    if out:
        with written_whole(out) as temporary:
            temporary.write_text(
                json.dumps([r.__dict__ | {"clips": [_plain(c) for c in r.clips]} for r in results], indent=1) + "\n"
            )


def _plain(clip: object) -> dict[str, object]:
    return {k: v.model_dump() if hasattr(v, "model_dump") else v for k, v in vars(clip).items()}


if __name__ == "__main__":
    typer.run(main)
