"""Landmark layouts: which points of the canonical face are tracked, what they are called, how they mirror.

The rules here are an author's: a file may leave things out, and an error says what to change. A bundle's reader has
rules of its own (`LayoutSpec`), against strangers, and this room imports no runtime. A test holds them together:
whatever passes here, a bundle takes.

Left and right are the subject's sides; the subject's right has x < 0. The frame and the file format: `docs/layouts.md`.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]

FRAME_LIMIT = 3.0  # the shipped faces stay within 1.4; points in cm or pixels do not
MOST_LANDMARKS, MOST_GROUPS, MOST_EDGES = 4096, 1000, 32768  # what a bundle takes; FaceMesh has 478 landmarks
MIRROR_TOLERANCE = 0.02  # canonical units, 1.5 mm: below half the closest spacing of the 98 points

_FOLDER = Path(__file__).with_name("layouts")
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}")
_FIELDS = frozenset({"name", "points", "names", "groups", "mirror", "edges", "outer_eyes", "write_mask", "source"})
_REMARKS = frozenset({"frame", "note", "subset_of", "indices"})  # for readers of the file, not used


class LayoutError(ValueError):
    """A landmark layout cannot be found, read or used; the message says what to change."""


@dataclass(frozen=True, eq=False)
class Layout:
    """N landmarks on the canonical face; checked and made immutable on construction.

    Raises:
        LayoutError: a field breaks one of the rules of `docs/layouts.md`.
    """

    name: str
    points: FloatArray  # (N, 3) canonical units, x right in the image, y up, z to the viewer; read-only
    names: tuple[str, ...]
    groups: Mapping[str, tuple[int, ...]]
    mirror: tuple[int, ...]  # landmark i of a mirrored image is landmark mirror[i] of the image
    edges: tuple[tuple[int, int], ...]  # lines to draw
    outer_eyes: tuple[int, int] | None = None  # outer eye corners, right then left: the inter-ocular distance
    write_mask: tuple[int, ...] = ()  # landmarks kept from writing into the mixer
    source: str = ""

    def __post_init__(self) -> None:
        def put(field: str, value: object) -> None:
            object.__setattr__(self, field, value)

        _name(self.name, "name")
        if not isinstance(self.source, str):
            raise LayoutError(f"source must be text, not {self.source!r:.60}")
        points = _points(self.points)
        n = len(points)
        put("points", points)
        put("names", _names(self.names, n))
        put("groups", _groups(self.groups, n))
        put("mirror", _mirror(self.mirror, self.names))
        edges = _sequence(self.edges, "edges", MOST_EDGES)
        put("edges", tuple(_pair(e, n, f"edges[{i}]") for i, e in enumerate(edges)))
        put("write_mask", _unique(self.write_mask, n, "write_mask"))
        if self.outer_eyes is not None:
            right, left = _pair(self.outer_eyes, n, "outer_eyes")
            if points[right, 0] >= points[left, 0]:
                raise LayoutError(f"outer_eyes: the subject's right eye comes first, but {right} has the larger x")
            put("outer_eyes", (right, left))

    def __len__(self) -> int:
        return len(self.names)

    def __reduce__(self) -> tuple[Any, ...]:  # copies are built anew: a pickled array forgets that it is read-only
        values = [getattr(self, f.name) for f in fields(self)]
        return Layout, tuple(dict(v) if isinstance(v, Mapping) else v for v in values)

    def spec(self) -> dict[str, Any]:
        """Return the fields of the manifest's `LayoutSpec` as plain JSON types; `load_layout` reads them back."""
        return {
            "name": self.name,
            "points": self.points.tolist(),
            "names": list(self.names),
            "groups": {k: list(v) for k, v in self.groups.items()},
            "mirror": list(self.mirror),
            "edges": [list(e) for e in self.edges],
            "outer_eyes": None if self.outer_eyes is None else list(self.outer_eyes),
            "write_mask": list(self.write_mask),
        }

    def subset(self, indices: Sequence[int], name: str) -> Layout:
        """Return the layout of some landmarks, in the order given; an edge or eye pair that loses an end is left out.

        Raises:
            LayoutError: no index, an index twice or out of range, or a landmark without its mirror partner.
        """
        keep = _unique(list(indices), len(self), "subset")
        new = {old: i for i, old in enumerate(keep)}
        alone = [f"{self.names[i]} needs {self.names[self.mirror[i]]}" for i in keep if self.mirror[i] not in new]
        if alone:
            raise LayoutError(f"a subset keeps mirror partners together: {_some(alone)}")
        groups = {k: tuple(new[i] for i in v if i in new) for k, v in self.groups.items()}
        eyes = self.outer_eyes
        return Layout(
            name=name,
            points=self.points[list(keep)],
            names=tuple(self.names[i] for i in keep),
            groups={k: v for k, v in groups.items() if v},
            mirror=tuple(new[self.mirror[i]] for i in keep),
            edges=tuple((new[a], new[b]) for a, b in self.edges if a in new and b in new),
            outer_eyes=(new[eyes[0]], new[eyes[1]]) if eyes and eyes[0] in new and eyes[1] in new else None,
            write_mask=tuple(new[i] for i in self.write_mask if i in new),
            source=self.source,
        )


def available_layouts() -> tuple[str, ...]:
    """Return the names of the shipped layouts, sorted."""
    return tuple(sorted(p.stem for p in _FOLDER.glob("*.json")))


def layout_path(name_or_path: str | Path) -> Path:
    """Return the file that `load_layout` reads; a shipped layout's name comes first."""
    return _FOLDER / f"{name_or_path}.json" if str(name_or_path) in available_layouts() else Path(name_or_path)


def load_layout(name_or_path: str | Path) -> Layout:
    """Load a shipped layout by name, or a user's own from a path ending in `.json`.

    Raises:
        LayoutError: no such layout, an unreadable file, or contents that break a rule of `docs/layouts.md`.
    """
    choice = f"Shipped layouts: {', '.join(available_layouts())}; or give a path ending in .json."
    path = layout_path(name_or_path)
    if path.suffix.lower() != ".json":
        raise LayoutError(f"there is no layout {str(name_or_path)!r}. {choice}")
    try:
        data: Any = json.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as e:
        raise LayoutError(f"cannot read {path}: {e.strerror}. {choice}") from e
    except (ValueError, RecursionError) as e:
        raise LayoutError(f"{path} is not valid JSON: {e}") from e
    try:
        return _from_json(data, path.stem)
    except LayoutError as e:
        raise LayoutError(f"{path}: {e}") from e


def mirror_by_geometry(points: FloatArray, names: Sequence[str]) -> tuple[int, ...]:
    """Pair points (N, 3) with their reflections (-x, y, z): mutual nearest neighbours within `MIRROR_TOLERANCE`.

    Raises:
        LayoutError: points without a partner, listed by name.
    """
    reflected = points * (-1.0, 1.0, 1.0)
    nearest = np.array([np.linalg.norm(points - r, axis=1).argmin() for r in reflected])
    far = np.linalg.norm(points[nearest] - reflected, axis=1) > MIRROR_TOLERANCE
    alone = np.flatnonzero(far | (nearest[nearest] != np.arange(len(points))))
    if len(alone):
        raise LayoutError(
            f"no mirror partner at (-x, y, z) within {MIRROR_TOLERANCE} for {_some([names[int(i)] for i in alone])}: "
            "give 'mirror', the partner's index for each landmark"
        )
    return tuple(nearest.tolist())


def _from_json(data: Any, stem: str) -> Layout:
    if not isinstance(data, dict) or "points" not in data:
        raise LayoutError("a layout is a JSON object with at least 'points': [[x, y, z], ...]")
    unknown = sorted(data.keys() - _FIELDS - _REMARKS)
    if unknown:
        raise LayoutError(f"unknown field {_some(unknown)}; known are {', '.join(sorted(_FIELDS | _REMARKS))}")
    points = _points(data["points"])
    names = data.get("names", [f"point_{i:03d}" for i in range(len(points))])
    mirror = data["mirror"] if "mirror" in data else mirror_by_geometry(points, _names(names, len(points)))
    defaults: dict[str, Any] = {"name": stem, "groups": {}, "edges": []}
    given = {k: v for k, v in data.items() if k in _FIELDS}
    return Layout(**defaults | given | {"points": points, "names": names, "mirror": mirror})


def _some(items: Sequence[str], most: int = 10) -> str:
    more = f" and {len(items) - most} more" if len(items) > most else ""
    return ", ".join(items[:most]) + more


def _name(value: Any, where: str) -> str:
    """Names become columns of a table, keys, and parts of file names: what means the same in all of them."""
    if not isinstance(value, str) or not _NAME.fullmatch(value):
        raise LayoutError(
            f"{where} must be 1 to 100 letters (a to z), digits, '_', '-' and '.', beginning with a letter, a digit or "
            f"'_', not {value!r:.60}"
        )
    return value


def _sequence(value: Any, where: str, most: int = MOST_LANDMARKS) -> Sequence[Any]:
    if isinstance(value, np.ndarray):
        value = value.tolist()
    if not isinstance(value, list | tuple):
        raise LayoutError(f"{where} must be a list, not {value!r:.60}")
    if len(value) > most:
        raise LayoutError(f"{where} has {len(value)} entries, {most} are allowed")
    return value


def _points(value: Any) -> FloatArray:
    rows = _sequence(value, "points")
    if not rows:
        raise LayoutError("points is empty")
    for i, row in enumerate(rows):
        if not (isinstance(row, list | tuple) and len(row) == 3 and all(_is_number(v) for v in row)):
            raise LayoutError(f"points[{i}] must be three numbers [x, y, z], not {row!r:.60}")
        if not all(abs(v) < math.inf for v in row):
            raise LayoutError(f"points[{i}] is not finite: {row!r}")
        if any(abs(v) > FRAME_LIMIT for v in row):
            raise LayoutError(
                f"points[{i}] = {row!r:.60} lies outside the canonical frame (|coordinate| <= {FRAME_LIMIT:g}): "
                "wrong units? ICT-FaceKit centimetres become canonical by the formula in docs/layouts.md"
            )
    points = np.array(rows, dtype=np.float64)
    if not np.ptp(points[:, :2], axis=0).any():
        raise LayoutError("points: at least two must differ in x or y, for the crop is fitted to their spread")
    points.setflags(write=False)
    return points


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _names(value: Any, n: int) -> tuple[str, ...]:
    names = tuple(_name(v, f"names[{i}]") for i, v in enumerate(_sequence(value, "names")))
    if len(names) != n:
        raise LayoutError(f"names has {len(names)} entries for {n} points")
    twice = [v for v, count in Counter(names).items() if count > 1]
    if twice:
        raise LayoutError(f"names must be unique, repeated: {_some(twice)}")
    return names


def _indices(value: Any, n: int, where: str) -> tuple[int, ...]:
    indices = _sequence(value, where)
    for v in indices:
        if isinstance(v, bool) or not isinstance(v, int | np.integer) or not 0 <= v < n:
            raise LayoutError(f"{where}: {v!r} is not the index of a landmark (whole numbers 0 to {n - 1})")
    return tuple(int(v) for v in indices)


def _unique(value: Any, n: int, where: str) -> tuple[int, ...]:
    indices = _indices(value, n, where)
    if len(set(indices)) != len(indices):
        raise LayoutError(f"{where} lists a landmark twice")
    return indices


def _pair(value: Any, n: int, where: str) -> tuple[int, int]:
    indices = _unique(value, n, where)
    if len(indices) != 2:
        raise LayoutError(f"{where} must be two landmarks, not {len(indices)}")
    return indices[0], indices[1]


def _groups(value: Any, n: int) -> Mapping[str, tuple[int, ...]]:
    if not isinstance(value, Mapping):
        raise LayoutError(f"groups must be an object of name: indices, not {value!r:.60}")
    if len(value) > MOST_GROUPS:
        raise LayoutError(f"there are {len(value)} groups, {MOST_GROUPS} are allowed")
    return MappingProxyType({_name(k, "a group's name"): _unique(v, n, f"groups.{k}") for k, v in value.items()})


def _mirror(value: Any, names: Sequence[str]) -> tuple[int, ...]:
    mirror = _indices(value, len(names), "mirror")
    if len(mirror) != len(names):
        raise LayoutError(f"mirror has {len(mirror)} entries for {len(names)} points")
    broken = [f"{names[i]} -> {names[j]} -> {names[mirror[j]]}" for i, j in enumerate(mirror) if mirror[j] != i]
    if broken:
        raise LayoutError(f"mirror must lead back when applied twice: {_some(broken)}")
    return mirror
