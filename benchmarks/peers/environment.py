"""A virtual environment for MediaPipe, which needs numpy 1: made once, outside the project, by pip."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from qlot.runtime.errors import QlotError

REQUIREMENTS = ("mediapipe==0.10.14", "numpy<2")  # the wheel carries its models
PYTHONS = ((3, 9), (3, 12))  # first and last that the wheel exists for
_COMPLETE = "complete"  # written last: an interrupted installation is done again


class PeerError(QlotError):
    """A peer cannot be installed or run."""


@dataclass(frozen=True)
class PeerEnvironment:
    """An environment in which `mediapipe` can be imported."""

    folder: Path

    @property
    def python(self) -> Path:
        """Its interpreter."""
        return self.folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")

    def model(self, name: str) -> Path:
        """Return a model file of the wheel, such as `face_landmark/face_landmark.tflite`.

        Raises:
            PeerError: the wheel has no such file.
        """
        found = sorted(self.folder.glob(f"[Ll]ib*/**/site-packages/mediapipe/modules/{name}"))
        if not found:
            raise PeerError(f"{self.folder} has no MediaPipe model {name}: delete the folder and run again")
        return found[0]


def default_folder() -> Path:
    """Where the environment lives unless the user says otherwise."""
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "qlot" / "peers" / "mediapipe-0.10.14"


def prepare(folder: Path | None = None) -> PeerEnvironment:
    """Return the environment, making it first if need be (about 1 GB, a minute or two).

    Raises:
        PeerError: this Python is not one that the wheel exists for, or pip fails.
    """
    environment = PeerEnvironment(folder or default_folder())
    complete = environment.folder / _COMPLETE
    if complete.exists():
        return environment
    if not PYTHONS[0] <= sys.version_info[:2] <= PYTHONS[1]:
        raise PeerError(f"{REQUIREMENTS[0]} exists for Python 3.9 to 3.12 only: run this benchmark with one of them")
    if environment.folder.exists():
        if not (environment.folder / "pyvenv.cfg").exists() and any(environment.folder.iterdir()):
            raise PeerError(f"{environment.folder} is neither empty nor a virtual environment: choose another folder")
        shutil.rmtree(environment.folder)
    _run([sys.executable, "-m", "venv", str(environment.folder)], "make a virtual environment")
    _run([str(environment.python), "-m", "pip", "install", "-q", *REQUIREMENTS], "install MediaPipe")
    complete.write_text("\n".join(REQUIREMENTS) + "\n", encoding="utf-8")
    return environment


def _run(command: list[str], what: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=_environ())
    if done.returncode:
        raise PeerError(f"cannot {what}: {last_line(done.stderr)}")


def _environ() -> dict[str, str]:
    """Drop what would lead the environment's Python back to ours."""
    return {key: value for key, value in os.environ.items() if key not in {"PYTHONPATH", "PYTHONHOME"}}


def last_line(text: str) -> str:
    """Return the last line that is not empty, which is where Python and pip say what went wrong."""
    return next((line.strip() for line in reversed(text.splitlines()) if line.strip()), "no reason given")


def run_script(environment: PeerEnvironment, script: Path, arguments: list[str]) -> None:
    """Run one of our scripts inside the environment.

    Raises:
        PeerError: it fails; the message ends with its last line.
    """
    done = subprocess.run(
        [str(environment.python), str(script), *arguments],
        capture_output=True, text=True, check=False, env=_environ(),
    )  # fmt: skip
    if done.returncode:
        raise PeerError(f"{script.name} failed: {last_line(done.stderr)}")


def main(folder: Annotated[Path | None, typer.Argument(help="Where it goes.")] = None) -> None:
    """Make MediaPipe's environment, or find it made: `python -m qlot.benchmarks.peers.environment [FOLDER]`."""
    try:
        typer.echo(prepare(folder).folder)
    except QlotError as e:
        typer.echo(f"error: {e}", err=True)
        raise typer.Exit(2) from None


if __name__ == "__main__":
    typer.run(main)
