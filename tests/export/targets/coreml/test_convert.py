"""The Core ML target on a small network: what is converted is what the scheme says, and runs in the interpreter."""

from __future__ import annotations

import dataclasses
import functools
import json
import math
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from qlot.export.errors import TargetError
from qlot.export.graphs.schemes import plan_for
from qlot.export.graphs.stages import Stage
from qlot.export.targets import load_target
from qlot.runtime.bundle.folder import Bundle, check_paths
from qlot.runtime.bundle.manifest import Scheme
from qlot.runtime.errors import IntegrityError, ParityError
from qlot.runtime.network.replay import replay
from qlot.runtime.network.sessions import open_stage
from qlot.runtime.quiet import quiet
from tests.export import small
from tests.export.modules import HIDDEN_LINEARS, SLOTS

pytest.importorskip("coremltools", reason="needs the extra coreml")

from qlot.export.targets.coreml import convert as coreml
from qlot.export.targets.coreml import quantise as coreml_quantise
from qlot.export.targets.coreml.program import check_products, operations, products
from qlot.mil import from_model
from qlot.mil.calibration import record_ranges
from qlot.mil.package import load_program, read_spec
from qlot.mil.ports import port_of
from tests.export.coreml_graphs import SCHEMES, STAGES, WEIGHTS, feeds, graph, lowered, relative, run, traced

pytestmark = pytest.mark.filterwarnings("ignore")  # the converter's own, by the dozen


@functools.cache
def package(name: str, scheme: Scheme) -> tuple[Any, Any]:
    """Read the package back: its description, and coremltools' program."""
    with tempfile.TemporaryDirectory() as folder:
        for inside, data in graph(name, scheme).files.items():
            path = Path(folder) / inside
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        spec, weights = read_spec(Path(folder))
        return spec, load_program(spec, weights, name)


def computed(name: str, scheme: Scheme, arithmetic: str) -> set[str]:
    """Return the modules whose products compute in a certain way."""
    known = coreml.weight_paths(traced(name))
    found = products(operations(package(name, scheme)[1]), known)
    return {p.path for p in found if p.path and p.arithmetic == arithmetic}


@pytest.mark.parametrize("name", STAGES)
def test_fp32_is_pytorch_wherever_the_landmarks_are(name: str) -> None:
    stage = small.stage("dense", name)
    for seed in range(3):
        inputs = small.feeds_of(stage, seed)  # landmarks inside and outside the picture
        found, wanted = run(graph(name, "fp32").files, name, inputs), small.run_torch(stage, inputs)
        for key, value in wanted.items():
            np.testing.assert_allclose(found[key], value, atol=2e-5 * max(1, np.abs(value).max()), err_msg=key)


@pytest.mark.parametrize("name", STAGES)
def test_the_schemes_err_in_their_order_and_shrink_the_weights(name: str) -> None:
    inputs = dict(feeds(name)[3])
    wanted = small.run_torch(small.stage("dense", name), inputs)
    errors = {s: relative(run(graph(name, s).files, name, inputs), wanted) for s in SCHEMES}
    assert errors["fp32"] < 1e-5 < errors["fp16"] < 2e-3
    assert errors["fp16"] < errors["w8"] < 0.1
    if name == "extractor":
        assert errors["w8"] < errors["w8a8"] < 0.3
    else:  # the refiner rounds no activation
        assert errors["w8"] == errors["w8a8"] and "quantize" not in graph(name, "w8a8").ops
    sizes = {s: len(graph(name, s).files[WEIGHTS]) for s in SCHEMES}
    assert sizes["w8"] < sizes["fp16"] < sizes["fp32"]
    assert sizes["w8a8"] < sizes["fp16"]


@pytest.mark.parametrize(
    ("scheme", "arithmetic", "of_refiner"),
    [("fp16", "float16", "float16"), ("w8", "int8 weights", "int8 weights"), ("w8a8", "int8", "int8 weights")],
)
def test_what_is_computed_otherwise_is_what_the_plan_names(scheme: Scheme, arithmetic: str, of_refiner: str) -> None:
    linears = {p.removeprefix("model.refiner.") for p in computed("refiner", scheme, of_refiner)}
    assert linears == HIDDEN_LINEARS | (SLOTS if scheme != "fp16" else set())
    assert not computed("refiner", "w8a8", "int8")
    module = small.stage("dense", "extractor").module
    layers = {p for p, m in module.named_modules() if isinstance(m, nn.Conv2d)}
    assert computed("extractor", scheme, arithmetic) == {p for p in layers if not (scheme == "w8" and ".stem." in p)}
    assert not computed("refiner", "fp32", arithmetic)


def test_between_convolutions_nothing_is_cast() -> None:
    ops = graph("extractor", "fp16").ops
    assert ops["cast"] == 1 + 4  # the picture; three maps and what the context is averaged from
    assert "cast" not in graph("extractor", "fp32").ops


def test_int8_is_static_and_ends_in_floats() -> None:
    for name in STAGES:
        _, program = package(name, "w8a8")
        (main,) = program.functions.values()
        assert {port_of(v).dtype for v in (*main.inputs.values(), *main.outputs)} == {"float32"}
        for op in operations(program):
            if op.op_type in ("quantize", "dequantize"):
                assert op.scale.val is not None, "a scale that is computed is no static one"


def test_a_convolution_before_a_clamp_has_the_clamps_range() -> None:
    model = lowered("extractor", half=True)
    with quiet():
        ranges, program = record_ranges(from_model(model), feeds("extractor")[:1]), coreml_quantise.load(model)
    before = dict(ranges)
    coreml_quantise.saturate(program, ranges)
    clamps = [op for op in operations(program) if op.op_type == "clip"]
    changed = {name for name, pair in ranges.items() if pair != before[name]}
    assert changed <= {op.x.name for op in clamps}
    assert len(changed) > len(clamps) / 2
    assert all(ranges[op.x.name] == ranges[op.outputs[0].name] for op in clamps)


def test_macs_are_what_the_modules_do() -> None:
    stage = small.stage("dense", "extractor")
    maps = [t.shape for t in stage.outputs if t.name.startswith("map_")]
    kernels = small.SMALL.correlation_kernels
    counted = sum(math.prod(s) * small.SMALL.channels // s[3] * r * r for s, r in zip(maps, kernels, strict=True))

    def count(module: nn.Module, _: object, output: torch.Tensor) -> None:
        nonlocal counted
        counted += output.numel() * module.weight[0].numel()

    hooks = [m.register_forward_hook(count) for m in stage.module.modules() if isinstance(m, (nn.Conv2d, nn.Linear))]
    small.run_torch(stage, small.feeds_of(stage))
    for hook in hooks:
        hook.remove()
    assert graph("extractor", "fp32").macs == graph("extractor", "w8a8").macs == counted


@pytest.mark.parametrize("name", STAGES)
def test_xcode_shows_what_it_is_and_the_units(name: str) -> None:
    spec, _ = package(name, "w8a8")
    stage, metadata = small.stage("dense", name), spec.description.metadata
    assert name in metadata.shortDescription
    assert "w8a8" in metadata.shortDescription
    assert metadata.author and metadata.license and metadata.versionString
    texts = {f.name: f.shortDescription for f in (*spec.description.input, *spec.description.output)}
    tensors = {t.name: t for t in (*stage.inputs, *stage.outputs)}
    assert texts.keys() == tensors.keys()
    assert all(t.meaning in texts[n] and t.unit in texts[n] for n, t in tensors.items())


def test_the_same_model_is_the_same_bytes_and_nothing_of_this_machine_ships() -> None:
    stage, plan = small.stage("dense", "refiner"), plan_for("coreml", "fp32")
    model = lowered("refiner", half=False)
    files = coreml.package(coreml.described(model.get_spec(), stage, plan), Path(model.weights_dir))
    assert files == graph("refiner", "fp32").files
    check_paths(f"refiner.mlpackage/{path}" for path in files)
    assert json.loads(files["Manifest.json"])["fileFormatVersion"] == "1.0.0"
    for mark in (b"/root", b"/home", b"/tmp", b"site-packages", b".py", b"conversion_date"):
        assert mark not in b"".join(files.values()), mark
    assert b"conversion_date" in model.get_spec().SerializeToString()  # the check would see such a mark


@pytest.mark.parametrize("name", STAGES)
def test_lost_and_surplus_products_are_refused(name: str) -> None:
    stage, known = small.stage("dense", name), coreml.weight_paths(traced(name))
    ops = operations(package(name, "w8")[1])
    plan = plan_for("coreml", "w8")
    good = products(ops, known)
    check_products(good, stage, plan)
    with pytest.raises(TargetError, match=f"the converted {name} computes .* in int8 weights, wanted float32"):
        check_products(products(ops, {}), stage, plan)
    if name == "extractor":
        with pytest.raises(TargetError, match=r"extractor computes model.* in (int8 w|float).*, wanted int8"):
            check_products(good, stage, plan_for("coreml", "w8a8"))
    named = next(p for p in good if p.arithmetic == "int8 weights")
    with pytest.raises(TargetError, match=f"has 0 products of {named.path}, wanted 1"):
        check_products([p for p in good if p is not named], stage, plan)
    with pytest.raises(TargetError, match=f"has 2 products of {named.path}, wanted 1"):
        check_products([*good, named], stage, plan)
    stranger = {"extractor": "model.backbone.more.conv", "refiner": "model.refiner.encoder.branches.9.linear"}[name]
    with pytest.raises(TargetError, match=f"has 1 products of {stranger}, wanted 0"):
        check_products([*good, dataclasses.replace(named, path=stranger)], stage, plan)


def test_what_returns_no_numbers_is_refused() -> None:
    stage = small.stage("dense", "refiner")
    broken = {k: np.full_like(v, np.nan) for k, v in small.feeds_of(stage).items()}
    with pytest.raises(TargetError, match=r"not finite in: .*displacement"):
        coreml.check(graph("refiner", "fp32").files, stage, [broken])
    coreml.check(graph("refiner", "fp32").files, stage, None)


def test_a_package_that_does_not_load_is_refused() -> None:
    files = {**graph("refiner", "fp32").files}
    del files[WEIGHTS]
    with pytest.raises(TargetError, match=r"the converted refiner does not run: .*weights file weight.bin is missing"):
        coreml.check(files, small.stage("dense", "refiner"), None)


def test_what_cannot_be_converted_is_refused_first() -> None:
    assert load_target("coreml").default_lowering == "dense"
    with pytest.raises(TargetError, match="dense lowering only"):
        coreml.convert(small.stage("windowed", "extractor"), plan_for("coreml", "fp32"), None)
    for nothing in (None, []):
        with pytest.raises(TargetError, match="w8a8 needs calibration inputs for the extractor"):
            coreml.convert(small.stage("dense", "extractor"), plan_for("coreml", "w8a8"), nothing)


def test_a_failure_of_the_converter_is_wrapped() -> None:
    class Fails(nn.Module):
        model = small.stage("dense", "refiner").module.model

        def forward(self, landmarks: torch.Tensor) -> torch.Tensor:
            return landmarks[: int(landmarks.sum())]  # a shape out of data

    stage = small.stage("dense", "refiner")
    landmarks = next(t for t in stage.inputs if t.name == "landmarks")
    broken = Stage("refiner", Fails(), (landmarks,), stage.outputs[:1], 1)
    with pytest.raises(TargetError, match="coremltools failed on the refiner"):
        coreml.convert(broken, plan_for("coreml", "fp32"), None)


# --- in a bundle ---------------------------------------------------------------------------------------------------


def bundle(folder: Path, change: Mapping[str, bytes] | None = None) -> Path:
    graphs = {name: graph(name, "fp32") for name in STAGES}
    if change:
        graphs["refiner"] = dataclasses.replace(graphs["refiner"], files={**graphs["refiner"].files, **change})
    return small.write_bundle(folder, graphs, target="coreml")


def test_a_bundle_of_packages_replays_and_names_its_engine(tmp_path: Path) -> None:
    opened = Bundle.open(bundle(tmp_path / "bundle"))
    assert opened.manifest.stages["refiner"].file == "refiner.mlpackage"
    assert f"refiner.mlpackage/{WEIGHTS}" in {f.path for f in opened.manifest.files}
    report = replay(opened)
    report.check()
    assert report.max_px < 1e-3
    assert report.engine == "MIL interpreter (not Apple hardware)"


def test_broken_weights_fail_parity(tmp_path: Path) -> None:
    weights = bytearray(graph("refiner", "fp32").files[WEIGHTS])
    at = weights.index(small.stage("dense", "refiner").module.model.refiner.delta.weight.numpy().tobytes())
    weights[at + 3] ^= 0x01  # exponent and sign of one weight of the output layer
    opened = Bundle.open(bundle(tmp_path / "bundle", {WEIGHTS: bytes(weights)}))
    with pytest.raises(ParityError, match=r"px off at frame .*MIL interpreter"):
        replay(opened).check()


def test_a_tampered_folder_is_refused(tmp_path: Path) -> None:
    folder = bundle(tmp_path / "bundle")
    opened, path = Bundle.open(folder), folder / "refiner.mlpackage" / WEIGHTS
    good = path.read_bytes()
    path.write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
    for use in (lambda: Bundle.open(folder), lambda: open_stage(opened, "refiner")):
        with pytest.raises(IntegrityError, match=r"weight\.bin' has another SHA-256"):
            use()
    path.write_bytes(good)
    (path.parent / "more.bin").touch()
    with pytest.raises(IntegrityError, match=r"refiner.mlpackage/.*more.bin' is in the bundle but not in its manifest"):
        Bundle.open(folder)


@pytest.mark.slow
def test_an_unrolled_refiner_converts_too() -> None:
    stage = small.stage("dense", "refiner_unrolled")
    for scheme in ("fp32", "w8a8"):
        plan = plan_for("coreml", scheme)
        recorded = [small.feeds_of(stage, seed) for seed in range(2)]
        converted = coreml.convert(stage, plan, recorded if plan.calibrated else None)
        found = run(converted.files, "refiner_unrolled", recorded[0])
        assert relative(found, small.run_torch(stage, recorded[0])) < (1e-4 if scheme == "fp32" else 1)
