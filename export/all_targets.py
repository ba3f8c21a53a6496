"""`--target all`: several exports, each in a process of its own.

So no two converters share memory or a version of protobuf, and one that fails or dies takes no other with it. The child
reads its request from standard input and answers on standard output, both pickled: texts of progress, then an Outcome.
"""

from __future__ import annotations

import os
import pickle
import shutil
import signal
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from glob import escape
from pathlib import Path
from typing import IO, TYPE_CHECKING, NoReturn, cast

from qlot.export.errors import ExportError
from qlot.runtime.errors import QlotError
from qlot.runtime.quiet import quiet
from qlot.runtime.stopping import check_stopped, loading, stoppable

if TYPE_CHECKING:
    from qlot.export.request import ExportRequest, ExportResult
    from qlot.runtime.bundle.manifest import Target
    from qlot.runtime.progress import Progress

PATIENCE = 20.0  # seconds a child gets to clean up before it is killed
# -P: a folder or file of a converter's name in the working directory is not the converter.
_CHILD = (sys.executable, "-P", "-c", "from qlot.export.all_targets import serve; serve()")


@dataclass(frozen=True)
class Outcome:
    """What became of one target: a bundle, or the reason why there is none, in one line."""

    target: Target
    result: ExportResult | None
    reason: str = ""

    @property
    def line(self) -> str:
        """The outcome in words."""
        if self.result is None:
            return f"not written: {self.reason}"
        bundle, report = self.result.bundle, self.result.report.free
        size = sum(f.bytes for f in bundle.manifest.files) / 1e6
        return f"written: {size:.2f} MB, within {report.max_result_px:.2g} px: {bundle.path}"


def check_common(request: ExportRequest) -> None:
    """Check what concerns every target alike, so that it is said once and at once.

    Raises:
        ExportError: the lowering or packing is one target's only, or checkpoint or layout cannot be used.
    """
    from qlot.export.pipeline import load_model, resolve_checkpoint
    from qlot.export.targets import check_unpacked
    from qlot.model.layout import LayoutError, load_layout

    if request.lowering == "windowed":
        raise ExportError("--lowering windowed is for onnx alone: leave it out, or choose --target onnx.")
    check_unpacked(request.options.packing)
    load_model(resolve_checkpoint(request.checkpoint))
    try:
        load_layout(request.layout)
    except LayoutError as e:
        raise ExportError(str(e)) from e


def export_each(
    requests: Sequence[ExportRequest],
    progress: Progress = lambda _: None,
    finished: Callable[[Outcome], None] = lambda _: None,
) -> list[Outcome]:
    """Export one after another, whatever becomes of the ones before; `finished` hears of each as it ends.

    An interruption ends the running export, which leaves nothing behind; bundles already written stay.
    """
    outcomes = []
    for request in requests:
        outcome = export_apart(request, progress)
        finished(outcome)
        outcomes.append(outcome)
    return outcomes


def export_apart(request: ExportRequest, progress: Progress) -> Outcome:
    """Export in a process of its own; whatever happens to it is an outcome."""
    # A session of its own: Ctrl-C reaches this process alone, which then ends the child, once and in order.
    child = subprocess.Popen(_CHILD, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True)
    with _swept(child, request), _ended(child):
        outcome = _converse(child, request, progress)
    return outcome or Outcome(request.target, None, _death(child.returncode))


def _converse(child: subprocess.Popen[bytes], request: ExportRequest, progress: Progress) -> Outcome | None:
    """Hand over the request and listen; None if the child ends without an outcome."""
    assert child.stdin is not None and child.stdout is not None
    with suppress(BrokenPipeError), child.stdin:
        pickle.dump(request, child.stdin)
    with suppress(EOFError, pickle.UnpicklingError), child.stdout:
        while isinstance(answer := pickle.load(child.stdout), str):
            progress(f"{request.target}: {answer}")
        return cast(Outcome, answer)
    return None


@contextmanager
def _ended(child: subprocess.Popen[bytes]) -> Iterator[None]:
    """Leave no child behind: on an error, or Ctrl-C, it is asked to stop, and one that does not end is killed."""
    try:
        yield
    except BaseException:
        child.terminate()
        raise
    finally:
        try:
            child.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()


@contextmanager
def _swept(child: subprocess.Popen[bytes], request: ExportRequest) -> Iterator[None]:
    """Remove what a child that did not end in order has left: its temporary folder, and empty folders above it."""
    parent = request.out.parent if request.out else Path()
    name = escape(request.out.name) if request.out else f"qlot-*-{request.target}-*"
    missing = [p for p in (parent, *parent.parents) if not p.exists()]  # nearest first
    there = set(parent.glob(f".{name}.*"))
    try:
        yield
    finally:
        if child.returncode != 0:
            for left in set(parent.glob(f".{name}.*")) - there:
                shutil.rmtree(left, ignore_errors=True)
            with suppress(OSError):  # the first that is not empty
                for folder in missing:
                    folder.rmdir()


def serve() -> NoReturn:
    """Be the child: export what standard input asks for, and exit."""
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what a converter prints is no answer
    try:
        with stoppable():
            _answer(answers)
    except BrokenPipeError:  # nobody listens any more
        raise SystemExit(130) from None
    raise SystemExit(0)


def _answer(answers: IO[bytes]) -> None:
    def send(message: str | Outcome) -> None:
        check_stopped()
        pickle.dump(message, answers)
        answers.flush()

    request = pickle.load(sys.stdin.buffer)
    try:
        with loading(), quiet():
            from qlot.export.pipeline import export

        outcome = Outcome(request.target, export(request, send))
    except BrokenPipeError:
        raise
    except QlotError as e:
        outcome = Outcome(request.target, None, _one_line(e))
    except OSError as e:
        outcome = Outcome(request.target, None, f"{e.filename}: {e.strerror}" if e.filename else _one_line(e))
    except Exception as e:
        traceback.print_exc()
        outcome = Outcome(request.target, None, f"{type(e).__name__}: {_one_line(e)} (traceback above)")
    send(outcome)


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())


def _death(code: int) -> str:
    if code >= 0:
        return f"its process ended without an answer (exit code {code})"
    hint = " (out of memory?)" if code == -signal.SIGKILL else ""
    return f"its process was ended by {signal.Signals(-code).name}{hint}"
