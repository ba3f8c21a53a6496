"""The body of `qlot inspect`: a bundle's manifest for human readers."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from qlot.runtime.bundle.folder import MANIFEST, Bundle
from qlot.runtime.bundle.manifest import Manifest, StageSpec


def show(path: Path, console: Console, as_json: bool = False) -> None:
    """Print a bundle's manifest as tables, or as JSON. All files are checked first.

    Raises:
        BundleError: the bundle cannot be used as it is on disk.
    """
    bundle = Bundle.open(path)
    manifest = bundle.manifest
    if as_json:
        console.file.write(manifest.model_dump_json(indent=2) + "\n")
        return
    _pairs(console, str(path), _model(manifest))
    _pairs(console, f"Scheme {manifest.scheme.name} (asked for: {manifest.scheme.requested})", _scheme(manifest))
    for name, stage in manifest.stages.items():
        _stage(console, name, stage)
    _pairs(console, "State and tracking", _state(manifest))
    _pairs(console, "Sizes", _sizes(bundle), numbers=True)
    _pairs(console, "Cost, multiply-accumulates", _cost(manifest), numbers=True)
    _pairs(console, "Parity with the reference, pixels of the network input", _parity(manifest))
    _pairs(console, "Made with", manifest.tools.items())


def _pairs(console: Console, title: str, rows: Iterable[tuple[str, str]], numbers: bool = False) -> None:
    table = Table(show_header=False, box=None, padding=(0, 2, 0, 2))
    table.add_column(style="dim", no_wrap=not numbers)
    table.add_column(justify="right" if numbers else "left", overflow="fold")
    for label, value in rows:
        table.add_row(Text(label), Text(value))
    console.print(Text(title, style="bold"))
    console.print(table)
    console.print()


def _model(m: Manifest) -> list[tuple[str, str]]:
    low, high = m.preprocessing.range
    x, y = m.preprocessing.crop.center
    size = m.preprocessing.size
    ios = f" from iOS {m.min_ios}" if m.min_ios else ""
    image = f"{size}x{size} {m.preprocessing.color} in [{low:g}, {high:g}], {m.preprocessing.layout}"
    if m.stages["extractor"].inputs[0].dtype == "uint8":
        image = f"{size}x{size} {m.preprocessing.color}, a Core ML image of 8 bits a channel"
    return [
        ("model", f"{m.model.preset}, {m.model.parameters:,} parameters"),
        ("weights", f"{m.model.checkpoint} (sha256 {m.model.checkpoint_sha256[:12]}), {m.model.licence}"),
        ("target", f"{m.target}{ios}, {m.lowering} correlation, schema {m.schema_version}"),
        ("layout", f"{m.layout.name}, {len(m.layout.points)} landmarks, {len(m.layout.edges)} edges"),
        ("groups", ", ".join(f"{name} {len(points)}" for name, points in m.layout.groups.items()) or "none"),
        ("image input", image),
        (
            "crop",
            f"centre ({x:g}, {y:g}), side {m.preprocessing.crop.side:g} canonical units, "
            f"{m.preprocessing.crop.resampling}",
        ),
        ("iterations", f"{m.iterations.cold} cold, {m.iterations.tracking} tracking"),
        ("steady", f"unit {m.steady.unit:g} sigma" if m.steady.unit else "off"),
        ("gate", f"radius {m.gate.radius:g} px, cutoff {m.gate.cutoff:g}" if m.gate.radius else "off"),
    ]


def _scheme(m: Manifest) -> list[tuple[str, str]]:
    calibration = m.scheme.calibration
    text = (
        "none"
        if calibration is None
        else f"{calibration.frames} frames of {calibration.source} (sha256 {calibration.sha256[:12]})"
    )
    if calibration and calibration.calls:
        calls = ", ".join(f"{count} of the {name.replace('_', ' ')}" for name, count in calibration.calls.items())
        text += f"; calls recorded: {calls}; cold starts: {calibration.cold_starts}"
    return [*m.scheme.rules.items(), ("calibration", text)]


def _stage(console: Console, name: str, stage: StageSpec) -> None:
    steps = {0: "once per frame", 1: "one refinement step"}.get(
        stage.iterations, f"{stage.iterations} refinement steps"
    )
    place = stage.file if stage.function is None else f"{stage.file} ({stage.function})"
    console.print(Text(f"{name}: {place}, {steps}", style="bold"))
    rows = [
        (direction, tensor.name, "x".join(map(str, tensor.shape)), tensor.dtype, tensor.unit, tensor.meaning)
        for direction, tensors in (("in", stage.inputs), ("out", stage.outputs))
        for tensor in tensors
    ]
    widths = [max((len(row[i]) for row in rows), default=0) for i in range(5)]
    for *row, meaning in rows:  # the meaning has lines of its own, so that 80 columns are enough
        console.print(Text("  " + "  ".join(f"{cell:<{w}}" for cell, w in zip(row, widths, strict=True)).rstrip()))
        console.print(Padding(Text(meaning, style="dim"), (0, 0, 0, 7)))
    ops = sorted(stage.ops.items(), key=lambda item: (-item[1], item[0]))
    console.print(Text(f"{sum(stage.ops.values())} operators: " + ", ".join(f"{op} {count}" for op, count in ops)))
    if stage.delegation is not None:
        split = stage.delegation
        outside = ", ".join(f"{op} {count}" for op, count in split.outside.items()) or "nothing"
        parts = f"{split.partitions} partition{'s' * (split.partitions != 1)}"
        console.print(Text(f"{split.delegate}: {parts}, outside: {outside}"))
    console.print()


def _state(m: Manifest) -> list[tuple[str, str]]:
    low, high = m.state.clamp_log_sigma
    return [
        ("landmarks", f"{m.state.landmarks}: x, y, log sigma x, log sigma y, artanh rho, dx, dy"),
        ("hidden", str(m.state.hidden)),
        ("start", m.state.init),
        ("reset", m.state.reset),
        ("crop change", m.state.crop_change),
        ("clamps", f"|x|, |y| <= {m.state.clamp_position:g} half sides, {low:g} <= log sigma <= {high:g}"),
        (
            "confidence",
            f"found from {m.confidence.found:.3g}, lost below {m.confidence.lost:.3g}; {m.confidence.calibration}",
        ),
        ("lost", f"after {m.tracking.lost_after:g} s below, or after a gap of {m.tracking.max_gap:g} s"),
    ]


def _sizes(bundle: Bundle) -> list[tuple[str, str]]:
    golden = bundle.manifest.golden
    sizes = {file.path: file.bytes for file in bundle.manifest.files} | {
        MANIFEST: (bundle.path / MANIFEST).stat().st_size
    }
    folder = "" if golden.index is None else golden.index.rpartition("/")[0] + "/"
    without = sum(size for path, size in sizes.items() if not (folder and path.startswith(folder)))
    rows = [*sizes.items(), ("whole", sum(sizes.values()))]
    if golden.included:
        rows.append(("without the golden sequence", without))
    return [(label, f"{size / 1e6:.3f} MB") for label, size in rows]


def _cost(m: Manifest) -> list[tuple[str, str]]:
    extractor, step = m.stages["extractor"].macs, m.stages["refiner"].macs
    rows: list[tuple[str, int]] = [(name, stage.macs) for name, stage in m.stages.items()]
    rows += [
        (f"{kind} frame", extractor + count * step)
        for kind, count in (("cold", m.iterations.cold), ("tracked", m.iterations.tracking))
    ]
    return [(label, f"{macs / 1e6:.1f} M") for label, macs in rows]


def _parity(m: Manifest) -> list[tuple[str, str]]:
    p = m.parity
    if p is None:
        return [("measured", "no")]
    return [
        ("reference", p.reference),
        ("clip", f"{p.clip}, {p.frames} frames"),
        ("median, 99 %, max", f"{p.median_px:.2g}, {p.p99_px:.2g}, {p.max_px:.2g}"),
        ("max of frames' last steps", f"{p.max_result_px:.2g}"),
        ("worst", f"frame {p.worst.frame}, step {p.worst.step}, {p.worst.landmark}"),
        ("tolerance", f"{p.tolerance.px:g}"),
        ("golden sequence", f"{m.golden.frames} frames" if m.golden.included else "none: exported with --no-golden"),
    ]
