from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qlot.runtime.bundle.folder import Bundle
from qlot.runtime.bundle.manifest import Manifest, json_schema
from qlot.runtime.bundle.parsing import parse_manifest
from qlot.runtime.errors import ManifestError, QlotError, SchemaVersionError
from tests.runtime.bundles import C, N, S, edit_manifest, write_bundle

SCHEMA = Path(__file__).parents[3] / "runtime" / "contract" / "manifest.schema.json"
Tree = dict[str, Any]
MAPPINGS = {"stages", "ops", "groups", "rules", "tools"}  # objects whose keys are data, not fields
PARITY = {
    "reference": "r", "clip": "c", "frames": 1, "median_px": 0.1, "p99_px": 0.1, "max_px": 0.1, "max_result_px": 0.1,
    "max_log_sigma": 0.1, "worst": {"frame": 0, "step": 1, "landmark": "l"}, "tolerance": {"px": 1.0, "log_sigma": 1.0},
}  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_bundle(tmp_path_factory.mktemp("manifest") / "bundle", unrolled=True)


@pytest.fixture(scope="module")
def text(folder: Path) -> str:
    return (folder / "manifest.json").read_text()


@pytest.fixture
def tree(text: str) -> Tree:
    return json.loads(text)


def test_schema_file_is_the_generated_one() -> None:
    assert json.loads(SCHEMA.read_text()) == json_schema(), (
        "run: python -m qlot.runtime.bundle.manifest > runtime/contract/manifest.schema.json"
    )


def test_a_written_manifest_follows_the_schema_file_and_a_broken_one_does_not(tree: Tree) -> None:
    validator = jsonschema.Draft202012Validator(json.loads(SCHEMA.read_text()))
    validator.validate(tree)
    tree["stages"]["refiner"]["inputs"][0]["shape"][0] = "1"
    assert not validator.is_valid(tree)


def test_parsed_and_dumped_it_is_the_same(text: str) -> None:
    manifest = parse_manifest(text)
    assert parse_manifest(manifest.model_dump_json()) == manifest
    assert parse_manifest(text.encode()) == manifest


@pytest.mark.parametrize(
    ("version", "extra", "error"),
    [
        ("1.0", False, None),
        ("1.0", True, ManifestError),  # a mistake: no version up to this one has such a field
        ("1.1", False, None),
        ("1.1", True, ManifestError),
        ("1.2", False, None),
        ("1.2", True, ManifestError),
        ("1.3", False, None),
        ("1.3", True, None),  # a newer minor version may have added it
        ("1.999999", True, None),
        ("2.0", False, SchemaVersionError),
        ("0.9", False, SchemaVersionError),
        ("1", False, ManifestError),
        ("1.0.0", False, ManifestError),
        ("1.x", False, ManifestError),
        ("١.٠", False, ManifestError),  # digits, but not ASCII ones
        (1.0, False, ManifestError),
        (None, False, ManifestError),
    ],
)
@pytest.mark.parametrize("inside", [(), ("layout",), ("stages", "refiner", "inputs", 0)])
def test_version_policy(tree: Tree, version: object, extra: bool, error: type[QlotError] | None, inside: tuple) -> None:
    tree["schema_version"] = version
    if extra:
        part: Any = tree
        for key in inside:
            part = part[key]
        part["added_later"] = {"anything": 1}
    if error is None:
        parse_manifest(json.dumps(tree))
    else:
        with pytest.raises(error) as caught:
            parse_manifest(json.dumps(tree))
        assert type(caught.value) is error


def test_a_newer_minor_version_is_still_checked_field_by_field(tree: Tree) -> None:
    tree["schema_version"] = "1.7"
    del tree["gate"]
    with pytest.raises(ManifestError, match="gate"):
        parse_manifest(json.dumps(tree))


def _objects(part: Any, name: str = "") -> Iterator[tuple[str, Tree]]:
    """Yield every object of a manifest whose fields the schema names, and where it stands."""
    if isinstance(part, list):
        for index, inner in enumerate(part):
            yield from _objects(inner, f"{name}.{index}")
    if isinstance(part, dict):
        if name.rsplit(".")[-1] not in MAPPINGS:
            yield name, part
        for key, inner in part.items():
            yield from _objects(inner, f"{name}.{key}")


def test_fields_added_by_a_newer_minor_version_are_ignored_in_every_object(tree: Tree) -> None:
    tree["parity"] = PARITY
    expected = parse_manifest(json.dumps({**tree, "schema_version": "1.9"}))
    names = []
    for name, part in list(_objects(tree)):
        names.append(name)
        part["added_later"] = {"added_later": [{"name": 1}]}
    assert {"", ".layout", ".preprocessing.crop", ".stages.refiner.inputs.0", ".files.0", ".parity.worst"} <= {*names}
    with pytest.raises(ManifestError, match="added_later: Extra inputs are not permitted"):
        parse_manifest(json.dumps(tree))
    tree["schema_version"] = "1.9"
    assert parse_manifest(json.dumps(tree)) == expected


def test_beside_ignored_fields_types_stay_exact_and_parts_must_agree(tree: Tree) -> None:
    tree["schema_version"] = "1.9"
    tree["state"]["added_later"] = 1
    parse_manifest(json.dumps(tree))
    with pytest.raises(ManifestError, match=r"iterations\.cold: .*integer"):
        parse_manifest(json.dumps({**tree, "iterations": {"cold": 4.0, "tracking": 1, "added_later": 1}}))
    tree["state"]["landmarks"][1] += 1  # what only a model that is otherwise right is checked for
    with pytest.raises(ManifestError, match="state shapes"):
        parse_manifest(json.dumps(tree))


@pytest.mark.parametrize(("version", "advice"), [("2.0", "update qlot-mobile"), ("0.1", "export the bundle again")])
def test_another_major_version_says_what_to_do(tree: Tree, version: str, advice: str) -> None:
    tree["schema_version"] = version
    with pytest.raises(SchemaVersionError, match=advice):
        parse_manifest(json.dumps(tree))


@pytest.mark.parametrize("value", ["32", 32.0, True, None, [32], -32, 0, 1e400])
def test_an_integer_is_an_integer(tree: Tree, value: object) -> None:
    tree["preprocessing"]["size"] = value
    with pytest.raises(ManifestError):
        parse_manifest(json.dumps(tree))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('"target"', '"target": "onnx", "target"', "repeated"),
        ('"cutoff": 0.1', '"cutoff": NaN', "NaN"),
        ('"cutoff": 0.1', '"cutoff": 1e999', "cutoff"),
        ('"cutoff": 0.1', f'"cutoff": {"[" * 100_000}{"]" * 100_000}', "manifest.json"),
        ('"cutoff": 0.1', f'"cutoff": {"9" * 5000}', "manifest.json"),
        ('"cutoff": 0.1', r'"cutoff": "\ud800"', "cutoff|manifest.json"),
        ('"gate"', r'"\ud800": 1, "gate"', "manifest.json"),
        ("{", "[{", "JSON"),
    ],
)
def test_json_that_parsers_disagree_on_is_refused(text: str, old: str, new: str, message: str) -> None:
    assert old in text
    with pytest.raises(ManifestError, match=message) as caught:
        parse_manifest(text.replace(old, new, 1))
    assert len(str(caught.value).encode()) < 3000  # one line for a terminal, and encodable


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32", "utf-8-sig"])
def test_other_encodings_are_refused(text: str, encoding: str) -> None:
    with pytest.raises(ManifestError, match="JSON"):
        parse_manifest(text.encode(encoding))


def _set(*path: Any, value: Any) -> Callable[[Tree], None]:
    def change(tree: Tree) -> None:
        part: Any = tree
        for key in path[:-1]:
            part = part[key]
        part[path[-1]] = value

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_set("state", "landmarks", value=[1, N + 1, 7]), "state shapes"),
        (_set("state", "hidden", value=[1, N + 1, C]), "state shapes"),
        (_set("layout", "mirror", value=[0] * (N - 1)), "mirror"),
        (_set("layout", "edges", 0, value=[0, N]), f"index {N}"),
        (_set("layout", "write_mask", value=[-1]), "write_mask"),
        (_set("stages", "refiner", "file", value="other.onnx"), "not listed under files: other.onnx"),
        (_set("golden", "index", value="golden/other.json"), "not listed"),
        (_set("golden", "tolerance", value=None), "golden.tolerance"),
        (_set("files", 0, "sha256", value="A" * 64), "sha256"),
        (lambda t: t["stages"].pop("extractor"), "extractor"),
        (lambda t: t["files"].append(t["files"][0]), "twice"),
        (_set("stages", "refiner", "file", value="extractor.onnx"), "share a file need a function each"),
        (
            _set("stages", "refiner", "delegation", value={"delegate": "d", "partitions": -1, "outside": {}}),
            "partitions",
        ),
        (lambda t: t["stages"].update(decoder=t["stages"]["refiner"]), "decoder"),
    ],
)
def test_parts_must_agree(tree: Tree, change: Callable[[Tree], object], message: str) -> None:
    change(tree)
    with pytest.raises(ManifestError, match=message):
        parse_manifest(json.dumps(tree))


@pytest.mark.parametrize("stage", ["extractor", "refiner", "refiner_unrolled"])
@pytest.mark.parametrize("side", ["inputs", "outputs"])
@pytest.mark.parametrize("damage", ["rename", "remove", "repeat", "reshape", "retype"])
def test_a_stage_has_the_tensors_of_the_contract(tmp_path: Path, stage: str, side: str, damage: str) -> None:
    folder = write_bundle(tmp_path / "bundle", unrolled=True, golden=False)

    def change(tree: Tree) -> None:
        tensors = tree["stages"][stage][side]
        if damage == "rename":
            tensors[-1]["name"] += "_x"
        elif damage == "remove":
            tensors.pop()
        elif damage == "repeat":
            tensors.append(tensors[-1])
        elif damage == "reshape":
            tensors[-1]["shape"][-1] += 1
        else:
            tensors[-1]["dtype"] = "int32"

    edit_manifest(folder, change)
    # The features' shapes are the extractor's affair: its refiner is then the one that does not fit.
    named = "refiner inputs" if (stage, side, damage) == ("extractor", "outputs", "reshape") else f"{stage} {side}"
    with pytest.raises(ManifestError, match=named):
        Bundle.open(folder)


@pytest.mark.parametrize(
    ("stage", "steps"), [("extractor", 1), ("refiner", 0), ("refiner", 2), ("refiner_unrolled", 0)]
)
def test_a_stage_has_its_number_of_steps(tmp_path: Path, stage: str, steps: int) -> None:
    folder = write_bundle(tmp_path / "bundle", unrolled=True, golden=False)
    edit_manifest(folder, _set("stages", stage, "iterations", value=steps))
    with pytest.raises(ManifestError, match=f"{stage} cannot have {steps} refinement steps"):
        Bundle.open(folder)


def test_a_bundle_of_the_first_version_reads_as_ever(tree: Tree) -> None:
    """Partitions stood among the operators then, and no stage had a function."""
    for stage in tree["stages"].values():
        assert not stage.keys() & {"function", "delegation"}
        stage["ops"] |= {"DELEGATE": 2, "outside DELEGATE: SIGN": 1}
    old = parse_manifest(json.dumps({**tree, "schema_version": "1.0"})).stages["refiner"]
    assert (old.function, old.delegation, old.ops["DELEGATE"]) == (None, None, 2)


def test_sizes_are_read_not_assumed(text: str) -> None:
    manifest = parse_manifest(text)
    assert (manifest.preprocessing.size, len(manifest.layout.points), manifest.state.hidden[2]) == (S, N, C)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@settings(deadline=None)
@given(data=st.binary(max_size=200) | JSON.map(lambda x: json.dumps(x).encode()))
def test_anything_else_is_a_manifest_error(data: bytes) -> None:
    with pytest.raises((ManifestError, SchemaVersionError)):
        parse_manifest(data)


@settings(deadline=None)
@given(data=st.data(), value=JSON)
def test_any_field_with_any_value_parses_or_is_a_typed_error(text: str, data: st.DataObject, value: Any) -> None:
    part: Any = (tree := json.loads(text))
    while True:
        key = data.draw(st.sampled_from(sorted(part) if isinstance(part, dict) else range(len(part))))
        if not (isinstance(part[key], dict | list) and part[key]) or data.draw(st.integers(0, 4)) == 0:
            break
        part = part[key]
    part[key] = value
    try:
        manifest = parse_manifest(json.dumps(tree))
    except (ManifestError, SchemaVersionError) as e:
        str(e).encode()
    else:
        assert Manifest.model_validate_json(manifest.model_dump_json()) == manifest
