"""Tables and the page: everything that was measured is there, devices apart, and nothing refers outside."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from qlot.benchmarks.report.page import page
from qlot.benchmarks.report.quality import Quality, quality_of, read_quality
from qlot.benchmarks.report.tables import CLASSES, markdown
from qlot.benchmarks.results.errors import CorruptError, ForeignError
from qlot.benchmarks.results.model import RunResult
from tests.benchmarks.made import data, network, result, subject

MANIFEST = f"{98:064x}"
SUSTAINED = {
    "iterations": 1,
    "fps": 30.0,
    "seconds": 20.0,
    "cool_down": None,
    "windows": [
        {"start": s, "frames": 280, "p50": m, "p90": m, "p99": 2 * m, "missed": 20, "celsius": None, "kilohertz": None}
        for s, m in ((0.0, 5.0), (10.0, 9.0))
    ],
}


@pytest.fixture(scope="module")
def results() -> list[RunResult]:
    several = [subject(f"of {n}", n) for n in (36, 68, 98)]
    soak = {"frames": 10_000, "every": 100, "resident": [10**8 + 10**5 * i for i in range(100)]}
    several[0] |= {"sustained": SUSTAINED, "memory": {"peak": 2 * 10**8, "soak": soak}}
    host = result(*several, network("GEMM peak", 2.0, "yardstick", 10**9), number=1)
    phone = result(subject("on a phone"), number=2, device_class="phone", device="Fold 9", soc="Chip 3")
    loud = RunResult.model_validate(
        data(subject("emulated"), number=3, device_class="emulated") | {"valid": False, "reasons": ["an emulator"]}
    )
    return [host, phone, loud]


def test_devices_of_a_class_have_tables_of_their_own(results: list[RunResult]) -> None:
    text = markdown(results, {MANIFEST: Quality(flicker=0.042, lag=3.0, blink=91.0, rendered=3.1, nme=4.6)})
    sections = {part.split("\n")[0]: part for part in text.split("\n## ")}
    phone = sections[f"{CLASSES['phone']}: latency, ms"]
    assert "on a phone" in phone and "of 98" not in phone and "emulated" not in phone
    host = sections[f"{CLASSES['host']}: latency, ms"]
    assert "| 0.042 | 3 | 91 | 3.1 | 4.6 |" in next(line for line in host.splitlines() if "of 98" in line)
    assert "| - | - | - | - | - |" in next(line for line in host.splitlines() if "of 36" in line)
    assert "GEMM" not in host
    assert "GROWS by 10.0 MB" in sections[f"{CLASSES['host']}: memory"]
    assert "40 of 600" in sections[f"{CLASSES['host']}: sustained"]
    assert "36, 68, 98" in sections[f"{CLASSES['host']}: a + b N: what a landmark costs"]
    assert "emulated (not valid)" in sections[f"{CLASSES['emulated']}: latency, ms"]
    assert "NOT VALID: an emulator" in sections["Runs"]
    widths = [line.count("|") for line in host.splitlines() if line.startswith("|")]
    assert len(set(widths)) == 1


def test_a_name_cannot_break_a_table() -> None:
    line = next(x for x in markdown([result(subject("a | b"))], {}).splitlines() if "a \\| b" in x)
    assert line.startswith("| a \\| b | a machine |")


class _References(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self.tags: list[str] = []
        self.ids: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.found += [v or "" for k, v in attrs if k in ("src", "href", "xlink:href", "data", "action")]
        self.ids += [v or "" for k, v in attrs if k == "id" and v and not v.startswith(("figure", "axes", "patch"))]


def test_the_page_holds_everything_and_refers_to_nothing_outside(results: list[RunResult]) -> None:
    known = {MANIFEST: Quality(flicker=0.042)}
    refused = (CorruptError("cut.json: <script>alert(1)</script>"),)
    text = page(results, known, refused)
    parser = _References()
    parser.feed(text)
    assert all(reference.startswith("#") for reference in parser.found)
    assert parser.tags.count("svg") == 6 and "script" not in parser.tags
    assert "cut.json: &lt;script&gt;" in text
    assert not re.search(r"https?://(?!www\.w3\.org)", text)
    linked = {reference[1:] for reference in parser.found}
    assert linked <= set(parser.ids) and len({i for i in parser.ids if i in linked}) == len(linked)
    assert text == page(results, known, refused)


def test_quality_is_that_of_the_very_bundle(tmp_path: Path) -> None:
    jitter = {
        "manifest_sha256": MANIFEST,
        "methods": [
            {"label": "QLOT raw", "scores": {"flicker": {"mean": 9.0}}},
            {
                "label": "QLOT",
                "scores": {k: {"mean": v} for k, v in {"flicker": 0.04, "lag_1hz": 3.0, "blink_depth": 91.0}.items()},
            },
        ],
    }
    evaluation = {
        "subject": {"kind": "bundle", "sha256": MANIFEST},
        "stills": [
            {"name": "faces_val", "accuracy": [{"nme": {"value": 0.09}}]},
            {"name": "faces_val-moved", "accuracy": [{"nme": {"value": 0.046}}]},
        ],
    }
    paths = [tmp_path / "jitter.json", tmp_path / "eval.json"]
    for path, content in zip(paths, (jitter, evaluation), strict=True):
        path.write_text(json.dumps(content))
    known = read_quality(paths)
    bundle, other = result(subject("a"), subject("b", 68)).subjects
    assert quality_of(bundle, known) == Quality(flicker=0.04, lag=3.0, blink=91.0, nme=pytest.approx(4.6))
    assert quality_of(other, known) == Quality()


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"methods": []}', '{"subject": {"kind": "weights"}}'])
def test_what_is_no_quality_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "odd.json"
    path.write_text(content)
    with pytest.raises(ForeignError, match=r"odd\.json: no results of `qlot jitter` or `qlot eval`"):
        read_quality([path])
