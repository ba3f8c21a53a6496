"""How much a bundle may ask for. Every number, text and list of a manifest has an upper bound.

A bound is no promise to run that much: it lies far above what the exporter can produce, and below what hangs a tracker
or fills a machine's memory. The schema has the same bounds, so every runtime refuses the same bundles
(`runtime/contract/README.md`, Bounds).
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

# --- text, before it is parsed ---------------------------------------------------------------------------------------
MAX_JSON_BYTES = 4 * 2**20  # 478 landmarks need 0.1 MB
MAX_JSON_VALUES = 200_000  # MAX_LANDMARKS landmarks in groups, with edges, need a third of it
MAX_PROBLEMS = 1000  # fields that are unknown or wrong; beyond, it is no manifest, and listing them costs memory

# --- files -----------------------------------------------------------------------------------------------------------
MAX_FILE_BYTES = 512 * 2**20  # the largest is a golden sequence: 14 MB with 478 landmarks
MAX_BUNDLE_BYTES = 2**30
MAX_FILES = 1000  # a Core ML package of a stage has three

# --- the network -----------------------------------------------------------------------------------------------------
MAX_SIDE = 1024  # pixels of the network input; shipped weights have 112 to 224
MAX_LANDMARKS = 4096  # FaceMesh has 478
MAX_CHANNELS = 4096  # of the hidden state; shipped weights have 64 and 128
MAX_STEPS = 64  # of one frame; cold frames get 4, and an unrolled refiner has at most 12
MAX_ELEMENTS = 2**27  # of one tensor: 512 MB of float32; the largest of `final` with 478 landmarks has 2.9 million
MAX_DIMENSIONS = 8
MAX_OPERATORS = 20_000  # of one graph; a step has 200 to 300, in Core ML 500, and at most 12 are unrolled
MAX_TENSORS = 100_000  # of one graph, constants included

# --- kinds of values -------------------------------------------------------------------------------------------------
# Control characters move a terminal's cursor or end a line of a log; bidirectional controls show a text as another.
_PLAIN = r"^[^\u0000-\u001f\u007f-\u009f\u2028\u2029\u202a-\u202e\u2066-\u2069]*$"
# What a name is part of: a column of a CSV file (where "=", "+", "-" and "@" begin a formula), a key, a file's name.
_NAME = r"^[A-Za-z0-9_][A-Za-z0-9_.-]*$"

Text = Annotated[str, Field(max_length=1000, pattern=_PLAIN)]  # a sentence or two
Label = Annotated[str, Field(max_length=200, pattern=_PLAIN)]  # a few words, an operator, a file
Name = Annotated[str, Field(max_length=100, pattern=_NAME)]  # of a layout, a landmark, a group

Count = Annotated[int, Field(ge=0, le=10**9)]
Positives = Annotated[int, Field(ge=1, le=10**9)]
Operations = Annotated[int, Field(ge=0, le=10**13)]  # `final` with 12 unrolled steps: 10**9
Steps = Annotated[int, Field(ge=1, le=MAX_STEPS)]
Index = Annotated[int, Field(ge=0, lt=MAX_LANDMARKS)]

Finite = Annotated[float, Field(ge=-1e9, le=1e9, allow_inf_nan=False)]
Positive = Annotated[float, Field(gt=0, le=1e9, allow_inf_nan=False)]
Seconds = Annotated[float, Field(gt=0, le=3600)]
Share = Annotated[float, Field(gt=0, le=100)]  # of a crop's side or of its logarithm
Coordinate = Annotated[float, Field(ge=-3, le=3)]  # canonical units: a face ends at 1.4, centimetres and pixels do not


def printable(text: str, most: int = 200) -> str:
    r"""Return a text for a terminal or a `Label`: what has no print, such as ESC or half a surrogate, as \x1b, \udc80.

    Args:
        text: a file's name, an engine's message.
        most: characters; a longer text is cut.
    """
    shown = "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text[: most + 1])
    return shown if len(shown) <= most else f"{shown[: most - 3]}..."
