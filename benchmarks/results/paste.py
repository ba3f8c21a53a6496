"""A result as text that fits into a form or a message, and of one bundle at few K into a QR code.

Samples are left out, but their medians by round are there; parts of a frame are there at the bundle's own K alone.

    qlot-bench:1:<base64url of zlib of the JSON>:<first 8 digits of the SHA-256 of the JSON>

Line breaks and spaces inside are ignored, because forms and messages put some in. What was around the text in an issue
is ignored too.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
import zlib

from qlot.benchmarks.protocol.constants import protocol
from qlot.benchmarks.protocol.statistics import medians, summary
from qlot.benchmarks.results.errors import CorruptError, ForeignError, OversizedError
from qlot.benchmarks.results.model import RunResult, SeriesSpec, SubjectSpec, SummarySpec
from qlot.benchmarks.results.parse import parse_result

PREFIX = "qlot-bench:1:"
_TEXT = re.compile(r"qlot-bench:1:([A-Za-z0-9_=\-\s]+):\s*([0-9a-f\s]{8,16})")
DIGITS = 4  # significant ones of a median: 0.05 % of it, far below what rounds differ by


def to_text(result: RunResult) -> str:
    """Return a result as text, less its samples and the parts of frames at other K than a user gets."""
    short = result.model_copy(update={"subjects": tuple(map(_shortened, result.subjects))})
    data = short.model_dump_json(exclude_defaults=False).encode()
    packed = base64.urlsafe_b64encode(zlib.compress(data, 9)).decode()
    return f"{PREFIX}{packed}:{hashlib.sha256(data).hexdigest()[:8]}"


def from_text(text: str, name: str) -> RunResult:
    """Read a result out of a text that holds one.

    Args:
        text: what was pasted, whatever is around it.
        name: for messages.

    Raises:
        ForeignError: there is none in it.
        CorruptError: it is damaged or cut off.
        OversizedError: it unpacks to more than any such result has.
        ResultError: what it holds cannot be used.
    """
    found = _TEXT.search(text)
    if found is None:
        raise ForeignError(f"{name}: no text that begins with {PREFIX!r} and ends with its check digits")
    packed, digits = ("".join(part.split()) for part in found.groups())
    most = protocol().limits.pasted
    try:
        unpack = zlib.decompressobj()
        data = unpack.decompress(base64.b64decode(packed, b"-_", validate=True), most)
    except (binascii.Error, ValueError, zlib.error) as e:
        raise CorruptError(f"{name}: damaged on its way ({e}): copy it again") from e
    if not unpack.eof and not unpack.unconsumed_tail:
        raise CorruptError(f"{name}: cut off: copy it again, whole")
    if unpack.unconsumed_tail:
        raise OversizedError(f"{name}: unpacks to more than {most // 1024} KB, which no pasted result has")
    if hashlib.sha256(data).hexdigest()[:8] != digits[:8]:
        raise CorruptError(f"{name}: its check digits do not fit: copy it again, whole")
    return parse_result(data, name)


def _shortened(subject: SubjectSpec) -> SubjectSpec:
    own = subject.bundle.steps if subject.bundle else 0
    kept = [s for s in subject.series if s.part in ("frame", "network") or s.iterations == own]
    return subject.model_copy(update={"series": tuple(map(_without_samples, kept))})


def _without_samples(series: SeriesSpec) -> SeriesSpec:
    if series.rounds is None:
        return series
    found = summary([x for samples in series.rounds for x in samples])
    return SeriesSpec(
        part=series.part,
        iterations=series.iterations,
        medians=tuple(_rounded(float(x)) for x in medians(series.rounds)),
        summary=SummarySpec(
            count=found.count,
            **{k: _rounded(getattr(found, k)) for k in ("least", "p50", "p90", "p99", "mean", "mad")},
        ),
    )


def _rounded(value: float) -> float:
    return float(f"{value:.{DIGITS}g}")
