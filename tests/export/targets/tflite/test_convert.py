"""The TFLite target on a small network: what is converted is what the scheme says, and runs in one partition."""

from __future__ import annotations

import dataclasses
import math
import re

import numpy as np
import pytest
import torch
from torch import nn

from qlot.export.errors import TargetError
from qlot.export.graphs.schemes import plan_for
from qlot.export.graphs.stages import Stage
from qlot.runtime.bundle.manifest import DelegationSpec, Scheme, StageSpec
from tests.export import small
from tests.export.modules import HIDDEN_LINEARS, SLOTS

litert_torch = pytest.importorskip("litert_torch", reason="needs the extra tflite")

from ai_edge_litert.tools import flatbuffer_utils  # noqa: E402

from qlot.export.targets.tflite import convert as tflite  # noqa: E402
from qlot.export.targets.tflite.graph import module_path, operators, read, scopes  # noqa: E402
from qlot.export.targets.tflite.modules import NamedStage  # noqa: E402
from qlot.export.targets.tflite.quantise import check_names  # noqa: E402
from qlot.runtime.network.sessions.tflite import TFLiteSession  # noqa: E402
from tests.export.tflite_graphs import SCHEMES, STAGES, graph, traced  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore")  # the converter's own, by the dozen

CONVOLUTIONS = ("CONV_2D", "DEPTHWISE_CONV_2D")
SOURCE_FILE = re.compile(rb"[\w/.-]+\.py\b")


def run(data: bytes, name: str, feeds: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    stage = small.stage("dense", name)
    spec = StageSpec(file="", iterations=stage.iterations, inputs=stage.inputs, outputs=stage.outputs, macs=0, ops={})
    return TFLiteSession(data, spec, name).run(feeds)


def relative(found: dict[str, np.ndarray], wanted: dict[str, np.ndarray]) -> float:
    return max(float(np.sqrt(np.square(found[k] - v).mean()) / v.std()) for k, v in wanted.items())


@pytest.mark.parametrize("name", STAGES)
def test_fp32_is_pytorch_wherever_the_landmarks_are(name: str) -> None:
    stage = small.stage("dense", name)
    for seed in range(5):
        feeds = small.feeds_of(stage, seed)  # landmarks inside and outside the picture
        found, wanted = run(graph(name, "fp32").data, name, feeds), small.run_torch(stage, feeds)
        for key, value in wanted.items():
            np.testing.assert_allclose(found[key], value, atol=2e-5 * max(1, np.abs(value).max()), err_msg=key)


@pytest.mark.parametrize("name", STAGES)
@pytest.mark.parametrize("scheme", SCHEMES)
def test_every_scheme_runs_in_one_partition_under_canonical_names(name: str, scheme: Scheme) -> None:
    converted = graph(name, scheme)
    assert converted.suffix == ".tflite"
    assert converted.delegation == DelegationSpec(delegate="XNNPACK", partitions=1, outside={})
    assert "DELEGATE" not in converted.ops
    assert not set(converted.ops) & {"GATHER", "GATHER_ND", "MAXIMUM" if scheme == "w8a8" else "", "CUSTOM"}
    model = flatbuffer_utils.read_model_from_bytearray(bytearray(converted.data))
    (signature,) = model.signatureDefs
    stage = small.stage("dense", name)
    assert signature.signatureKey.decode() == name
    assert {t.name.decode() for t in signature.inputs} == {t.name for t in stage.inputs}
    assert {t.name.decode() for t in signature.outputs} == {t.name for t in stage.outputs}


@pytest.mark.parametrize("name", STAGES)
def test_the_schemes_err_in_their_order_and_shrink_the_file(name: str) -> None:
    feeds = dict(small.recorded("dense")[small.stage("dense", name).name][3])
    wanted = small.run_torch(small.stage("dense", name), feeds)
    errors = {s: relative(run(graph(name, s).data, name, feeds), wanted) for s in SCHEMES}
    assert errors["fp32"] < 1e-5 < errors["fp16"] < 2e-3
    assert errors["fp16"] < errors["w8"] < 0.1
    if name == "extractor":
        assert errors["w8"] < errors["w8a8"] < 0.3
    else:  # the refiner rounds no activation
        assert errors["w8"] == errors["w8a8"] and "QUANTIZE" not in graph(name, "w8a8").ops
    sizes = {s: len(graph(name, s).data) for s in SCHEMES}
    assert sizes["w8"] < sizes["fp16"] < sizes["fp32"]
    assert sizes["w8a8"] < sizes["fp32"]


def stored_as(data: bytes, kind: str) -> set[str]:
    """Return the modules whose convolution or product reads weights of a kind, through a DEQUANTIZE or directly."""
    model = flatbuffer_utils.read_model_from_bytearray(bytearray(data))
    tensors, found = model.subgraphs[0].tensors, set()
    makers = {t: o for o in model.subgraphs[0].operators for t in o.outputs}
    for node in model.subgraphs[0].operators:
        if flatbuffer_utils.opcode_to_name(model, node.opcodeIndex) in (
            "CONV_2D",
            "DEPTHWISE_CONV_2D",
            "FULLY_CONNECTED",
            "BATCH_MATMUL",
        ):
            weights = node.inputs[1] if node.inputs[1] not in makers else makers[node.inputs[1]].inputs[0]
            if flatbuffer_utils.type_to_name(tensors[weights].type).lower() == kind:
                found.add(tensors[node.outputs[0]].name.decode().partition(";")[0])
    return found


@pytest.mark.parametrize(("scheme", "kind"), [("fp16", "float16"), ("w8", "int8"), ("w8a8", "int8")])
def test_what_is_stored_small_is_what_the_plan_names(scheme: Scheme, kind: str) -> None:
    linears = {p.removeprefix("model.refiner.") for p in stored_as(graph("refiner", scheme).data, kind)}
    if kind == "float16":  # there also larger weights of all else
        assert linears > HIDDEN_LINEARS | SLOTS and "delta" not in linears
    else:
        assert linears == HIDDEN_LINEARS | SLOTS
    convolutions = stored_as(graph("extractor", scheme).data, kind)
    module = small.stage("dense", "extractor").module
    layers = {p for p, m in module.named_modules() if isinstance(m, nn.Conv2d)}
    # A fused clamp leaves its block's name instead of its convolution's.
    wanted = {p for p in layers if not (scheme == "w8" and ".stem." in p)}
    assert {p if p in layers else f"{p}.conv" for p in convolutions} == wanted
    assert not stored_as(graph("refiner", "fp32").data, kind)


def test_int8_is_static_and_ends_in_floats() -> None:
    for name in STAGES:
        model = flatbuffer_utils.read_model_from_bytearray(bytearray(graph(name, "w8a8").data))
        main = model.subgraphs[0]
        for node in main.operators:
            if flatbuffer_utils.opcode_to_name(model, node.opcodeIndex) in CONVOLUTIONS:
                data, weights = (main.tensors[i] for i in node.inputs[:2])
                int8 = [flatbuffer_utils.type_to_name(t.type) == "INT8" for t in (data, weights)]
                assert int8[0] == int8[1], "half quantised: dynamic arithmetic"
        for index in (*main.inputs, *main.outputs):
            assert flatbuffer_utils.type_to_name(main.tensors[index].type) == "FLOAT32"


def test_a_mixed_up_clamp_would_show() -> None:
    """The clamps of the int8 extractor, replaced by relu and addition, do clamp: without the ReLU it strays."""
    feeds = dict(small.recorded("dense")["extractor"][3])
    wanted = small.run_torch(small.stage("dense", "extractor"), feeds)
    model = flatbuffer_utils.read_model_from_bytearray(bytearray(graph("extractor", "w8a8").data))
    for node in model.subgraphs[0].operators:
        if flatbuffer_utils.opcode_to_name(model, node.opcodeIndex) in CONVOLUTIONS:
            node.builtinOptions.fusedActivationFunction = 0
    loose = bytes(flatbuffer_utils.convert_object_to_bytearray(model))
    near = relative(run(graph("extractor", "w8a8").data, "extractor", feeds), wanted)
    assert relative(run(loose, "extractor", feeds), wanted) > 1.5 * near


def test_macs_are_what_the_modules_do() -> None:
    stage = small.stage("dense", "extractor")
    maps = [t.shape for t in stage.outputs if t.name.startswith("map_")]
    kernels = small.SMALL.correlation_kernels
    counted = sum(math.prod(s) * small.SMALL.channels // s[3] * r * r for s, r in zip(maps, kernels, strict=True))

    def count(module: nn.Module, _: object, output: object) -> None:
        nonlocal counted
        counted += output.numel() * module.weight[0].numel()

    hooks = [m.register_forward_hook(count) for m in stage.module.modules() if isinstance(m, (nn.Conv2d, nn.Linear))]
    small.run_torch(stage, small.feeds_of(stage))
    for hook in hooks:
        hook.remove()
    assert graph("extractor", "fp32").macs == graph("extractor", "w8a8").macs == counted


@pytest.mark.parametrize("name", STAGES)
def test_nothing_of_this_machine_ships(name: str) -> None:
    data = graph(name, "w8a8").data
    for mark in (b"/root", b"/home", b"/tmp", b"site-packages", b"qlot.export"):
        assert mark not in data, mark
    assert not SOURCE_FILE.search(data)
    assert b"qlot.export" in traced(name)  # the check would see such a mark: the converter's own names bear it


def test_names_of_operators_are_paths_of_modules() -> None:
    stage = small.stage("dense", "refiner")
    named = NamedStage(stage)
    known = scopes(named)
    paths = {p for p, _ in named.named_modules()}
    assert set(known.values()) <= paths
    found = {module_path(o.output, known) for o in operators(read(traced("refiner")))}
    assert {f"stage.model.refiner.{p}" for p in HIDDEN_LINEARS} <= found <= paths | {""}


@pytest.mark.parametrize("name", STAGES)
def test_lost_names_are_refused(name: str) -> None:
    stage, found = small.stage("dense", name), operators(read(traced(name)))
    known = {s: p.removeprefix("stage.") for s, p in scopes(NamedStage(stage)).items()}
    for scheme in SCHEMES:
        check_names(found, stage, plan_for("tflite", scheme), known)
    check_names(found, stage, plan_for("tflite", "fp32"), {})  # nothing is asked for by name
    with pytest.raises(TargetError, match=f"the converted {name} does not name the operators of: model"):
        check_names(found, stage, plan_for("tflite", "w8"), {})


class Broken(nn.Module):
    """An operator that XNNPACK does not have, between two that it has."""

    def forward(self, landmarks: torch.Tensor) -> torch.Tensor:
        return torch.sign(landmarks.exp() - 1).abs() + 1


def _tiny(module: nn.Module, name: str) -> Stage:
    spec = small.stage("dense", "refiner").inputs[-2]
    assert spec.name == "landmarks"
    return Stage(name, module, (spec,), (spec.model_copy(update={"name": "displacement"}),), 1)  # type: ignore[arg-type]


def test_a_refiner_in_several_partitions_is_refused_and_says_why() -> None:
    stage = _tiny(Broken(), "refiner")
    data = tflite.trace(stage, NamedStage(stage).eval())
    with pytest.raises(TargetError, match=r"refiner runs in 2 XNNPACK partitions, wanted 1; outside are: 1 SIGN"):
        tflite.check(data, stage, None)
    renamed = dataclasses.replace(stage, name="extractor")
    with pytest.raises(TargetError, match=r"does not run: .*its signatures are \['refiner'\], wanted 'extractor'"):
        tflite.check(data, renamed, None)


def test_what_returns_no_numbers_is_refused() -> None:
    stage = small.stage("dense", "refiner")
    feeds = {k: np.full_like(v, np.nan) for k, v in small.feeds_of(stage).items()}
    with pytest.raises(TargetError, match=r"not finite in: .*displacement"):
        tflite.check(graph("refiner", "fp32").data, stage, [feeds])
    assert tflite.check(graph("refiner", "fp32").data, stage, None) == DelegationSpec(
        delegate="XNNPACK", partitions=1, outside={}
    )


def test_an_extractor_may_leave_something_outside_but_a_broken_file_is_refused() -> None:
    with pytest.raises(
        TargetError, match="the converted refiner does not run: refiner: the file is not a TFLite model"
    ):
        tflite.check(b"no such thing", small.stage("dense", "refiner"), None)


def test_what_cannot_be_converted_is_refused_first() -> None:
    with pytest.raises(TargetError, match="dense lowering only"):
        tflite.convert(small.stage("windowed", "extractor"), plan_for("tflite", "fp32"), None)
    for feeds in (None, []):
        with pytest.raises(TargetError, match="w8a8 needs calibration inputs for the extractor"):
            tflite.convert(small.stage("dense", "extractor"), plan_for("tflite", "w8a8"), feeds)


def test_a_failure_of_the_converter_is_wrapped() -> None:
    class Fails(nn.Module):
        def forward(self, landmarks: torch.Tensor) -> torch.Tensor:
            return landmarks[: int(landmarks.sum())]  # a shape out of data

    stage = _tiny(Fails(), "refiner")
    with pytest.raises(TargetError, match="litert-torch failed on the refiner"):
        tflite.trace(stage, NamedStage(stage).eval())


@pytest.mark.slow
def test_an_unrolled_refiner_converts_too() -> None:
    stage = small.stage("dense", "refiner_unrolled")
    converted = tflite.convert(stage, plan_for("tflite", "fp32"), None)
    feeds = small.feeds_of(stage)
    found = run(converted.data, "refiner_unrolled", feeds)
    assert relative(found, small.run_torch(stage, feeds)) < 1e-4
