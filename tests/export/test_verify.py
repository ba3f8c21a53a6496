"""Verification holds a bundle to what its export held it to."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from qlot.export import verify
from qlot.export.graphs.schemes import PLANS, plan_for
from qlot.runtime.bundle.folder import Bundle


def test_the_plan_is_the_targets_as_in_the_export(bundle_fp32: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = Bundle.open(bundle_fp32)
    scheme = bundle.manifest.scheme.model_copy(update={"name": "w8a8"})
    bundle = Bundle(bundle.path, bundle.manifest.model_copy(update={"scheme": scheme}))
    plans: list[Any] = []
    monkeypatch.setattr(verify, "record_levels", lambda *_: None)
    monkeypatch.setattr(verify, "measure_levels", lambda *arguments: plans.append(arguments[-1]))
    verify.verify_against_torch(bundle)
    assert plans == [plan_for("onnx", "w8a8")]
    assert plans != [PLANS["w8a8"]]  # the table's row alone, which no target has
