"""What a manifest may ask for: bounds on every number, text and list, and refusals that are quick and small."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from qlot.runtime.bundle.folder import Bundle
from qlot.runtime.bundle.limits import MAX_FILE_BYTES, MAX_JSON_VALUES, MAX_PROBLEMS, printable
from qlot.runtime.bundle.manifest import LayoutSpec, json_schema
from qlot.runtime.bundle.parsing import parse_manifest
from qlot.runtime.errors import IntegrityError, ManifestError
from tests.runtime.bundles import rehash, write_bundle

Tree = dict[str, Any]
ROOT = Path(__file__).parents[3]
MOST = 2**31  # bytes of address space: an engine maps libraries of several hundred MB before it reads anything


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> str:
    return (write_bundle(tmp_path_factory.mktemp("bounds") / "bundle") / "manifest.json").read_text()


@pytest.fixture
def tree(text: str) -> Tree:
    return json.loads(text)


def unbounded(schema: Any, at: str = "") -> Iterator[str]:
    """Yield the places of a JSON schema where a number, a text, a list or an object may be as large as it likes."""
    if isinstance(schema, list):
        for i, part in enumerate(schema):
            yield from unbounded(part, f"{at}/{i}")
    if not isinstance(schema, dict):
        return
    kind = schema.get("type") if isinstance(schema.get("type"), str) else None
    closed = "enum" in schema or "const" in schema
    if kind in ("integer", "number"):
        low = {"minimum", "exclusiveMinimum"} & schema.keys()
        high = {"maximum", "exclusiveMaximum"} & schema.keys()
        if not (closed or (low and high)):
            yield f"{at}: {kind}"
    if kind == "string" and not closed and "maxLength" not in schema and schema.get("pattern") != "^[0-9a-f]{64}$":
        yield f"{at}: string"
    if kind == "array" and "maxItems" not in schema:
        yield f"{at}: array"
    if kind == "object" and "properties" not in schema:
        names = schema.get("propertyNames", {})
        if "maxProperties" not in schema and not {"enum", "const"} & names.keys():
            yield f"{at}: object"
    for key, part in schema.items():
        yield from unbounded(part, f"{at}/{key}")


def test_every_number_text_and_list_of_the_schema_has_an_upper_bound() -> None:
    assert list(unbounded(json_schema())) == []


def test_the_search_for_what_is_unbounded_finds_it() -> None:
    fields = {
        "a": {"type": "integer", "minimum": 0}, "b": {"type": "string"}, "c": {"type": "array", "items": {}},
        "d": {"type": "object", "additionalProperties": {"type": "number"}},
    }  # fmt: skip
    found = list(unbounded({"type": "object", "properties": fields}))
    assert [line.rpartition(" ")[2] for line in found] == ["integer", "string", "array", "object", "number"]


def test_integers_fit_a_double() -> None:
    """A port in JavaScript has no other number."""
    text = json.dumps(json_schema())
    assert max(int(n) for n in text.replace(",", " ").replace("}", " ").split() if n.isdigit()) < 2**53


def put(*path: Any, value: Any) -> Callable[[Tree], None]:
    def change(tree: Tree) -> None:
        part: Any = tree
        for key in path[:-1]:
            part = part[key]
        part[path[-1]] = value

    return change


def wide(tree: Tree, channels: int) -> None:
    """Another number of hidden channels, everywhere."""
    tree["state"]["hidden"][2] = channels
    for stage in tree["stages"].values():
        for tensor in (*stage["inputs"], *stage["outputs"]):
            if tensor["name"] in ("hidden", "hidden_out"):
                tensor["shape"][2] = channels


def large(tree: Tree, side: int) -> None:
    """Another size of the image, everywhere."""
    tree["preprocessing"]["size"] = side
    tree["stages"]["extractor"]["inputs"][0]["shape"] = [1, 3, side, side]


GREEDY: dict[str, tuple[Callable[[Tree], object], str]] = {
    "cold steps": (put("iterations", "cold", value=10**12), r"iterations\.cold"),
    "tracking steps": (put("iterations", "tracking", value=65), r"iterations\.tracking"),
    "candidates": (put("tracking", "candidates_per_frame", value=10**12), "candidates_per_frame"),
    "follow-ups": (put("tracking", "follow_ups", value=10**12), "follow_ups"),
    "sides": (put("tracking", "search_sides", value=[0.5] * 150_000), "search_sides"),
    "sides around": (put("tracking", "search_around", value=[1.0] * 17), "search_around"),
    "a gap of ages": (put("tracking", "max_gap", value=1e300), "max_gap"),
    "multiply-accumulates": (put("stages", "refiner", "macs", value=10**400), "macs"),
    "4,000 digits": (put("stages", "refiner", "macs", value=int("9" * 4000)), "macs"),
    "minus 4,000 digits": (put("model", "parameters", value=-int("9" * 4000)), "parameters"),
    "operators": (put("stages", "refiner", "ops", value={"Add": 10**30}), "ops"),
    "size": (lambda t: large(t, 20_000), "size"),
    "hidden channels": (lambda t: wide(t, 2**34), "hidden"),
    "elements": (put("stages", "extractor", "outputs", 0, "shape", value=[2**14] * 4), "elements"),
    "dimensions": (put("stages", "extractor", "outputs", 0, "shape", value=[1] * 9), "shape"),
    "landmarks": (put("layout", "points", value=[[0.0, 0.0, 0.0]] * 4097), "points"),
    "a file": (put("files", 0, "bytes", value=10**12), "bytes"),
    "files": (lambda t: t["files"].extend({**t["files"][0], "path": f"x{i}"} for i in range(1000)), "files"),
    "all files": (lambda t: [f.update(bytes=MAX_FILE_BYTES) for f in t["files"]], "1024 MB in all"),
    "golden frames": (put("golden", "frames", value=10**18), r"golden\.frames"),
    "a long text": (put("state", "init", value="x" * 10**6), r"state\.init"),
    "texts": (put("tools", value={f"t{i}": "1" for i in range(101)}), "tools"),
    "groups": (put("layout", "groups", value={f"g{i}": [] for i in range(1001)}), "groups"),
    "a huge list": (put("layout", "mirror", value=[0] * (MAX_JSON_VALUES + 1)), "200,000 values"),
}


@pytest.mark.parametrize("case", GREEDY)
def test_a_manifest_that_asks_for_too_much_is_refused_by_name(tree: Tree, case: str) -> None:
    change, message = GREEDY[case]
    change(tree)
    with pytest.raises(ManifestError, match=message) as caught:
        parse_manifest(json.dumps(tree))
    assert len(str(caught.value)) < 2000


HOSTILE = [
    "\x1b]0;owned\x07",
    "a\x1b[2J",
    "line\nbreak",
    "\x9b31m",
    "tab\t",
    "right\u202eleft",
    "\u2028",
    "\x7f",
    "\x00",
]


@pytest.mark.parametrize("bad", HOSTILE)
@pytest.mark.parametrize(
    "path",
    [
        ("layout", "name"), ("layout", "names", 0), ("model", "preset"), ("model", "licence"), ("state", "init"),
        ("stages", "refiner", "inputs", 0, "unit"), ("stages", "refiner", "inputs", 0, "name"),
        ("confidence", "calibration"), ("scheme", "requested"), ("stages", "refiner", "function"),
    ],
    ids=lambda p: ".".join(map(str, p)),
)  # fmt: skip
def test_text_that_would_steer_a_terminal_is_refused(tree: Tree, path: tuple[Any, ...], bad: str) -> None:
    put(*path, value=bad)(tree)
    with pytest.raises(ManifestError, match=str(path[0])) as caught:
        parse_manifest(json.dumps(tree))
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("path", [("tools",), ("scheme", "rules"), ("stages", "refiner", "ops"), ("layout", "groups")])
def test_so_are_keys_that_would(tree: Tree, path: tuple[Any, ...]) -> None:
    value: Any = {"tools": "1", "rules": "r", "ops": 1, "groups": [0]}[path[-1]]
    put(*path, value={"\x1b[2J": value})(tree)
    with pytest.raises(ManifestError, match=path[-1]) as caught:
        parse_manifest(json.dumps(tree))
    assert str(caught.value).isprintable()


def test_text_of_every_language_is_read(tree: Tree) -> None:
    licence = "Größe — 日本語, עברית, emoji 👩🏽‍🔬"
    tree["model"]["licence"] = licence
    assert parse_manifest(json.dumps(tree)).model.licence == licence


@pytest.mark.parametrize(
    "bad", ["=cmd|'/C calc'!A0", "+1", "-1", "@SUM(A1)", "", " ", "a,b", 'a"b', "left eye", "../x", "é", "x" * 101]
)
def test_a_name_is_no_formula_and_no_path(tree: Tree, bad: str) -> None:
    """Names become columns of a CSV file, which spreadsheets open, and parts of file names."""
    for change in (put("layout", "names", 2, value=bad), put("layout", "name", value=bad)):
        changed = json.loads(json.dumps(tree))
        change(changed)
        with pytest.raises(ManifestError, match=r"layout\.name"):
            parse_manifest(json.dumps(changed))


def test_two_landmarks_have_two_names(tree: Tree) -> None:
    tree["layout"]["names"][3] = tree["layout"]["names"][1]
    with pytest.raises(ManifestError, match="names must be unique, repeated: right"):
        parse_manifest(json.dumps(tree))


def test_many_unknown_fields_of_a_newer_version_are_refused_a_few_are_ignored(tree: Tree) -> None:
    tree["schema_version"] = "1.9"
    few = {f"later_{i}": 0 for i in range(MAX_PROBLEMS)}
    assert parse_manifest(json.dumps({**tree, **few})).schema_version == "1.9"
    with pytest.raises(ManifestError, match=f"{MAX_PROBLEMS + 1} fields are unknown or wrong"):
        parse_manifest(json.dumps({**tree, **few, "one_more": 0}))


def test_what_is_shown_of_a_users_file_name_can_be_written_and_read() -> None:
    assert printable("clip.mp4") == "clip.mp4" and printable("ΑΒΓ 日本 é.mp4") == "ΑΒΓ 日本 é.mp4"
    assert printable("a\x1b[2J\n\udcff\u202e") == r"a\x1b[2J\n\udcff\u202e"
    assert len(printable("x" * 4096)) == 200


def test_a_sparse_file_of_a_terabyte_is_not_read(tmp_path: Path) -> None:
    folder = write_bundle(tmp_path / "bundle")
    with (folder / "golden/data.bin").open("r+b") as file:
        file.truncate(2**40)
    with pytest.raises(IntegrityError, match="has 1099511627776 bytes, the manifest says"):
        Bundle.open(folder)


def test_a_golden_index_that_is_no_index_is_not_read(tmp_path: Path) -> None:
    folder = write_bundle(tmp_path / "bundle")
    with (folder / "golden/index.json").open("r+b") as file:
        file.truncate(5 * 2**20)
    rehash(folder)
    with pytest.raises(IntegrityError, match="more than 4 MB"):
        Bundle.open(folder).golden()


PROGRAM = """
import resource, sys
from pathlib import Path
from qlot.runtime import QlotError
from qlot.runtime.bundle.parsing import parse_manifest
before = resource.getrusage(resource.RUSAGE_SELF)
resource.setrlimit(resource.RLIMIT_AS, ({most}, {most}))
for path in sys.argv[1:]:
    try:
        parse_manifest(Path(path).read_bytes())
    except QlotError as e:
        print(type(e).__name__)
after = resource.getrusage(resource.RUSAGE_SELF)
print((after.ru_maxrss - before.ru_maxrss) // 1024)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="no limit on address space elsewhere")
def test_refusals_need_little_memory(tree: Tree, tmp_path: Path) -> None:
    """One of these took a gigabyte, others a day: all of them together, in one process of limited memory."""

    def fields(count: int) -> Tree:
        return {"schema_version": "1.9", **{f"f{i}": 0 for i in range(count)}}

    layout = {**tree["layout"], "names": ["same"] * 4096, "points": [[0.1, 0.1, 0.1]] * 4096, "mirror": [0] * 4096}
    changes = [
        fields(1_000_000), fields(190_000), {"layout": layout}, {"iterations": {"cold": 10**12, "tracking": 1}},
        {"tools": {f"t{i}": "1" for i in range(150_000)}}, {"golden": [0] * 190_000},
    ]  # fmt: skip
    files = []
    for i, change in enumerate(changes):
        files.append(tmp_path / f"{i}.json")
        files[-1].write_text(json.dumps({**tree, **change}))
    command = [sys.executable, "-c", PROGRAM.format(most=MOST), *map(str, files)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    *errors, used = done.stdout.splitlines()
    assert errors == ["ManifestError"] * len(changes)
    assert int(used) < 250  # MB


def test_a_layout_alone_is_checked_too() -> None:
    with pytest.raises(ValueError, match="names must be unique"):
        LayoutSpec(name="two", points=((0, 0, 0), (1, 0, 0)), names=("a", "a"), groups={}, mirror=(0, 1), edges=(),
                   outer_eyes=None)  # fmt: skip
