"""The tables of `qlot eval` on a terminal of 80 columns, with the widest figures that occur."""

from __future__ import annotations

from io import StringIO

import pytest
from rich.console import Console

from qlot.training.evaluation.protocol import EvaluationProtocol
from qlot.training.evaluation.report import show
from qlot.training.evaluation.results import (
    Accuracy,
    ClipResult,
    Estimate,
    Evaluation,
    EyesResult,
    FacelessResult,
    FalseAcquisitions,
    Reacquisition,
    Stability,
    StillsResult,
    SubjectInfo,
    Subset,
    VideoResult,
    VideoRun,
    VideoTotals,
)

SHA = "0" * 64
LONG = "wflw-v: /data/of/mine/WFLW_V/videos/-3rDiJxB2nQ.mp4, frame 0"


def estimate(value: float) -> Estimate:
    return Estimate(value=value, low=value - 0.01, high=value + 0.01)


def accuracy(normaliser: str, value: float) -> Accuracy:
    return Accuracy.model_validate(
        {"normaliser": normaliser, "faces": 7500, "nme": estimate(value), "median": value,
         "fr10": estimate(value + 0.1), "auc10": estimate(value + 0.2)}
    )  # fmt: skip


def stills() -> StillsResult:
    return StillsResult(
        name="faces_train-moved", layout="mediapipe478", faces=7500, people=1203, data_sha256=SHA,
        accuracy=(accuracy("outer eyes", 0.1234), accuracy("face size", 0.2345)),
        coverage={"0.5": 0.49, "0.9": 0.87, "0.95": 1.0},
        groups={f"some_long_group_{i}": 0.1 + i / 1000 for i in range(12)},
        subsets={"darkest fifth of the pictures": Subset(faces=7500, nme=0.1456, fr10=0.2567, auc10=0.345)},
        identities={}, worst=(),
    )  # fmt: skip


def video() -> VideoResult:
    stability = Stability(frames=125, nmf=123.45, nad={}, flicker=0.10234, label_flicker=0.11456)
    clip = ClipResult(
        source=LONG, identity="a", frames=12345, data_sha256=SHA, tracked=12344, lost=True, first_lost=3,
        nme={"outer eyes": 0.1567}, fr10=0.9988, groups={}, coverage={}, stability=stability, milliseconds=123.46,
        eyes=EyesResult(aperture_r=0.876, blink_depth=1.127, pupils=0.654),
    )  # fmt: skip
    totals = VideoTotals(
        clips=1000, lost=999, nme={"outer eyes": 0.1678}, fr10=0.1789, nmf=145.67, flicker=0.1078, label_flicker=0.1089,
        flicker_ratio=12.34, nme_ratio=1.23, nad={},
    )  # fmt: skip
    runs = tuple(VideoRun(hidden=h, totals=totals, clips=(clip,)) for h in ("carried", "reset each frame"))
    return VideoResult(layout="mediapipe478", confidence="made up", runs=runs)


@pytest.fixture(scope="module")
def printed() -> str:
    subject = SubjectInfo(
        kind="bundle", name="qlot-final-wflw98-tflite-w8a8", sha256=SHA, weights_sha256=SHA, preset="final",
        parameters=2_000_000, engine="ai-edge-litert 2.3.0 XNNPACK", scheme="w8a8", layout="mediapipe478",
    )  # fmt: skip
    false = FalseAcquisitions(
        kind="tiles shuffled", frames=12345, acquisitions=678, per_1000_frames=54.92, phantom_frames=0.3141
    )
    back = Reacquisition(source=LONG, let_go=False, frames=1234, milliseconds=41133)
    result = Evaluation(
        subject=subject, data="data", kind="faces-video", split="val", protocol=EvaluationProtocol(), versions={},
        stills=(stills(),), video=(video(),), remarks=("one",),
        faceless=FacelessResult(layout="mediapipe478", false_acquisitions=(false,), reacquisitions=(back,)),
    )  # fmt: skip
    out = StringIO()
    show(result, Console(file=out, width=80))
    return out.getvalue()


def test_nothing_is_cut_off_or_wider_than_the_terminal(printed: str) -> None:
    assert "…" not in printed
    assert max(map(len, printed.splitlines())) <= 80


@pytest.mark.parametrize(
    "figure",
    [
        "12.34 [11.34, 13.34]", "22.34 [21.34, 23.34]", "32.3 [31.3, 33.3]", "49/87/100 %", "faces of 1203 people",
        "some_long_group_11 11.10", "14.56", "34.5", "12345", "12344", "99.88", "10.234", "11.456", "0.89", "123.45",
        "123.46", "999 of", "12.34", "145.67", "54.92", "31.41", "1234", "41133", "1.23",
        "0.88", "113", "65",
    ],
)  # fmt: skip
def test_every_figure_is_whole(figure: str, printed: str) -> None:
    assert any(figure in line for line in printed.splitlines())
