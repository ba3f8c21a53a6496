"""The result as tables."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from qlot.training.evaluation.results import (
    Estimate,
    Evaluation,
    FacelessResult,
    Normaliser,
    StillsResult,
    VideoResult,
    VideoRun,
    VideoTotals,
)


def show(result: Evaluation, console: Console) -> None:
    """Print a result, every figure with its unit and normaliser."""
    about, p = result.subject, result.protocol
    console.print(
        f"{about.name}: {about.kind}, {about.preset}, {about.parameters / 1e6:.2f} M parameters, {about.scheme}, "
        f"{about.engine}",
        highlight=False,
    )
    if result.stills:
        console.print(
            f"stills: crop off by up to {100 * p.crop_scale:g} % in scale and {100 * p.crop_shift:g} % of its side in "
            f"place, seed {p.seed}; cold start, {p.cold} iterations; [low, high]: {100 * p.interval:g} % over people",
            highlight=False,
            markup=False,
        )
        for stills in result.stills:
            console.print(_stills(stills))
            console.print(_groups(stills), highlight=False, markup=False)
            if stills.subsets:
                console.print(_subsets(stills))
    for video in result.video:
        _show_video(video, console, p.tracking)
    if result.faceless is not None:
        _show_faceless(result.faceless, console)
    for remark in result.remarks:
        console.print(f"remark: {remark}", highlight=False, markup=False)


def _stills(result: StillsResult) -> Table:
    levels = "/".join(f"{100 * float(level):g}" for level in result.coverage)
    shares = "/".join(f"{100 * share:.0f}" for share in result.coverage.values())
    title = f"{result.name}, {result.layout}: {result.faces} faces of {result.people} people"
    table = _table("over", "NME %", "median", "FR@10 %", "AUC@10 %", title=title)
    for one in result.accuracy:
        figures = (_interval(one.nme), _percent(one.median), _interval(one.fr10), _interval(one.auc10, 1))
        table.add_row(one.normaliser, *figures)
    if shares:
        table.caption = f"errors inside the {levels} % ellipses: {shares} %"
    return table


def _groups(result: StillsResult) -> str:
    groups = ", ".join(f"{name} {_percent(error)}" for name, error in result.groups.items())
    return f"NME % over {result.accuracy[0].normaliser} by group: {groups}"


def _subsets(result: StillsResult) -> Table:
    table = _table("pictures", "faces", "NME %", "FR@10 %", "AUC@10 %", title=f"{result.name}, {result.layout}")
    for name, part in result.subsets.items():
        table.add_row(name, str(part.faces), _percent(part.nme), _percent(part.fr10), _percent(part.auc10, 1))
    return table


def _show_video(result: VideoResult, console: Console, tracking: int) -> None:
    console.print(
        f"video, {result.layout}: started in the labels' crop, then {tracking} iteration(s) a frame in its own; "
        "flicker: RMS second difference, % of the face size; NMF: flicker of the errors, 256 px over the face size",
        highlight=False,
        markup=False,
    )
    for run in result.runs:
        console.print(_run(run))
        if any(clip.eyes for clip in run.clips):
            console.print(
                "eyes against the labels: aperture over frames, share of the blinks' depth and of the pupils' movement",
                highlight=False,
            )
            console.print(_eyes(run))
    if len(result.runs) == 2:
        console.print(_difference(result.runs[0].totals, result.runs[1].totals), highlight=False)


def _run(run: VideoRun) -> Table:
    main: Normaliser = next(iter(run.totals.nme), "outer eyes")
    header = ("clip", "frames", "tracked", "NME\n%", "FR@10\n%", "flicker\n%", "labels\n%", "ratio", "NMF", "ms")
    table = _table(*header, title=f"hidden state {run.hidden}; NME over {main}")
    for clip in run.clips:
        s = clip.stability
        ratio = s.flicker / s.label_flicker if s.flicker is not None and s.label_flicker else None
        table.add_row(
            f"{clip.source}{' (lost)' if clip.lost else ''}", str(clip.frames), str(clip.tracked),
            _percent(clip.nme.get(main)), _percent(clip.fr10), _percent(s.flicker, 3), _percent(s.label_flicker, 3),
            _number(ratio), _number(s.nmf), _number(clip.milliseconds),
        )  # fmt: skip
    t = run.totals
    table.add_section()
    table.add_row(
        f"mean, {t.lost} of {t.clips} lost", "", "", _percent(t.nme.get(main)), _percent(t.fr10),
        _percent(t.flicker, 3), _percent(t.label_flicker, 3), _number(t.flicker_ratio), _number(t.nmf), "",
    )  # fmt: skip
    if t.nme_ratio is not None:
        table.caption = f"NME over that of the stills in the same layout: {t.nme_ratio:.2f}"
    return table


def _eyes(run: VideoRun) -> Table:
    table = _table("clip", "aperture\nr", "blink\ndepth %", "pupils\n%")
    for clip in run.clips:
        if e := clip.eyes:
            table.add_row(clip.source, _number(e.aperture_r), _percent(e.blink_depth, 0), _percent(e.pupils, 0))
    return table


def _difference(carried: VideoTotals, reset: VideoTotals) -> str:
    parts = [
        f"{name} {_change(a, b)}"
        for name, a, b in (
            ("NME", next(iter(carried.nme.values()), None), next(iter(reset.nme.values()), None)),
            ("flicker", carried.flicker, reset.flicker),
            ("NMF", carried.nmf, reset.nmf),
        )
    ]
    return f"hidden state reset against carried: {', '.join(parts)}; lost {reset.lost} against {carried.lost}"


def _change(before: float | None, after: float | None) -> str:
    return "-" if not before or after is None else f"{100 * (after / before - 1):+.1f} %"


def _show_faceless(result: FacelessResult, console: Console) -> None:
    table = _table("frames without a face", "frames", "found", "per 1,000", "phantom\nframes %", title=result.layout)
    for one in result.false_acquisitions:
        figures = (str(one.frames), str(one.acquisitions), f"{one.per_1000_frames:.2f}", _percent(one.phantom_frames))
        table.add_row(one.kind, *figures)
    console.print(table)
    if not result.reacquisitions:
        return
    table = _table("a face that comes back", "was\ngiven up", "found after\nframes", "ms")
    for back in result.reacquisitions:
        waited = "not found" if back.frames is None else str(back.frames)
        table.add_row(back.source, "yes" if back.let_go else "no", waited, _number(back.milliseconds, 0))
    console.print(table)


def _table(*columns: str, title: str | None = None) -> Table:
    """Return a table that fits 80 columns: names wrap, figures never do."""
    table = Table(
        box=None, pad_edge=False, collapse_padding=True, title=title, title_justify="left", title_style="",
        caption_justify="left", caption_style="",
    )  # fmt: skip
    for i, name in enumerate(columns):
        table.add_column(name, justify="left" if i == 0 else "right", no_wrap=i > 0, overflow="fold")
    return table


def _interval(e: Estimate, digits: int = 2) -> str:
    low, high = (_percent(v, digits) for v in (e.low, e.high))
    return rf"{_percent(e.value, digits)} \[{low}, {high}]"


def _percent(value: float | None, digits: int = 2) -> str:
    return "-" if value is None else f"{100 * value:.{digits}f}"


def _number(value: float | None, digits: int = 2) -> str:
    return "-" if value is None else f"{value:.{digits}f}"
