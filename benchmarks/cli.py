"""The command `qlot bench`."""

from __future__ import annotations

import sys
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from qlot.runtime.cli.hints import show_next
from qlot.runtime.errors import QlotError
from qlot.runtime.extras import pip_line
from qlot.runtime.progress import shown

if TYPE_CHECKING:
    from qlot.benchmarks.drivers.host.run import HostRequest
    from qlot.benchmarks.drivers.host.subjects import TimedSubject
    from qlot.benchmarks.results.model import RunResult

STORE = Path("bench-results")
REPORT, PAGE = "report.md", "report.html"


class EngineName(StrEnum):
    """What runs graphs on a host."""

    ONNXRUNTIME = "onnxruntime"
    LITERT = "litert"
    MIL = "mil"


Results = Annotated[
    list[Path],
    typer.Argument(metavar="RUNS...", help="Result files, folders of them, .txt or .md files with pasted results."),
]
Bundles = Annotated[list[Path], typer.Argument(metavar="BUNDLE...", help="Folders of bundles.", show_default=False)]
Store = Annotated[Path, typer.Option("--out", "-o", metavar="FOLDER", help="Results are added to this folder.")]
Seed = Annotated[
    int | None, typer.Option(min=0, max=2**32 - 1, metavar="N", help="Of the settings' order.", show_default="random")
]
Quick = Annotated[bool, typer.Option("--quick", help="A few frames, to see it run. Such a result is not valid.")]


def _numbers(text: str, name: str) -> tuple[int, ...]:
    try:
        found = tuple(int(part) for part in text.split(","))
    except ValueError:
        found = ()
    if not found or not all(1 <= n <= 64 for n in found) or len(set(found)) != len(found):
        raise typer.BadParameter("whole numbers from 1 to 64, once each, with commas between them", param_hint=name)
    return found


def _seconds(text: str | None) -> float | None:
    if text is None:
        return None
    units = {"s": 1.0, "m": 60.0, "h": 3600.0}
    try:
        seconds = float(text.rstrip("smh")) * units[text[-1] if text[-1] in units else "s"]
    except (ValueError, IndexError):
        seconds = 0.0
    if not 1 <= seconds <= 86_400:
        raise typer.BadParameter("1s to 24h, such as 60s or 5m", param_hint="--sustained")
    return seconds


def host(
    bundles: Bundles,
    out: Store = STORE,
    engine: Annotated[EngineName | None, typer.Option(help="Refuse bundles that another engine would run.")] = None,
    threads: Annotated[str, typer.Option(metavar="N,...", help="Threads of the engine; each is measured.")] = "1",
    iterations: Annotated[
        str | None, typer.Option(metavar="K,...", help="Steps a frame.", show_default="1,2,4,8")
    ] = None,
    sustained: Annotated[
        str | None, typer.Option(metavar="TIME", help="Then run at a camera's pace for this long: 60s, 5m.")
    ] = None,
    fps: Annotated[float, typer.Option(min=1, max=240, help="Of that camera.")] = 30.0,
    soak: Annotated[
        int | None, typer.Option(min=1000, metavar="FRAMES", help="Then run so many frames and watch the memory.")
    ] = None,
    peer: Annotated[
        Path | None, typer.Option(metavar="TASK", help="Also time the network in MediaPipe's face_landmarker.task.")
    ] = None,
    single_graph: Annotated[
        str | None,
        typer.Option(metavar="WEIGHTS", help="Also time these weights as one ONNX graph, K steps inside (wflw98)."),
    ] = None,
    roofline: Annotated[
        bool, typer.Option("--roofline", help="Also time a large matrix product: this core's peak.")
    ] = False,
    seed: Seed = None,
    quick: Quick = False,
) -> None:
    """Measure bundles on this machine.

    Each is replayed first; one that leaves its tolerance is not timed. Then all settings take turns, in an order that
    a seed shuffles, in rounds: at least 200 frames and 10 s of each. Medians are shown; the file holds every sample.
    """
    from qlot.benchmarks.drivers.host.run import HostRequest

    steps = _numbers(iterations, "--iterations") if iterations else None
    request = HostRequest(
        bundles=tuple(bundles),
        threads=_numbers(threads, "--threads"),
        engine=engine.value if engine else None,
        others=tuple(_others(peer, single_graph, roofline, steps)),
        sustained=_seconds(sustained),
        fps=fps,
        soak=soak,
        seed=seed,
        quick=quick,
        **({"iterations": steps} if steps else {}),
    )
    _measured(request, out)


def _others(
    peer: Path | None, single: str | None, roofline: bool, steps: tuple[int, ...] | None
) -> list[Callable[[], TimedSubject]]:
    from qlot.benchmarks.drivers.host import others
    from qlot.benchmarks.protocol.constants import protocol

    found: list[Callable[[], TimedSubject]] = []
    if peer is not None:
        found.append(lambda: others.peer_network(peer))
    if single is not None:
        try:
            from qlot.benchmarks.studies.naive import single_graph_calls
        except ModuleNotFoundError as e:
            raise QlotError(f"--single-graph exports: {pip_line('export')} ({e})") from e
        found.append(lambda: others.single_graph(single_graph_calls(single, steps or protocol().iterations)))
    if roofline:
        found.append(others.peak)
    return found


def _measured(request: HostRequest, out: Path) -> RunResult:
    from qlot.benchmarks.drivers.host.run import run
    from qlot.benchmarks.report.tables import markdown
    from qlot.benchmarks.results.store import add

    console = Console()
    with shown(Console(stderr=True)) as progress:
        result = run(request, progress)
    path = add(out, result)
    console.print(markdown([result], {}), markup=False, highlight=False, soft_wrap=True)
    console.print(f"written: {path}", markup=False, highlight=False, soft_wrap=True)
    if not result.valid:
        console.print(f"not valid: {'; '.join(result.reasons)}", markup=False, highlight=False, soft_wrap=True)
    show_next(console, "bench host", bundle=request.bundles[0], folder=out)
    return result


def report(
    runs: Results,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", metavar="FOLDER", help=f"Also write {REPORT} and {PAGE} there.")
    ] = None,
    quality: Annotated[
        list[Path] | None,
        typer.Option(metavar="FILE", help="results.json of `qlot jitter` or `qlot eval` on a measured bundle."),
    ] = None,
    invalid: Annotated[bool, typer.Option("--invalid", help="Keep runs that are not valid, and say so.")] = False,
) -> None:
    """Say what results hold, from any number of devices.

    A file that cannot be used is named and left out, and the exit code is then 1.
    """
    from qlot.benchmarks.report.page import page
    from qlot.benchmarks.report.quality import read_quality
    from qlot.benchmarks.report.tables import markdown
    from qlot.benchmarks.results.store import load
    from qlot.runtime.partial import written_whole

    console, known = Console(), read_quality(quality or ())
    loaded = load(runs, invalid)
    found = list(loaded.results.values())
    for error in loaded.refused:
        Console(stderr=True).print(f"left out: {error}", style="red", markup=False, highlight=False, soft_wrap=True)
    if not found:
        raise QlotError(f"no result is left to report: {len(loaded.refused)} files were left out.")
    text = markdown(found, known)
    console.print(text, markup=False, highlight=False, soft_wrap=True)
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        for name, content in ((REPORT, text), (PAGE, page(found, known, loaded.refused))):
            with written_whole(out / name) as temporary:
                temporary.write_text(content, encoding="utf-8")
            console.print(f"written: {out / name}", markup=False, highlight=False, soft_wrap=True)
    show_next(console, "bench report")
    if loaded.refused:
        raise typer.Exit(1)


def compare(
    these: Annotated[list[Path], typer.Argument(metavar="A [B]", help="Two bundles, or one or two result files.")],
    out: Store = STORE,
    seed: Seed = None,
    quick: Quick = False,
) -> None:
    """Compare two bundles, measured now and in turn, or the subjects of one or two results.

    The ratio comes with a 99 % interval. One that holds 1 shows no difference. Two results were measured at different
    times: what else had changed by then is in their ratio.
    """
    from qlot.benchmarks.drivers.host.run import HostRequest
    from qlot.benchmarks.report.facts import compared, within
    from qlot.benchmarks.report.tables import interval
    from qlot.benchmarks.results.parse import read_result

    if len(these) > 2:
        raise typer.BadParameter("at most two", param_hint="A B")
    if all(path.is_dir() for path in these):
        if len(these) != 2:
            raise typer.BadParameter("two bundles, or results", param_hint="A B")
        found = list(within(_measured(HostRequest(tuple(these), seed=seed, quick=quick), out)))
    else:
        results = [read_result(path) for path in these]
        found = (
            list(within(results[0]))
            if len(results) == 1
            else [c for a in results[1].subjects for b in results[0].subjects if a.name == b.name
                  for c in compared(a, b, paired=False)]
        )  # fmt: skip
    if not found:
        raise QlotError("nothing was measured in both: compare runs of the same bundles, or one run of two.")
    console = Console(file=sys.stdout)
    for c in found:
        line = f"{c.above} over {c.below}, {c.part}, K = {c.iterations}: {interval(c.ratio)}: {c.verdict}"
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def profile(
    bundle: Annotated[Path, typer.Argument(metavar="BUNDLE", help="Folder of an onnx bundle.", show_default=False)],
    most: Annotated[int, typer.Option(min=1, metavar="N", help="Operators to show.")] = 10,
) -> None:
    """Name the operators that take a stage's time, as ONNX Runtime tells on this machine."""
    from rich.table import Table

    from qlot.benchmarks.drivers.host.profile import profile as run
    from qlot.runtime.bundle.folder import Bundle

    console = Console()
    for found in run(Bundle.open(bundle)):
        kinds = Table("type", "nodes", "ms", "share", title=f"{found.stage}: by type", box=None, title_justify="left")
        for o in found.kinds[:most]:
            kinds.add_row(o.kind, o.name, f"{o.milliseconds:.3f}", f"{o.share:.0%}")
        kinds.add_row("between them", "", f"{found.between:.3f}", "")
        slowest = Table("node", "type", "ms", "share", title=f"{found.stage}: slowest", box=None, title_justify="left")
        for o in found.operators[:most]:
            slowest.add_row(o.name[-48:], o.kind, f"{o.milliseconds:.3f}", f"{o.share:.0%}")
        console.print(kinds, slowest, sep="\n")


def text(
    result: Annotated[Path, typer.Argument(metavar="RESULT", help="A result file.", show_default=False)],
) -> None:
    """Print a result as text for a form, a message or a QR code: medians of rounds in place of samples.

    `qlot bench report` reads it out of a .txt or .md file, whatever is around it.
    """
    from qlot.benchmarks.results.parse import read_result
    from qlot.benchmarks.results.paste import to_text

    sys.stdout.write(to_text(read_result(result)) + "\n")


def commands(app: typer.Typer) -> None:
    """Register `bench` with its own commands."""
    bench = typer.Typer(
        help="Measure bundles by one protocol, and say what results of any device hold.",
        no_args_is_help=True,
        rich_markup_mode="markdown",
    )
    bench.command(
        epilog="Examples:\n\n- `qlot bench host bundle/`\n- `qlot bench host a/ b/ --peer face_landmarker.task`\n"
        "- `qlot bench host bundle/ --sustained 5m --soak 10000 --roofline`"
    )(host)
    bench.command(epilog="Example: `qlot bench report bench-results/ phone.txt --out report/`")(report)
    bench.command(epilog="Examples:\n\n- `qlot bench compare old/ new/`\n- `qlot bench compare run.json`")(compare)
    bench.command()(profile)
    bench.command()(text)
    app.add_typer(bench, name="bench")
