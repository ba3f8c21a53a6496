"""The command `qlot jitter`."""

from __future__ import annotations

import json
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from qlot.runtime.partial import written_whole
from qlot.runtime.progress import shown

RESULTS, PLOT = "results.json", "jitter.png"


class PeerName(StrEnum):
    """Trackers to compare with."""

    LANDMARKER = "landmarker"
    FACEMESH = "facemesh"


NAMES = {PeerName.LANDMARKER: "FaceLandmarker", PeerName.FACEMESH: "FaceMesh"}


def jitter(
    bundle: Annotated[Path, typer.Argument(metavar="BUNDLE", help="Folder of the bundle.", show_default=False)],
    data: Annotated[
        Path,
        typer.Option(
            metavar="FOLDER",
            help="Holds ict/ict_model.npz and layouts/mediapipe478.json: the faces are rendered from them.",
            show_default=False,
        ),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="FOLDER", help="Where results go.", show_default=False)],
    peer: Annotated[
        list[PeerName] | None,
        typer.Option(
            help="Also run MediaPipe, in a virtual environment that is made for it (1 GB): FaceLandmarker of MediaPipe "
            "Tasks at its defaults, or the older FaceMesh, which does not smooth. May be given twice."
        ),
    ] = None,
    model: Annotated[
        Path | None,
        typer.Option(
            metavar="TASK",
            help="FaceLandmarker's model, face_landmarker.task.",
            show_default="DATA/../peers/face_landmarker.task",
        ),
    ] = None,
    clips: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Where rendered clips are kept.", show_default="OUT/clips"),
    ] = None,
    environment: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="MediaPipe's virtual environment.", show_default="in the user's cache"),
    ] = None,
    threads: Annotated[int, typer.Option(min=1, metavar="N", help="Threads of the inference engine.")] = 1,
) -> None:
    """Measure how much a bundle's landmarks flicker at rest and how far they trail a motion.

    Faces are rendered, so the motion is known exactly; sensor noise and JPEG are added. The tracker's output, the raw
    network, its gate at several radii and filters behind it are compared on the same frames, and with --peer MediaPipe.
    """
    from qlot.benchmarks.jitter.benchmark import JitterRequest, benchmark
    from qlot.benchmarks.jitter.report import picks, plot, tables

    console = Console()
    out.mkdir(parents=True, exist_ok=True)
    task = model or data.parent / "peers" / "face_landmarker.task"
    options = {PeerName.LANDMARKER: ("--landmarker", str(task)), PeerName.FACEMESH: ("--refined",)}
    place = ("--environment", str(environment)) if environment else ()
    peers = {NAMES[one]: (*options[one], *place) for one in peer or ()}
    request = JitterRequest(bundle, data, clips or out / "clips", out, peers, threads)
    with shown(Console(stderr=True)) as progress:
        done = benchmark(request, progress)
    with written_whole(out / RESULTS) as temporary:
        temporary.write_text(json.dumps(done.record(), indent=1) + "\n", encoding="utf-8")
    plot(done.results, out / PLOT, done.title)
    console.print(*tables(done.results, done.protocol), picks(done.results), sep="\n")
    console.print(done.title, markup=False, highlight=False)
    console.print(f"written: {out / RESULTS}, {out / PLOT}", markup=False, highlight=False, soft_wrap=True)


def commands(app: typer.Typer) -> None:
    """Register `jitter`."""
    app.command(
        epilog="Example: `qlot jitter bundle/ --data shared/data --out jitter/ --peer landmarker --peer facemesh`"
    )(jitter)
