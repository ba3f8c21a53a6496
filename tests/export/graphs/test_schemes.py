from __future__ import annotations

from typing import get_args

import pytest
from torch import nn

from qlot.export.errors import SchemeError, TargetError
from qlot.export.graphs.schemes import ALIASES, PLANS, plan_for
from qlot.export.targets import load_target
from qlot.model.layers import HeadedLinear
from qlot.runtime.bundle.manifest import Scheme, Target
from tests.export import small
from tests.export.modules import HIDDEN_LINEARS, SLOTS


@pytest.mark.parametrize("target", get_args(Target))
@pytest.mark.parametrize("scheme", get_args(Scheme))
def test_every_pair_is_in_the_table(target: Target, scheme: Scheme) -> None:
    if target not in PLANS[scheme].targets:
        with pytest.raises(
            SchemeError, match=f"{scheme} is experimental and for target coreml alone: .* nearest is w8"
        ):
            plan_for(target, scheme)
        return
    plan = plan_for(target, scheme)
    assert plan.name == scheme
    assert plan.rules.keys() == PLANS[scheme].rules.keys()  # a target changes what a group does, not the groups


def test_flags() -> None:
    assert {flag: plan_for("onnx", flag).name for flag in ALIASES} == {"fp16": "fp16", "int8": "w8a8"}


@pytest.mark.parametrize("scheme", ["int4", "", "FP16", "w8a16"])
def test_unknown_schemes(scheme: str) -> None:
    with pytest.raises(SchemeError, match=rf"unknown scheme '{scheme}'; there are: fp32, fp16, w8, w8a8"):
        plan_for("onnx", scheme)


def test_unknown_and_missing_targets() -> None:
    with pytest.raises(TargetError, match="unknown target 'torchscript'; there are: onnx, tflite, coreml"):
        load_target("torchscript")
    assert load_target("onnx").default_lowering == "windowed"


@pytest.mark.parametrize("lowering", ["dense", "windowed"])
def test_the_groups_name_modules_of_the_real_network(lowering: str) -> None:
    """A pattern that matches nothing, or a layer too many, is how a scheme would silently mean something else."""
    plan = PLANS["w8a8"]
    module = small.stage(lowering, "refiner").module
    kinds = (nn.Linear, HeadedLinear)
    linears = [n for n, m in module.named_modules() if isinstance(m, kinds) and "refiner." in n]
    named = {n.removeprefix("model.refiner.") for n in linears}
    assert {n for n in named if plan.quantised(f"model.refiner.{n}") == "int8 weights"} == HIDDEN_LINEARS | SLOTS
    assert {plan.quantised(f"model.refiner.{n}") for n in named} == {"int8 weights", "float32"}  # no int8 activations
    for kept in ("heads", "delta", "covariance", "gates", "mixer.read_logits", "encoder.film"):
        assert kept in named
        assert plan.quantised(f"model.refiner.{kept}") == "float32"
    assert plan.quantised("") == plan.quantised("model") == "float32"


def test_the_stem_is_a_group_of_its_own() -> None:
    module = small.stage("windowed", "extractor").module
    stem = {n for n, m in module.named_modules() if isinstance(m, nn.Conv2d) and ".stem." in n}
    assert stem
    for path in stem:
        kinds = {s: p.quantised(path) for s, p in PLANS.items()}
        assert {s: k for s, k in kinds.items() if k != "float32"} == {"fp16": "float16", "w8a8": "int8"}
        on = {t: plan_for(t, "w8a8").quantised(path) for t in get_args(Target)}
        assert on == {"onnx": "float32", "tflite": "int8", "coreml": "int8"}
    assert PLANS["w8"].quantised("model.backbone.stages.0.blocks.0.layers.0.conv") == "int8 weights"


def test_tolerances_grow_with_what_a_scheme_gives_up() -> None:
    order = [PLANS[s].tolerance.px for s in ("fp32", "fp16", "w8a8")]
    assert order == sorted(order)
    assert [s for s, p in PLANS.items() if p.calibrated] == ["w8a8"]
    assert all(p.name == s and p.rules for s, p in PLANS.items())
