"""Damaged bundles, made from a good one: the same seed and number give the same damage on every machine.

Run as a program it opens them one after another and reports each on standard output, so that a crash in an engine's
native code ends this process and not the test that started it (`test_fuzz.py`).
"""

from __future__ import annotations

import copy
import faulthandler
import json
import os
import random
import resource
import shutil
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from qlot.runtime.bundle.folder import Bundle
from qlot.runtime.errors import QlotError
from qlot.runtime.network.sessions import open_stage
from tests.runtime.bundles import rehash

SECONDS = 60  # a case that takes longer hangs
MEMORY = 5 * 2**30  # bytes of address space
GRAPHS = ["extractor.onnx", "refiner.onnx", "refiner_unrolled.onnx"]
GOLDEN = ["golden/index.json", "golden/data.bin"]
VALUES: list[Any] = [
    None, True, False, 0, -1, 1, 2**31, 2**63, -(2**64), 10**400, 0.5, -0.0, 1e308, 5e-324, "", "0", "1", "x" * 5000,
    "\x00", "../../etc/passwd", "é", "𝔘", "\ud800", [], {}, [[]], {"": None}, [0] * 3000, float("nan"), float("inf"),
    float("-inf"), "1.2", "2.0", "0.9", "999999.0", 10**12, 2**34, 20_000, int("9" * 4000), [0.5] * 100_000,
    "\x1b]0;owned\x07", "=cmd|'/C calc'!A0", "\u202e", {f"f{i}": 0 for i in range(5000)}, "tflite", "coreml", "dense",
    "onnx", 0.1 + 0.2, 1.0, 2.0,
]  # fmt: skip
PATHS = [
    "../extractor.onnx", "/etc/passwd", "a//b", "./extractor.onnx", "golden/../extractor.onnx", "a\\b", "..\\x", "C:x",
    "C:/x", "//host/share", "", ".", "..", "a/", "a/.", "a/..", "x\x00.onnx", "é.onnx", "e\u0301.onnx", "ＡＢ", "~/x",
    "\u202egnp.x", "Extractor.onnx", "EXTRACTOR.ONNX", "golden/INDEX.json", "Golden/index.json", "manifest.json",
    "Manifest.json", "a" * 5000, "a/" * 2000 + "a", "x\n", " x", "x ", "x.", ".x", "x.onnx", "golden/x.onnx",
    "/proc/self/mem", "/dev/zero", "file:///etc/passwd", "%2e%2e/x", "\ud800", "a/b/c/d/e/f.onnx", "golden",
]  # fmt: skip


def damage(seed: int, number: int, templates: Path, folder: Path) -> str:
    """Write damaged bundle `number` into `folder`; return the kind of damage."""
    rng = random.Random(f"{seed}/{number}")
    shutil.copytree(rng.choice(sorted(templates.iterdir())), folder)
    kind = list(KINDS)[number % len(KINDS)]
    KINDS[kind](rng, folder)
    return kind


def attempt(folder: Path) -> str:
    """Use everything in a bundle; return "opened" or the name of the typed error. Anything else is raised."""
    try:
        bundle = Bundle.open(folder)
        for stage in bundle.manifest.stages:
            session = open_stage(bundle, stage)
            session.run({t.name: np.zeros(t.shape, t.dtype) for t in session.inputs})
        bundle.golden()
    except QlotError as e:
        # A message must be encodable, which lone surrogates are not, and must not steer the terminal.
        if not 10 < len(str(e).encode()) < 20_000 or not str(e).isprintable():
            raise AssertionError(f"a poor message: {e!a}") from e
        return type(e).__name__
    return "opened"


# --- bytes -----------------------------------------------------------------------------------------------------------


def scramble(rng: random.Random, data: bytes) -> bytes:
    """Return other bytes than `data`."""
    while (out := _scramble(rng, data)) == data:
        pass
    return out


def _scramble(rng: random.Random, data: bytes) -> bytes:
    out = bytearray(data)
    at = rng.randrange(len(out))
    what = rng.choice(["flip", "flip", "flip", "set", "cut", "insert", "delete", "repeat", "empty"])
    if what == "flip":
        for _ in range(rng.randint(1, 6)):
            out[rng.randrange(len(out))] ^= 1 << rng.randrange(8)
    elif what == "set":
        out[at] = rng.choice([0, 1, 0x7F, 0x80, 0xFF])
    elif what == "cut":
        del out[at:]
    elif what == "insert":
        out[at:at] = rng.randbytes(rng.randint(1, 9))
    elif what == "delete":
        del out[at : at + rng.randint(1, 9)]
    elif what == "repeat":
        out[at:at] = out[at : at + rng.randint(1, 200)]
    else:
        out.clear()
    return bytes(out)


def manifest_bytes(rng: random.Random, folder: Path) -> None:
    path = folder / "manifest.json"
    encoding = rng.choice(["utf-16", "utf-32", "utf-8-sig", *[""] * 12])
    path.write_bytes(path.read_text().encode(encoding) if encoding else scramble(rng, path.read_bytes()))


def file_bytes(rng: random.Random, folder: Path, names: list[str]) -> None:
    path = folder / rng.choice([n for n in names if (folder / n).exists()])
    path.write_bytes(scramble(rng, path.read_bytes()))


def graph_stale(rng: random.Random, folder: Path) -> None:
    file_bytes(rng, folder, GRAPHS + GOLDEN)


def graph_fresh(rng: random.Random, folder: Path) -> None:
    file_bytes(rng, folder, GRAPHS)
    rehash(folder)


def golden_fresh(rng: random.Random, folder: Path) -> None:
    file_bytes(rng, folder, GOLDEN)
    rehash(folder)


# --- JSON trees ------------------------------------------------------------------------------------------------------


def places(tree: Any) -> list[tuple[Any, Any]]:
    """Return every (container, key) in a JSON tree."""
    pairs = list(tree.items()) if isinstance(tree, dict) else list(enumerate(tree)) if isinstance(tree, list) else []
    return [(tree, key) for key, _ in pairs] + [place for _, value in pairs for place in places(value)]


def change_tree(rng: random.Random, path: Path) -> None:
    tree = json.loads(path.read_text())
    raw: dict[str, str] = {}  # text to stand where JSON could not say it
    for _ in range(rng.choice([1, 1, 1, 2, 5])):
        # Long lists of numbers would drown the rest: choose the depth first.
        found = places(tree)
        inside, key = rng.choice(found if rng.random() < 0.3 else [p for p in found if isinstance(p[0], dict)])
        what = rng.choice(["delete", "value", "value", "value", "rename", "add", "swap", "double", "repeat", "deep"])
        if what == "delete":
            del inside[key]
        elif what == "value":
            inside[key] = copy.deepcopy(rng.choice(VALUES))
        elif what == "rename" and isinstance(inside, dict):
            inside[rng.choice([key.upper(), key + " ", "", "é", "\ud800", "__class__"])] = inside.pop(key)
        elif what == "add" and isinstance(inside, dict):
            inside[rng.choice(["extra", "model_config", "y" * 3000, "\ud800"])] = copy.deepcopy(rng.choice(VALUES))
        elif what == "swap":
            other, other_key = rng.choice(found)
            inside[key], other[other_key] = copy.deepcopy(other[other_key]), copy.deepcopy(inside[key])
        elif what == "double" and isinstance(inside, list):
            inside.insert(key, copy.deepcopy(inside[key]))
        elif what == "repeat" and isinstance(inside, dict):
            raw["@repeat"] = f"{json.dumps(inside[key])}, {json.dumps(key)}: {json.dumps(rng.choice(VALUES))}"
            inside[key] = "@repeat"
        elif what == "deep":
            levels, pair = rng.choice([50, 150, 500, 5000, 200_000]), rng.choice([("[", "]"), ('{"a":', "}")])
            raw["@deep"] = pair[0] * levels + "0" + pair[1] * levels
            inside[key] = "@deep"
        if not isinstance(tree, (dict, list)) or not tree:
            break
    text = json.dumps(tree)
    for mark, instead in raw.items():
        text = text.replace(json.dumps(mark), instead)
    path.write_text(text)


def manifest_tree(rng: random.Random, folder: Path) -> None:
    change_tree(rng, folder / "manifest.json")


def manifest_version(rng: random.Random, folder: Path) -> None:
    """Claim another schema version, and add a field or not."""
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text())
    major, minor = rng.choice(["0", "1", "1", "1", "2", "٣", "999999"]), rng.choice(["0", "1", "7", "07", "-1", ""])
    inside, _ = rng.choice([(manifest, ""), *(p for p in places(manifest) if isinstance(p[0], dict))])
    inside["later"] = rng.choice(VALUES)
    path.write_text(json.dumps({**manifest, "schema_version": f"{major}.{minor}"}))


def golden_tree(rng: random.Random, folder: Path) -> None:
    change_tree(rng, folder / GOLDEN[0])
    rehash(folder)


# --- graphs ----------------------------------------------------------------------------------------------------------


def graph_proto(rng: random.Random, folder: Path) -> None:
    """Change an ONNX graph as a graph, so that the damage gets past the engine's parser."""
    path = folder / rng.choice([n for n in GRAPHS if (folder / n).exists()])
    model = onnx.load_from_string(path.read_bytes())
    for _ in range(rng.choice([1, 1, 2, 4])):
        rng.choice(PROTO_CHANGES)(rng, model)
    path.write_bytes(model.SerializeToString())
    rehash(folder)


def _dims(rng: random.Random, model: onnx.ModelProto) -> None:
    dims = rng.choice(model.graph.initializer).dims
    if dims:
        dims[rng.randrange(len(dims))] = rng.choice([0, -1, 1, 2**31, 2**40, 2**62, 7])
    else:
        dims.append(rng.choice([0, 2, 2**62]))


def _raw(rng: random.Random, model: onnx.ModelProto) -> None:
    tensor = rng.choice(model.graph.initializer)
    if tensor.raw_data:
        tensor.raw_data = scramble(rng, tensor.raw_data)
    if rng.random() < 0.3:
        tensor.data_type = rng.randrange(25)


def _index(rng: random.Random, model: onnx.ModelProto) -> None:
    integers = [t for t in model.graph.initializer if t.data_type == onnx.TensorProto.INT64]
    if integers:
        tensor = rng.choice(integers)
        values = [rng.choice([0, -1, 1, 5, 100, 2**31, 2**62, -(2**63)]) for _ in range(len(tensor.raw_data) // 8)]
        tensor.raw_data = np.array(values, np.int64).tobytes()


def _attribute(rng: random.Random, model: onnx.ModelProto) -> None:
    attributes = [a for n in model.graph.node for a in n.attribute]
    if not attributes:
        return
    attribute = rng.choice(attributes)
    value = rng.choice([0, -1, 2, 3, 1000, 2**31, 2**40, 2**62, -(2**63)])
    if attribute.ints:
        attribute.ints[rng.randrange(len(attribute.ints))] = value
    else:
        attribute.i = value
    if rng.random() < 0.2:
        attribute.type = rng.randrange(15)


def _operator(rng: random.Random, model: onnx.ModelProto) -> None:
    names = ["Add", "Gather", "Reshape", "Resize", "Conv", "Loop", "Scan", "If", "ConstantOfShape", "Expand", "Tile"]
    rng.choice(model.graph.node).op_type = rng.choice([*names, "TopK", "Slice", "Pad", "GridSample", "Einsum", "X", ""])


def _wire(rng: random.Random, model: onnx.ModelProto) -> None:
    nodes = model.graph.node
    node = rng.choice(nodes)
    names = [name for n in nodes for name in (*n.input, *n.output)] + ["", "nowhere"]
    ends = rng.choice([node.input, node.output])
    if ends:
        ends[rng.randrange(len(ends))] = rng.choice(names)
    else:
        ends.append(rng.choice(names))


def _remove(rng: random.Random, model: onnx.ModelProto) -> None:
    items = rng.choice([model.graph.node, model.graph.initializer, model.graph.input, model.graph.output])
    if len(items) > 1:
        del items[rng.randrange(len(items))]


def _interface(rng: random.Random, model: onnx.ModelProto) -> None:
    tensor = rng.choice(rng.choice([model.graph.input, model.graph.output])).type.tensor_type
    what = rng.randrange(3)
    if what == 0:
        tensor.elem_type = rng.randrange(25)
    elif what == 1 and tensor.shape.dim:
        tensor.shape.dim[rng.randrange(len(tensor.shape.dim))].dim_value = rng.choice([0, -5, 1, 2**40, 2**62])
    else:
        tensor.ClearField("shape")


def _version(rng: random.Random, model: onnx.ModelProto) -> None:
    model.opset_import[0].version = rng.choice([0, -1, 1, 7, 11, 13, 2**40])
    model.ir_version = rng.choice([0, 3, 9, 2**40])


def _external(rng: random.Random, model: onnx.ModelProto) -> None:
    tensor = rng.choice(model.graph.initializer)
    tensor.data_location = onnx.TensorProto.EXTERNAL
    for key, value in (("location", rng.choice(PATHS[:8])), ("offset", "0")):
        entry = tensor.external_data.add()
        entry.key, entry.value = key, value.replace("\ud800", "")


def _graph_inside(rng: random.Random, model: onnx.ModelProto) -> None:
    """An operator that holds a graph, such as a loop of 2**62 rounds."""
    node = rng.choice(model.graph.node)
    node.op_type = rng.choice(["Loop", "If", "Scan", "Relu"])
    node.attribute.add(name="body", type=onnx.AttributeProto.GRAPH, g=onnx.GraphProto(name="b"))


def _many(rng: random.Random, model: onnx.ModelProto) -> None:
    node = rng.choice(model.graph.node)
    model.graph.node.extend([node] * rng.choice([2, 100, 30_000]))


def _greedy_value(rng: random.Random, model: onnx.ModelProto) -> None:
    shape = rng.choice([[2**40], [2**20] * 3, [1] * 1000, [-1, 2**62]])
    name = rng.choice([o for n in model.graph.node for o in n.output])
    model.graph.value_info.append(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape))


def _terminal(rng: random.Random, model: onnx.ModelProto) -> None:
    """A name that would steer a terminal, in a message of the engine."""
    node = rng.choice(model.graph.node)
    node.name, node.op_type = "\x1b[2J\x1b]0;owned\x07", rng.choice(["Nonsense\x1b[2J", node.op_type])


PROTO_CHANGES = [
    _graph_inside,
    _many,
    _greedy_value,
    _terminal,
    _dims,
    _raw,
    _index,
    _attribute,
    _operator,
    _wire,
    _remove,
    _interface,
    _version,
    _external,
]


# --- paths -----------------------------------------------------------------------------------------------------------


def paths_listed(rng: random.Random, folder: Path) -> None:
    """List another path for a file, move the file there if it can be moved, point the stage at it or not."""
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text())
    entry, new = rng.choice(manifest["files"]), rng.choice(PATHS)
    if rng.random() < 0.3:
        manifest["files"].append({**entry, "path": new})
    else:
        old, entry["path"] = entry["path"], new
        for stage in manifest["stages"].values():
            stage["file"] = new if stage["file"] == old and rng.random() < 0.7 else stage["file"]
        target = Path(os.path.normpath(f"{folder}/{new}")) if new.isprintable() and len(new) < 200 else folder
        if folder in target.parents and not target.exists() and new.isascii():
            target.parent.mkdir(parents=True, exist_ok=True)
            (folder / old).rename(target)
    path.write_text(json.dumps(manifest))


def paths_disk(rng: random.Random, folder: Path) -> None:
    """Exchange, add or remove something on disk."""
    outside = folder.with_name("outside")
    victim = folder / rng.choice(["manifest.json", "golden", *[n for n in GRAPHS + GOLDEN if (folder / n).exists()]])
    what = rng.choice(["link", "dangling", "loop", "hard link", "pipe", "folder", "gone", "case", "more", "bundle"])
    if what == "more":
        name = rng.choice(["extra.onnx", ".DS_Store", ".hidden", "é", "e\u0301", "golden/more", "x/y/z", "a\\b", "\n"])
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        rng.choice([Path.touch, Path.mkdir, os.mkfifo, lambda p: p.symlink_to("/etc")])(folder / name)
        return
    if what == "bundle":
        folder.rename(outside)
        rng.choice([Path.touch, os.mkfifo, lambda p: None, lambda p: p.symlink_to(outside)])(folder)
        return
    if what == "case":
        victim.rename(victim.with_name(victim.name.upper()))
        return
    victim.rename(outside)
    if what in ("link", "dangling", "loop"):
        victim.symlink_to({"link": outside, "dangling": "nowhere", "loop": victim}[what])
    elif what == "hard link" and outside.is_file():
        os.link(outside, victim)
    elif what == "pipe":
        os.mkfifo(victim)
    elif what == "folder":
        victim.mkdir()


# --- greed -----------------------------------------------------------------------------------------------------------


def manifest_greedy(rng: random.Random, folder: Path) -> None:
    """Make numbers or lists very large, everywhere or in one place."""
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text())
    factor = rng.choice([10**3, 10**6, 10**12, 10**400])
    found = [(inside, key) for inside, key in places(manifest) if type(inside[key]) is int and inside[key] > 0]
    lists = [(inside, key) for inside, key in places(manifest) if isinstance(inside[key], list)]
    if rng.random() < 0.3:
        inside, key = rng.choice(lists)
        inside[key] = inside[key] * rng.choice([100, 5000])
    else:
        for inside, key in found if rng.random() < 0.2 else rng.sample(found, rng.randint(1, 3)):
            inside[key] *= factor
    path.write_text(json.dumps(manifest))


def network_greedy(rng: random.Random, folder: Path) -> None:
    """Another size, number of channels or of landmarks, consistent wherever the manifest says it."""
    path = folder / "manifest.json"
    text = path.read_text()
    manifest = json.loads(text)
    old = rng.choice([manifest["preprocessing"]["size"], manifest["state"]["hidden"][2]])
    new = rng.choice([1024, 4096, 20_000, 2**34])
    for inside, key in places(manifest):
        if type(inside[key]) is int and inside[key] == old:
            inside[key] = new
    path.write_text(json.dumps(manifest))


def manifest_flood(rng: random.Random, folder: Path) -> None:
    """Many unknown fields, of this or of a newer version."""
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["schema_version"] = rng.choice(["1.1", "1.9"])
    inside, _ = rng.choice([(manifest, ""), *(p for p in places(manifest) if isinstance(p[0], dict))])
    inside |= {f"f{i}": 0 for i in range(rng.choice([10, 2000, 150_000]))}
    path.write_text(json.dumps(manifest))


def file_sparse(rng: random.Random, folder: Path) -> None:
    """A file of a terabyte that takes no place on disk; listed as it was, or as it is."""
    entry = folder / rng.choice(["manifest.json", *[n for n in GRAPHS + GOLDEN if (folder / n).exists()]])
    size = rng.choice([2**30, 2**40])
    if rng.random() < 0.5 and entry.name != "manifest.json":
        path = folder / "manifest.json"
        manifest = json.loads(path.read_text())
        next(f for f in manifest["files"] if folder / f["path"] == entry)["bytes"] = size
        path.write_text(json.dumps(manifest))
    os.truncate(entry, size)


KINDS: dict[str, Callable[[random.Random, Path], None]] = {
    f.__name__: f
    for f in (
        manifest_bytes, manifest_tree, manifest_version, graph_stale, graph_fresh, graph_proto, golden_tree,
        golden_fresh, paths_listed, paths_disk, manifest_greedy, network_greedy, manifest_flood, file_sparse,
    )
}  # fmt: skip


def main(templates: Path, scratch: Path, seed: int, first: int, end: int) -> None:
    """Report {"start"} before and {"outcome"} after each case; a case's folder stays only if it did not end well."""
    if sys.platform == "linux":  # elsewhere the limit is not to be had
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))  # a graph that asks for terabytes meets an error
    for number in range(first, end):
        place = scratch / str(number)
        place.mkdir()
        kind = damage(seed, number, templates, place / "bundle")
        print(json.dumps({"number": number, "start": kind}), flush=True)  # noqa: T201
        faulthandler.dump_traceback_later(SECONDS, exit=True)
        try:
            report = {"outcome": attempt(place / "bundle")}
            shutil.rmtree(place)
        except BaseException:
            report = {"escaped": traceback.format_exc(limit=-4)[-3000:]}
        faulthandler.cancel_dump_traceback_later()
        print(json.dumps({"number": number, **report}), flush=True)  # noqa: T201


if __name__ == "__main__":
    faulthandler.enable()
    main(Path(sys.argv[1]), Path(sys.argv[2]), *map(int, sys.argv[3:6]))
