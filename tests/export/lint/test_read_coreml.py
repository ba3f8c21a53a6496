"""Core ML packages as rules see them, read without coremltools."""

from __future__ import annotations

import json
from collections.abc import Iterable

import pytest

from qlot.export.lint.graph import LintError
from qlot.export.lint.macs import node_macs
from qlot.export.lint.read_coreml import read_coreml

FLOAT16, FLOAT32 = 10, 11


def varint(value: int) -> bytes:
    found = b""
    while value > 0x7F:
        found, value = found + bytes([value & 0x7F | 0x80]), value >> 7
    return found + bytes([value])


def message(*parts: tuple[int, int | bytes | str]) -> bytes:
    found = b""
    for number, value in parts:
        if isinstance(value, int):
            found += varint(number << 3) + varint(value)
        else:
            data = value.encode() if isinstance(value, str) else value
            found += varint(number << 3 | 2) + varint(len(data)) + data
    return found


def named(name: str, dtype: int, shape: Iterable[int]) -> bytes:
    dims = [(3, message((1, message((1, n))))) for n in shape]
    return message((1, name), (2, message((1, message((1, dtype), *dims)))))


def operation(op: str, inputs: dict[str, str], output: bytes) -> bytes:
    bound = [(2, message((1, k), (2, message((1, message((1, v))))))) for k, v in inputs.items()]
    return message((1, op), *bound, (3, output))


def package(functions: Iterable[str] = ("main",), specification: int = 8) -> dict[str, bytes]:
    operations = [
        operation("const", {}, named("w", FLOAT16, (8, 4))),
        operation("cast", {"x": "x"}, named("half", FLOAT16, (2, 4))),
        operation("linear", {"x": "half", "weight": "w"}, named("y", FLOAT16, (2, 8))),
    ]
    block = message((2, "y"), *((3, o) for o in operations))
    body = message((1, named("x", FLOAT32, (2, 4))), (3, message((1, "CoreML7"), (2, block))))
    program = message(*((2, message((1, name), (2, body))) for name in functions))
    listing = {"rootModelIdentifier": "a", "itemInfoEntries": {"a": {"path": "m/model.mlmodel"}}}
    return {
        "Manifest.json": json.dumps(listing).encode(),
        "Data/m/model.mlmodel": message((1, specification), (502, program)),
    }


def test_specification_interface_operations_and_types() -> None:
    made = read_coreml(package(), "refiner", None)
    assert made.versions == {"specification": 8}
    assert (made.inputs, made.outputs) == (("x",), ("y",))
    assert [(node.op, node.name) for node in made.nodes] == [("cast", "half"), ("linear", "y")]
    assert (made.dtype("x"), made.dtype("y"), made.shape("y")) == ("float32", "float16", (2, 8))
    assert (made.stored("w"), made.stored("half")) == (True, False)
    assert [node_macs(made, node) for node in made.nodes] == [0, 2 * 8 * 4]


def test_a_function_is_chosen_by_name() -> None:
    several = package(("extractor", "refiner"))
    assert read_coreml(several, "refiner", "refiner").outputs == ("y",)
    with pytest.raises(LintError, match="no function other"):
        read_coreml(several, "refiner", "other")


@pytest.mark.parametrize("files", [{}, {"Manifest.json": b"{}"}, package() | {"Data/m/model.mlmodel": b"\xff" * 9}])
def test_other_packages_are_refused_in_one_line(files: dict[str, bytes]) -> None:
    with pytest.raises(LintError, match=r"^refiner: the package has no Core ML program: [^\n]*$"):
        read_coreml(files, "refiner", None)
