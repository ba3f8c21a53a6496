"""Results that nobody measured, for tests of what is made of them."""

from __future__ import annotations

from typing import Any

import numpy as np

from qlot.benchmarks.protocol.constants import protocol_sha256
from qlot.benchmarks.results.model import RunResult

ROUNDS = 6


def series(part: str, iterations: int, middle: float, seed: int = 0) -> dict[str, Any]:
    """Return a series whose rounds lie around a median; the same seed has the same noise."""
    rng = np.random.default_rng([seed, iterations])
    return {
        "part": part,
        "iterations": iterations,
        "rounds": [[round(float(x), 4) for x in middle * rng.lognormal(0, 0.02, 5)] for _ in range(ROUNDS)],
    }


def subject(name: str = "a bundle", landmarks: int = 98, speed: float = 1.0, **changes: Any) -> dict[str, Any]:
    """Return a bundle whose frame takes 1 + K ms times `speed`, and whose network takes half of that."""
    timed = [
        series(part, k, speed * share * (1 + k * landmarks / 98), 1)
        for part, share in (("frame", 1.0), ("network", 0.5))
        for k in (1, 2, 4)
    ]
    parts = ("preprocess", "extractor", "refiner", "postprocess", "network extractor", "network refiner")
    timed += [series(part, 1, speed * 0.25, 1) for part in parts]
    return {
        "name": name,
        "kind": "bundle",
        "bundle": {
            "manifest_sha256": f"{landmarks:064x}",
            "checkpoint_sha256": "c" * 64,
            "preset": "nano",
            "target": "onnx",
            "scheme": "fp32",
            "lowering": "windowed",
            "layout": f"of {landmarks}",
            "landmarks": landmarks,
            "size": 112,
            "steps": 1,
            "bytes": 1_000_000,
            "macs": {"extractor": 30_000_000, "refiner": 10_000_000},
        },
        "engine": "an engine 1.0",
        "threads": 1,
        "placement": {"extractor": {"asked": "cpu", "used": "cpu", "delegated": None, "nodes": 90}},
        "replay": {
            "frames": 30,
            "max_px": 1e-5,
            "max_log_sigma": 1e-6,
            "tolerance_px": 0.05,
            "tolerance_log_sigma": 0.05,
        },
        "load": {"open_ms": 60.0, "first_ms": 20.0},
        "series": timed,
        "memory": {"peak": 200_000_000, "soak": None},
        "energy": {"status": "not measured", "reason": "a test"},
        **changes,
    }


def network(name: str, middle: float, kind: str = "peer", operations: int | None = None) -> dict[str, Any]:
    """Return what has one call."""
    return subject(
        name,
        kind=kind,
        bundle=None,
        placement={},
        replay=None,
        load=None,
        series=[series("network", 0, middle, 2)],
        operations=operations,
    )


def data(*subjects: dict[str, Any], number: int = 1, **environment: Any) -> dict[str, Any]:
    """Return a result as JSON has it."""
    subjects = subjects or (subject(),)
    return {
        "format": "qlot-bench",
        "schema_version": "1.0",
        "run": {
            "id": f"{number:032x}",
            "started": f"2026-12-01T10:00:{number:02d}Z",
            "seconds": 60.0,
            "driver": "a test",
            "protocol": 1,
            "protocol_sha256": protocol_sha256(),
            "seed": 7,
            "quick": False,
            "settings": [{"subject": 0, "what": "frame", "iterations": k} for k in (1, 2, 4)],
            "rounds": ROUNDS,
        },
        "environment": {
            "device_class": "host",
            "device": "a machine",
            "soc": None,
            "os": "Linux",
            "cores": 2,
            "memory": 2**33,
            "governor": None,
            "kilohertz": None,
            "battery": None,
            "charging": None,
            "power_saving": None,
            "thermal": None,
            "celsius": None,
            "foreground": None,
            "app": None,
            "other_load": 0.01,
            **environment,
        },
        "subjects": list(subjects),
        "valid": True,
        "reasons": [],
    }


def result(*subjects: dict[str, Any], number: int = 1, **environment: Any) -> RunResult:
    """Return a checked result."""
    return RunResult.model_validate(data(*subjects, number=number, **environment))
