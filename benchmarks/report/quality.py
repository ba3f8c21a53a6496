"""How good the landmarks of a bundle are, from files of `qlot jitter` and `qlot eval`, found by what was measured."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from qlot.benchmarks.results.errors import ForeignError
from qlot.benchmarks.results.model import SubjectSpec

JITTER_METHOD = "QLOT"  # the tracker's own output
LAG = "lag_1hz"
STILLS = "faces_val-moved"  # held-back people, labels less their offset


@dataclass(frozen=True)
class Quality:
    """Percent of the outer-eye distance, milliseconds, percent of the true depth; None where it was not measured."""

    flicker: float | None = None
    lag: float | None = None
    blink: float | None = None
    rendered: float | None = None  # distance to exact points
    nme: float | None = None  # of held-back people


def read_quality(paths: Iterable[Path]) -> dict[str, Quality]:
    """Read results of `qlot jitter` and `qlot eval`, by the SHA-256 of the bundle's manifest.

    Raises:
        ForeignError: a file is neither, or says nothing of a bundle.
    """
    found: dict[str, Quality] = {}
    for path in paths:
        try:
            manifest, quality = _entry(json.loads(path.read_text("utf-8")))
        except (OSError, ValueError, KeyError, TypeError, StopIteration) as e:
            raise ForeignError(f"{path}: no results of `qlot jitter` or `qlot eval` on a bundle ({e!r})") from e
        old = found.get(manifest, Quality())
        found[manifest] = replace(old, **{k: v for k, v in vars(quality).items() if v is not None})
    return found


def quality_of(subject: SubjectSpec, known: Mapping[str, Quality]) -> Quality:
    """Return what is known of a subject; nothing of peers."""
    return known.get(subject.bundle.manifest_sha256, Quality()) if subject.bundle else Quality()


def _entry(data: Any) -> tuple[str, Quality]:
    if "methods" in data:
        scores = next(m["scores"] for m in data["methods"] if m["label"] == JITTER_METHOD)
        mean = {name: score["mean"] for name, score in scores.items()}
        found = Quality(mean.get("flicker"), mean.get(LAG), mean.get("blink_depth"), mean.get("error"))
        return str(data["manifest_sha256"]), found
    if data["subject"]["kind"] != "bundle":
        raise ValueError("of weights, not of a bundle")
    stills = [s for s in data["stills"] if s["name"] == STILLS]
    nme = 100 * float(stills[0]["accuracy"][0]["nme"]["value"]) if stills else None
    return str(data["subject"]["sha256"]), Quality(nme=nme)
