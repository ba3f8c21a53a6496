"""Golden sequences: what float32 PyTorch computed, stored for a replay by any runtime.

A plain binary that Kotlin, Swift and JavaScript read without a library: `golden/index.json` names each tensor with
type, shape and place in `golden/data.bin`, little-endian and 64-byte aligned (`runtime/contract/README.md`, Golden).
"""

from __future__ import annotations

import json
import math
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from qlot.runtime.bundle.json_text import describe, strict_json
from qlot.runtime.bundle.limits import MAX_ELEMENTS, MAX_FILE_BYTES
from qlot.runtime.errors import BundleError, IntegrityError, ManifestError

FOLDER, INDEX, DATA = "golden", "golden/index.json", "golden/data.bin"
ALIGNMENT = 64  # bytes: a mapped file can be read in place by any vector unit
_TENSORS = {
    "crops": "uint8", "boxes": "float64", "steps": "int32", "landmarks": "float32", "hidden": "float32",
    "gate": "float32",
}  # fmt: skip


@dataclass(frozen=True, eq=False)
class GoldenSequence:
    """T frames, S pixels a side, at most K steps a frame, N landmarks, C channels. All values finite.

    Attributes:
        crops: (T, S, S, 3) uint8, RGB; the network input is crops / 255.
        boxes: (T, 3) float64, center_x, center_y and side of each crop in frame pixels. Where a box differs from the
            one before, the state moves with it before the frame's first step.
        steps: (T,) int32, refinement steps of each frame, 1 to K; the first frame starts cold.
        landmarks: (T, K, N, 7) float32, the state after each step in crop pixels, clamped after a frame's last one;
            zero beyond it.
        hidden: (T, N, C) float32, after each frame's last step.
        gate: (2,) float32, radius in crop pixels (0: no gate) and cutoff.

    Raises:
        IntegrityError: a type, shape or value is not as described.
    """

    crops: NDArray[np.uint8]
    boxes: NDArray[np.float64]
    steps: NDArray[np.int32]
    landmarks: NDArray[np.float32]
    hidden: NDArray[np.float32]
    gate: NDArray[np.float32]

    @property
    def last_state(self) -> dict[str, NDArray[np.float32]]:
        """The refiner's state inputs on the last frame, less the crop's own motion: what a tracker meets on a face.

        `landmarks` (1, N, 7) and `hidden` (1, N, C), those after the frame before. T is 2 or more.
        """
        return {"landmarks": self.landmarks[-2, self.steps[-2] - 1][None], "hidden": self.hidden[-2:-1]}

    def __post_init__(self) -> None:
        tensors = {name: getattr(self, name) for name in _TENSORS}
        for name, dtype in _TENSORS.items():
            tensor = tensors[name]
            if not isinstance(tensor, np.ndarray) or tensor.dtype != np.dtype(dtype):
                raise IntegrityError(f"golden {name} is {getattr(tensor, 'dtype', type(tensor))}, wanted {dtype}")
            if not np.isfinite(tensor).all():
                raise IntegrityError(f"golden {name} has values that are not finite")
        if self.crops.ndim != 4 or self.landmarks.ndim != 4 or self.hidden.ndim != 3:
            raise IntegrityError("golden crops, landmarks or hidden have the wrong number of dimensions")
        (T, S), (K, N), C = self.crops.shape[:2], self.landmarks.shape[1:3], self.hidden.shape[2]
        shapes = {
            "crops": (T, S, S, 3), "boxes": (T, 3), "steps": (T,), "landmarks": (T, K, N, 7), "hidden": (T, N, C),
            "gate": (2,),
        }  # fmt: skip
        for name, shape in shapes.items():
            if tensors[name].shape != shape or not tensors[name].size:
                raise IntegrityError(f"golden {name} has shape {tensors[name].shape}, wanted {shape}, not empty")
        if self.steps.min() < 1 or self.steps.max() > K:
            raise IntegrityError(f"golden steps must be 1 to {K}")
        if self.landmarks[np.arange(K) >= self.steps[:, None]].any():
            raise IntegrityError("golden landmarks beyond a frame's steps must be zero")
        if self.boxes[:, 2].min() <= 0 or self.gate[0] < 0 or not 0 <= self.gate[1] < 1:
            raise IntegrityError("golden boxes need sides > 0, the gate a radius >= 0 and a cutoff in [0, 1)")


class Reader(Protocol):
    """Anything that hands out a bundle's files by their listed path."""

    def read(self, relpath: str) -> bytes:
        """Return a file's bytes."""


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class _Tensor(_Part):
    name: Literal["crops", "boxes", "steps", "landmarks", "hidden", "gate"]
    dtype: Literal["uint8", "float32", "float64", "int32"]
    shape: Annotated[tuple[Annotated[int, Field(gt=0, le=MAX_ELEMENTS)], ...], Field(max_length=4)]
    file: Annotated[str, Field(max_length=200)]  # as listed in the manifest: relative to the bundle
    offset: Annotated[int, Field(ge=0, le=MAX_FILE_BYTES, multiple_of=ALIGNMENT)]
    bytes: Annotated[int, Field(gt=0, le=MAX_FILE_BYTES)]


class _Index(_Part):
    format: Literal["qlot-golden"]
    version: Literal[1]
    byte_order: Literal["little"]
    tensors: Annotated[tuple[_Tensor, ...], Field(min_length=6, max_length=6)]


def write_golden(folder: Path, sequence: GoldenSequence) -> tuple[str, str]:
    """Write a sequence into a bundle's folder; return the two paths to list in its manifest.

    Raises:
        BundleError: `folder` already holds a golden sequence.
    """
    target = folder / FOLDER
    if target.exists():
        raise BundleError(f"{target} exists already: write each bundle into a new folder.")
    tensors, at = [], 0
    with tempfile.TemporaryDirectory(dir=folder) as temporary:
        part = Path(temporary) / FOLDER
        part.mkdir()
        with (part / Path(DATA).name).open("wb") as file:
            for name, dtype in _TENSORS.items():
                array = getattr(sequence, name)
                file.write(bytes(-at % ALIGNMENT))
                at += -at % ALIGNMENT
                spec = {"name": name, "dtype": dtype, "shape": list(array.shape), "file": DATA}
                tensors.append({**spec, "offset": at, "bytes": array.nbytes})
                at += file.write(array.astype(_little(dtype)).tobytes())
        index = {"format": "qlot-golden", "version": 1, "byte_order": "little", "tensors": tensors}
        (part / Path(INDEX).name).write_text(json.dumps(index, indent=1) + "\n", encoding="utf-8")
        part.rename(target)
    return INDEX, DATA


def read_golden(source: Reader | Mapping[str, bytes], index: str = INDEX) -> GoldenSequence:
    """Read a sequence from a bundle, or from bytes by path.

    Raises:
        IntegrityError: the index or the data is not what the format says.
    """

    def read(path: str) -> bytes:
        if not isinstance(source, Mapping):
            return source.read(path)
        if path not in source:
            raise IntegrityError(f"{path!r} is missing")
        return source[path]

    text = read(index)
    try:
        strict_json(text, index)
        tensors = _Index.model_validate_json(text, strict=True).tensors
    except ManifestError as e:
        raise IntegrityError(str(e)) from e
    except ValidationError as e:
        raise IntegrityError(f"{index}: {describe(e)}") from e
    names = [t.name for t in tensors]
    if sorted(names) != sorted(_TENSORS):
        raise IntegrityError(f"{index} lists the tensors {names}, wanted {list(_TENSORS)}")
    return GoldenSequence(**_arrays(tensors, read, index))


def _arrays(tensors: tuple[_Tensor, ...], read: Any, index: str) -> dict[str, NDArray[Any]]:
    files = {path: read(path) for path in {t.file for t in tensors}}
    arrays: dict[str, NDArray[Any]] = {}
    ends = dict.fromkeys(files, 0)
    for t in sorted(tensors, key=lambda t: t.offset):
        size = math.prod(t.shape) * np.dtype(t.dtype).itemsize
        if t.bytes != size:
            raise IntegrityError(f"{index}: {t.name} has {t.bytes} bytes, its shape needs {size}")
        if t.offset < ends[t.file] or t.offset + size > len(files[t.file]):
            raise IntegrityError(f"{index}: {t.name} overlaps another tensor or ends beyond {t.file!r}")
        ends[t.file] = t.offset + size
        flat = np.frombuffer(files[t.file], _little(t.dtype), math.prod(t.shape), t.offset)
        arrays[t.name] = flat.reshape(t.shape).astype(t.dtype, copy=False)
    return arrays


def _little(dtype: str) -> np.dtype[Any]:
    return np.dtype(dtype).newbyteorder("<")
