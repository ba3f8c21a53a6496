from __future__ import annotations

import logging
import os
import sys
import warnings

import pytest

from qlot.runtime.quiet import quiet


def noise() -> None:
    print("printed")  # noqa: T201
    print("complained", file=sys.stderr)  # noqa: T201
    os.write(2, b"from C\n")
    logging.getLogger("other").warning("logged")
    warnings.warn("warned", stacklevel=1)


def test_no_line_of_a_library_is_seen(capfd: pytest.CaptureFixture[str]) -> None:
    with quiet():
        noise()
    assert capfd.readouterr() == ("", "")
    with pytest.warns(UserWarning, match="warned"):
        noise()
    said = capfd.readouterr()
    assert "printed" in said.out and "complained" in said.err and "from C" in said.err


def test_errors_pass(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(KeyError), quiet():
        raise KeyError
    os.write(2, b"after\n")
    assert capfd.readouterr().err == "after\n"


def test_a_handler_made_inside_can_log_afterwards(capfd: pytest.CaptureFixture[str]) -> None:
    logger = logging.getLogger("loaded inside")
    with quiet():
        logger.addHandler(logging.StreamHandler())
    logger.error("later")
    assert "closed file" not in capfd.readouterr().err
