from __future__ import annotations

import errno
import os
import resource
from collections.abc import Iterator
from pathlib import Path

import pytest

from qlot.runtime.partial import check_writable, made_folders, whole_folder, written_whole


@pytest.fixture
def small_files() -> Iterator[None]:
    """Let no file grow beyond 1,000 bytes: to the writer as a full disk is, without a name in the error."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk_is_said_with_the_path_and_leaves_nothing(tmp_path: Path, small_files: None) -> None:
    out = tmp_path / "file"
    with pytest.raises(OSError) as failed, written_whole(out) as temporary:
        temporary.write_bytes(bytes(2000))
    assert (failed.value.errno, failed.value.filename) == (errno.EFBIG, str(out))
    assert list(tmp_path.iterdir()) == []


def test_an_error_with_a_place_keeps_it(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as failed, written_whole(tmp_path / "file"):
        (tmp_path / "other").read_bytes()
    assert failed.value.filename == str(tmp_path / "other")


def test_trying_a_place_leaves_it_as_it_was(tmp_path: Path) -> None:
    check_writable(tmp_path / "a" / "b" / "file")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "file").write_text("kept")
    check_writable(tmp_path / "file")
    assert (tmp_path / "file").read_text() == "kept" and len(list(tmp_path.iterdir())) == 1


def test_places_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for bad in (tmp_path, tmp_path / "file" / "below"):
        with pytest.raises(OSError):
            check_writable(bad)
    if Path("/proc/self").exists():
        with pytest.raises(OSError):
            check_writable(Path("/proc/file"))
    if os.getuid():
        (tmp_path / "locked").mkdir(mode=0o500)
        with pytest.raises(OSError):
            check_writable(tmp_path / "locked" / "file")


def test_made_folders_go_with_a_failure_unless_something_lies_there(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="mine"), made_folders(tmp_path / "a" / "b"):
        raise ValueError("mine")
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(ValueError, match="mine"), made_folders(tmp_path / "a" / "b"):
        (tmp_path / "a" / "other").write_text("")
        raise ValueError("mine")
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["a", "other"]


def test_a_folder_appears_whole_and_replaces_what_was_there(tmp_path: Path) -> None:
    out = tmp_path / "a" / "out"
    for text in ("first", "second"):
        with whole_folder(out) as fresh:
            (fresh / text).write_text("")
            assert text not in {p.name for p in out.glob("*")}
    assert [p.name for p in out.iterdir()] == ["second"]
    assert [p.name for p in out.parent.iterdir()] == ["out"]


def test_a_folder_that_fails_leaves_everything_as_it_was(tmp_path: Path) -> None:
    def refuse() -> None:
        raise ValueError("taken")

    for check in (refuse, lambda: None):
        with pytest.raises(ValueError), whole_folder(tmp_path / "new" / "out", check) as fresh:
            (fresh / "half").write_text("")
            if check is not refuse:
                raise ValueError("mine")
        assert list(tmp_path.iterdir()) == []


def test_what_was_there_comes_back_if_the_new_folder_cannot_take_its_place(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "kept").write_text("")
    with pytest.raises(OSError), whole_folder(out) as fresh:
        fresh.rmdir()
    assert [p.name for p in tmp_path.iterdir()] == ["out"]
    assert [p.name for p in out.iterdir()] == ["kept"]
