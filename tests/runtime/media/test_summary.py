"""Whether the page is legible only eyes can tell; these tests tell that it is written and shows what it was given."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from qlot.runtime.media.summary import PICTURES, SAMPLES, Summary, printable
from qlot.runtime.tracking.result import Status, TrackResult
from tests.runtime.layouts import POINTS, answer

MAGENTA = np.full((90, 120, 3), (255, 0, 255), np.uint8)


def page(tmp_path: Path, results: list[TrackResult]) -> np.ndarray:
    summary = Summary("a video")
    for result in results:
        summary.add(result, MAGENTA.copy)
    summary.write(tmp_path / "a.png")
    assert [p.name for p in tmp_path.iterdir()] == ["a.png"]
    image = cv2.imread(str(tmp_path / "a.png"))
    assert image is not None
    return image[..., ::-1]


def moving(count: int) -> list[TrackResult]:
    found = [answer(i / 30, POINTS + i, confidence=0.9) for i in range(count)]
    return [*found, *(answer((count + i) / 30, None, status=Status.LOST, confidence=0.1) for i in range(count))]


@pytest.mark.parametrize(
    "results",
    [moving(20), [answer()], [answer(points=None)], [answer(i / 30, points=None) for i in range(40)]],
    ids=["a loss", "one frame", "one frame without a face", "no face"],
)
def test_any_video_gives_one_page(tmp_path: Path, results: list[TrackResult], recwarn: pytest.WarningsRecorder) -> None:
    image = page(tmp_path, results)
    assert image.shape == (1100, 1540, 3)
    assert not [w for w in recwarn if issubclass(w.category, RuntimeWarning)]


TITLES = ["a$^$b.mp4", r"$\frac$.mp4", "\udcff\udcfe.mp4", "new\nline\x1b", "视频 видео فيديو 🎬"]


@pytest.mark.parametrize("title", TITLES, ids=ascii)
def test_any_title_is_drawn_without_a_word(tmp_path: Path, title: str, recwarn: pytest.WarningsRecorder) -> None:
    summary = Summary(title)
    summary.add(answer(), MAGENTA.copy)
    summary.write(tmp_path / "a.png")
    assert [str(w.message) for w in recwarn] == []


def test_what_is_no_character_is_shown_as_one_that_says_so() -> None:
    assert printable("a\udcff\x1bb\nc 视") == "a\ufffd\ufffdb\nc 视"


def test_it_does_not_grow_with_the_video() -> None:
    summary = Summary("a video")
    for i in range(5 * SAMPLES):
        summary.add(answer(i / 30), MAGENTA.copy)
    assert SAMPLES <= len(summary._rows) <= 2 * SAMPLES


def area(image: np.ndarray, color: str) -> int:
    rgb = [int(color[i : i + 2], 16) for i in (1, 3, 5)]
    return int((np.abs(image.astype(int) - rgb).max(-1) <= 2).sum())


def test_it_shows_pictures_and_status(tmp_path: Path) -> None:
    image = page(tmp_path, moving(20))
    assert area(image, "#ff00ff") > PICTURES * 5000
    tracking, lost = area(image, "#cdebc5"), area(image, "#f4b6a6")
    assert tracking > 10_000 and lost == pytest.approx(tracking, rel=0.1), "half of the time each"
    assert area(page(tmp_path, moving(20)[:20]), "#f4b6a6") < lost / 20, "no band where nothing was lost"


@pytest.mark.parametrize("count", [1, 5, 100, 3000])
def test_few_pictures_evenly_spread(count: int) -> None:
    summary, taken = Summary("a video"), list[int]()
    for i in range(count):
        summary.add(answer(i / 30), lambda i=i: (taken.append(i), MAGENTA)[1])  # type: ignore[misc]
    kept = np.array([timestamp for timestamp, _ in summary.pictures()]) * 30
    assert len(kept) == min(count, PICTURES)
    if count > PICTURES:
        assert np.diff(kept).max() <= 2.5 * np.diff(kept).min() and kept[0] == 0 and kept[-1] > 0.7 * count
    assert len(taken) <= 12 + 6 * np.log2(max(count, 2)), "drawing is only asked for when it is kept"


def test_nothing_to_show(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="at least one frame"):
        Summary("a video").write(tmp_path / "a.png")
    assert list(tmp_path.iterdir()) == []
