"""The command `qlot bench`: exit codes, and what is said."""

from __future__ import annotations

from pathlib import Path

import pytest

from qlot.benchmarks.results.store import add
from qlot.cli.main import run
from tests.benchmarks.made import result, subject


def call(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as end:
        run(["bench", *map(str, arguments)])
    captured = capsys.readouterr()
    return int(end.value.code or 0), captured.out, captured.err


def test_a_report_of_sound_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    add(tmp_path / "runs", result())
    code, out, err = call(capsys, "report", tmp_path / "runs", "--out", tmp_path / "report")
    assert (code, err) == (0, "")
    assert "a bundle" in out
    assert (tmp_path / "report" / "report.md").read_text() in out
    assert (tmp_path / "report" / "report.html").read_text().startswith("<!doctype html>")


def test_a_bad_file_is_named_and_the_exit_code_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = add(tmp_path, result())
    (tmp_path / "bad.json").write_text("{")
    code, out, err = call(capsys, "report", tmp_path)
    assert code == 1 and "a bundle" in out
    assert f"left out: {tmp_path / 'bad.json'}: not valid JSON" in err
    path.unlink()
    code, _, err = call(capsys, "report", tmp_path)
    assert code == 2 and "no result is left to report: 1 files were left out" in err


def test_a_result_goes_as_text_and_comes_back(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = add(tmp_path / "runs", result())
    code, out, _ = call(capsys, "text", path)
    (tmp_path / "mail.txt").write_text(f"hello\n{out}")
    assert code == 0
    code, out, _ = call(capsys, "report", tmp_path / "mail.txt")
    assert code == 0 and "a bundle" in out


def test_results_are_compared(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    both = add(tmp_path, result(subject("old"), subject("new", speed=1.1)))
    code, out, _ = call(capsys, "compare", both)
    assert code == 0 and "new over old, frame, K = 1: 1.1 (1.1 to 1.1): 10.0% slower" in out
    one, other = (add(tmp_path, result(subject(speed=s), number=n)) for s, n in ((1.0, 2), (1.0, 3)))
    code, out, _ = call(capsys, "compare", one, other)
    assert code == 0 and "no difference shown" in out
    code, _, err = call(capsys, "compare", one, both)
    assert code == 2 and "nothing was measured in both" in err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("host", "x", "--threads", "0"), "from 1 to 64"),
        (("host", "x", "--iterations", "1,1"), "once each"),
        (("host", "x", "--sustained", "never"), "1s to 24h"),
        (("host", "nothing-here"), "nothing-here does not exist"),
        (("host", "x", "--peer", "no.task"), "x does not exist"),
        (("compare", "a", "b", "c"), "at most two"),
        (("report", "none.json"), "no result is left"),
    ],
)
def test_what_is_wrong_is_one_error(capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], said: str) -> None:
    code, _, err = call(capsys, *arguments)
    assert code == 2 and said in " ".join(err.split())


def test_two_bundles_are_measured_in_turn(
    bundle_fp32: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = call(capsys, "compare", bundle_fp32, bundle_fp32, "--quick", "--out", tmp_path)
    assert code == 0, err
    assert "(bundle-fp32) #2 over nano" in out and "network, K = 8" in out
    assert len(list(tmp_path.glob("*.json"))) == 1
