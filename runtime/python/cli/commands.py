"""Commands on bundles: track, inspect and pack. What they need is imported when they run."""

from __future__ import annotations

import math
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from qlot.runtime.cli.hints import show_next

if TYPE_CHECKING:
    from qlot.runtime.cli.platforms import PlatformName


class FilterName(StrEnum):
    """Comparison filters, in place of the bundle's own rule."""

    NONE = "none"
    ONE_EURO = "one-euro"
    KALMAN = "kalman"


class TableName(StrEnum):
    """Formats of the landmark table."""

    CSV = "csv"
    JSONL = "jsonl"


class PlatformChoice(StrEnum):
    """Platforms that a bundle is packed for."""

    ANDROID = "android"
    SWIFT = "swift"
    WEB = "web"


_PLATFORMS: dict[PlatformChoice, PlatformName] = {
    PlatformChoice.ANDROID: "android",
    PlatformChoice.SWIFT: "swift",
    PlatformChoice.WEB: "web",
}

BundleArgument = Annotated[Path, typer.Argument(metavar="BUNDLE", help="Folder of the bundle.", show_default=False)]
Threads = Annotated[
    int, typer.Option(min=1, metavar="N", help="Threads of the inference engine.", rich_help_panel="Running")
]


def _rotation(value: int) -> int:
    if value not in (0, 90, 180, 270):
        raise typer.BadParameter("must be 0, 90, 180 or 270")
    return value


def _cutoff(value: float | None) -> float | None:
    if value is not None and not 0 <= value < 1:
        raise typer.BadParameter("must be at least 0 and below 1")
    return value


def _radius(value: float | None) -> float | None:
    if value is not None and not 0 <= value < math.inf:
        raise typer.BadParameter("must be at least 0 pixels and finite")
    return value


def _seconds(value: float | None) -> float | None:
    if value is not None and not 0 < value < math.inf:
        raise typer.BadParameter("must be above 0 seconds and finite")
    return value


def track(
    source: Annotated[
        str,
        typer.Argument(
            metavar="INPUT",
            help="Video file, folder of PNG/JPEG images, camera index, or address of a network camera (rtsp://...).",
            show_default=False,
        ),
    ],
    bundle: Annotated[
        Path, typer.Option("--bundle", "-b", metavar="FOLDER", help="Folder of the bundle.", show_default=False)
    ],
    out: Annotated[
        Path | None, typer.Option("--out", "-o", metavar="FOLDER", help="Output folder.", show_default="INPUT-tracked")
    ] = None,
    table: Annotated[
        TableName, typer.Option("--format", help="Landmark table: landmarks.csv or landmarks.jsonl.")
    ] = TableName.CSV,
    video: Annotated[bool, typer.Option("--video/--no-video", help="Write the annotated video tracked.mp4.")] = True,
    summary: Annotated[bool, typer.Option("--summary/--no-summary", help="Write the page summary.png.")] = True,
    force: Annotated[bool, typer.Option("--force", help="Replace the files of an earlier run in the folder.")] = False,
    iterations: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=64,
            metavar="N",
            help="Refinement steps per tracked frame.",
            show_default="the bundle's",
            rich_help_panel="Tracking",
        ),
    ] = None,
    gate_radius: Annotated[
        float | None,
        typer.Option(
            callback=_radius,
            metavar="PIXELS",
            help="Radius of the uncertainty gate, pixels of the network input; 0 switches it off.",
            show_default="the bundle's",
            rich_help_panel="Tracking",
        ),
    ] = None,
    gate_cutoff: Annotated[
        float | None,
        typer.Option(
            callback=_cutoff,
            metavar="SHARE",
            help="Cutoff of the uncertainty gate, 0 to below 1.",
            show_default="the bundle's",
            rich_help_panel="Tracking",
        ),
    ] = None,
    filter_name: Annotated[
        FilterName,
        typer.Option(
            "--filter",
            help="Smooth the network's landmarks with this in place of the bundle's own rule, for comparison.",
            rich_help_panel="Tracking",
        ),
    ] = FilterName.NONE,
    raw: Annotated[
        bool,
        typer.Option("--raw", help="Landmarks as the network says, not kept steady.", rich_help_panel="Tracking"),
    ] = False,
    rotation: Annotated[
        int,
        typer.Option(
            callback=_rotation,
            metavar="DEGREES",
            help="Degrees clockwise (0, 90, 180, 270) that turn the input upright, beyond what its metadata says.",
            rich_help_panel="Tracking",
        ),
    ] = 0,
    mirrored: Annotated[
        bool, typer.Option("--mirrored", help="The input is a mirror image.", rich_help_panel="Tracking")
    ] = False,
    ellipses: Annotated[
        bool, typer.Option("--ellipses", help="Draw 95 % uncertainty ellipses.", rich_help_panel="Drawing")
    ] = False,
    crop: Annotated[
        bool, typer.Option("--crop", help="Draw the square the network looks at.", rich_help_panel="Drawing")
    ] = False,
    seconds: Annotated[
        float | None,
        typer.Option(
            callback=_seconds,
            metavar="SECONDS",
            help="Stop after this many seconds of input.",
            show_default="the whole input",
            rich_help_panel="Running",
        ),
    ] = None,
    threads: Threads = 1,
) -> None:
    """Track the face in a video, an image folder or a camera.

    Writes an annotated video, the landmarks with their covariances and time stamps, and a one-page summary. Nothing is
    shown on screen, so no display is needed. Ctrl-C and SIGTERM (for a camera also q) stop early: the files are
    finished properly, and the exit code is 130 or 143 (for q 0).

    A recording is searched whole wherever a face has to be found, a camera a little per frame.

    Landmarks are drawn green where they are certain (standard deviation up to 1 % of the face size) to yellow
    (4 % and more).
    """
    from qlot.runtime.cli.track import TrackRequest
    from qlot.runtime.cli.track import track as run
    from qlot.runtime.stopping import exit_code

    request = TrackRequest(
        source=source,
        bundle=bundle,
        out=out,
        iterations=iterations,
        gate_radius=gate_radius,
        gate_cutoff=gate_cutoff,
        filter=None if filter_name is FilterName.NONE else filter_name.value,
        raw=raw,
        table="csv" if table is TableName.CSV else "jsonl",
        ellipses=ellipses,
        crop=crop,
        rotation=rotation,
        mirrored=mirrored,
        threads=threads,
        seconds=seconds,
        video=video,
        summary=summary,
        force=force,
    )
    console = Console()
    if ended := run(request, console, Console(stderr=True)):
        raise typer.Exit(exit_code(ended))
    show_next(console, "track", bundle=bundle)


def inspect(
    bundle: BundleArgument,
    as_json: Annotated[bool, typer.Option("--json", help="Print the manifest as JSON instead.")] = False,
) -> None:
    """Show what a bundle holds: model, stages and their tensors, state rules, sizes, cost and parity."""
    from qlot.runtime.cli.inspect import show

    console = Console()
    show(bundle, console, as_json)
    if not as_json:
        show_next(console, "inspect", bundle=bundle)


def pack(
    bundle: BundleArgument,
    platform: Annotated[
        PlatformChoice,
        typer.Option(
            "--as",
            help="android: src/main/assets/qlot/NAME; swift: Resources/NAME, for .copy in Package.swift; web: "
            "public/qlot/NAME.",
            show_default=False,
        ),
    ],
    out: Annotated[
        Path, typer.Option("--out", "-o", metavar="FOLDER", help="New folder to write into.", show_default=False)
    ],
    force: Annotated[bool, typer.Option("--force", help="Replace a folder that this command wrote.")] = False,
) -> None:
    """Lay a bundle out for an app: the same files, in the place where the platform looks for them.

    The licence texts and a README.txt, which says what the app needs, lie beside it. The copy is opened before it is
    put in place.
    """
    from qlot.runtime.cli.pack import pack as run

    run(bundle, _PLATFORMS[platform], out, Console(), force)


def _examples(*lines: str) -> str:
    """Markdown, which typer renders; each example on a line of its own."""
    return "\n".join(["Examples:\n", *(f"- `{line}`" for line in lines)])


def commands(app: typer.Typer) -> None:
    """Register track, inspect and pack."""
    app.command(
        epilog=_examples(
            "qlot track clip.mp4 -b bundle/",
            "qlot track 0 -b bundle/ --seconds 20 --ellipses",
            "qlot track frames/ -b bundle/ -o result/ --format jsonl --no-video",
        )
    )(track)
    app.command(epilog=_examples("qlot inspect bundle/", "qlot inspect bundle/ --json | jq .stages"))(inspect)
    app.command(
        epilog=_examples(
            "qlot pack bundle/ --as android -o app-assets/",
            "qlot pack bundle/ --as web -o site/ --force",
        )
    )(pack)
