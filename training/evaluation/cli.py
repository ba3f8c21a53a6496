"""The command `qlot eval`. What it needs is imported when it runs."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from qlot.runtime.progress import shown


class KindName(StrEnum):
    """What the data folder holds."""

    FACES_VIDEO = "faces-video"
    WFLW = "wflw"
    W300 = "300w"
    WFLW_V = "wflw-v"


class SplitName(StrEnum):
    """Held back from training, or trained on."""

    VAL = "val"
    TRAIN = "train"


class PartName(StrEnum):
    """Measurements."""

    STILLS = "stills"
    VIDEO = "video"
    FACELESS = "faceless"


def evaluate(
    subject: Annotated[
        str,
        typer.Argument(
            metavar="WEIGHTS_OR_BUNDLE",
            help="Weights (.safetensors, .pth), the name of shipped weights, 'default', or the folder of a bundle. "
            "Weights are evaluated in every layout that is labelled, a bundle in its own.",
            show_default=False,
        ),
    ],
    data: Annotated[
        Path, typer.Option("--data", "-d", metavar="FOLDER", help="Labelled material.", show_default=False)
    ],
    kind: Annotated[
        KindName,
        typer.Option(
            "--data-kind",
            help="What the folder holds: faces-video (faces/faces_SPLIT.tar and .npz, video/NAME.mpg and .npz), or a "
            "published tree: wflw, 300w, wflw-v.",
        ),
    ] = KindName.FACES_VIDEO,
    split: Annotated[
        SplitName, typer.Option(help="val: people and videos held back from training; train: those trained on.")
    ] = SplitName.VAL,
    layout: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Only labels of this layout.", show_default="all that are labelled"),
    ] = None,
    part: Annotated[
        list[PartName] | None,
        typer.Option(
            help="Measure only this; may be repeated. stills: accuracy from a cold start in a disturbed crop. video: "
            "the tracker over whole clips. faceless: false finds, and the time to find a face again.",
            show_default="all three",
        ),
    ] = None,
    faceless: Annotated[
        Path | None,
        typer.Option(
            metavar="VIDEO_OR_DIR",
            help="Frames of your own without any face, besides those made of the videos; each picture of a folder is "
            "shown for 30 frames.",
            show_default="none",
        ),
    ] = None,
    iterations: Annotated[
        int,
        typer.Option(
            min=1, max=64, metavar="K", help="Refinement steps per tracked frame.", rich_help_panel="Protocol"
        ),
    ] = 1,
    cold_iterations: Annotated[
        int,
        typer.Option(
            min=1,
            max=64,
            metavar="K",
            help="Refinement steps of a cold start: every still, and the first frame of a video.",
            rich_help_panel="Protocol",
        ),
    ] = 4,
    seed: Annotated[
        int,
        typer.Option(
            min=0,
            metavar="N",
            help="Of the crops' disturbance, the bootstrap and the made frames.",
            rich_help_panel="Protocol",
        ),
    ] = 0,
    reset_state: Annotated[
        bool,
        typer.Option(
            "--reset-state",
            help="Track the videos a second time with the hidden state reset in every frame, and print the difference.",
            rich_help_panel="Protocol",
        ),
    ] = False,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            "-o",
            metavar="FOLDER",
            help="Write results.json and pictures there: worst faces, error distribution, Allan deviation.",
            show_default="print only",
            rich_help_panel="Output",
        ),
    ] = None,
    force: Annotated[
        bool,
        typer.Option("--force", help="Replace the files of an earlier run in the folder.", rich_help_panel="Output"),
    ] = False,
    threads: Annotated[
        int, typer.Option(min=1, metavar="N", help="Threads of the engine.", rich_help_panel="Running")
    ] = 1,
) -> None:
    """Measure how good and how steady weights or a bundle are on labelled faces.

    Stills: NME over the outer-eye distance and over the face size, FR@10, AUC@10, each with an interval over people,
    and how many errors lie inside the predicted 50, 90 and 95 % ellipses. Video: the same tracker as in an app, its
    error, flicker beside that of the labels, NMF and Allan deviation. Frames without a face: false finds per 1,000.
    """
    from qlot.training.evaluation.protocol import EvaluationProtocol
    from qlot.training.evaluation.report import show
    from qlot.training.evaluation.run import PARTS, EvaluationRequest
    from qlot.training.evaluation.run import evaluate as run

    request = EvaluationRequest(
        subject=subject,
        data=data,
        kind=kind.value,
        split=split.value,
        layout=layout,
        parts=tuple(p.value for p in part) if part else PARTS,
        faceless=faceless,
        out=out,
        force=force,
        protocol=EvaluationProtocol(seed=seed, cold=cold_iterations, tracking=iterations),
        reset_state=reset_state,
        threads=threads,
    )
    console = Console()
    with shown(Console(stderr=True)) as progress:
        result = run(request, progress)
    show(result, console)
    if out is not None:
        console.print(f"written: {out}", highlight=False, soft_wrap=True)


def commands(app: typer.Typer) -> None:
    """Register `eval`."""
    lines = (
        "qlot eval default --data data/",
        "qlot eval model.safetensors --data data/ -o result/ --reset-state",
        "qlot eval bundle/ --data data/ --part stills",
        "qlot eval bundle/ --data WFLW/ --data-kind wflw",
    )
    app.command("eval", epilog="\n".join(["Examples:\n", *(f"- `{line}`" for line in lines)]))(evaluate)
