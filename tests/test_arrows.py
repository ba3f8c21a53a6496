"""The arrows between the rooms, held over every import there is; `arrows.py` says what counts as one."""

from __future__ import annotations

import ast
from itertools import chain

import pytest

from tests.arrows import ROOT, Module, broken, cycles, packages, project, read, within

# What every module of a room may need, whatever its place: these need no other part of it.
COMMON = ("errors", "extras", "geometry", "host", "html", "partial", "progress", "quiet", "stop", "stopping", "threads")
CLIS = [
    "qlot.benchmarks.cli",
    "qlot.benchmarks.jitter.cli",
    "qlot.export.bisect.cli",
    "qlot.export.cli",
    "qlot.export.lint.cli",
    "qlot.export.sensitivity.cli",
    "qlot.export.support.cli",
    "qlot.runtime.cli",
    "qlot.training.cli",
    "qlot.training.evaluation.cli",
    *(f"qlot.runtime.{name}" for name in COMMON),
]
# Room -> what its modules may import, beside their own room; the longest name that fits a module is its rule.
ROOMS = {
    "qlot.assets": [],
    "qlot.metrics": [],
    "qlot.mil": [],
    "qlot.model": [],
    "qlot.runtime": ["qlot.mil"],  # late: CoreML off a Mac
    "qlot.export": ["qlot.assets", "qlot.metrics", "qlot.mil", "qlot.model", "qlot.runtime"],
    "qlot.training": ["qlot.metrics", "qlot.model", "qlot.runtime"],
    "qlot.benchmarks": ["qlot.metrics", "qlot.runtime"],
    "qlot.benchmarks.drivers": ["qlot.assets", "qlot.benchmarks", "qlot.runtime"],
    "qlot.benchmarks.jitter": ["qlot.benchmarks", "qlot.metrics", "qlot.runtime", "qlot.training.data"],
    "qlot.benchmarks.faces": ["qlot.benchmarks", "qlot.metrics", "qlot.model", "qlot.runtime", "qlot.training"],
    "qlot.benchmarks.studies": ["qlot.benchmarks", "qlot.export", "qlot.metrics", "qlot.model", "qlot.runtime"],
    "qlot.cli": CLIS,
    "qlot.cli.verify": [*CLIS, "qlot.runtime.bundle.folder", "qlot.export.verify"],  # a command of two rooms
}
# The same inside rooms that have an order of their own, over the arrows that stay in the room.
RUNTIME = {
    "qlot.runtime.contract": [],
    "qlot.runtime.bundle": [],
    "qlot.runtime.network": ["qlot.runtime.bundle"],
    "qlot.runtime.tracking": ["qlot.runtime.bundle", "qlot.runtime.network"],
    "qlot.runtime.media": ["qlot.runtime.bundle", "qlot.runtime.tracking"],
    "qlot.runtime.cli": ["qlot.runtime"],
}
GRAPHS = {"qlot.export.graphs": ["qlot.export.errors"]}  # no target, no bundle, nothing that uses graphs
TRAINING = {
    "qlot.training.data": [],
    "qlot.training.recipes": [],
    "qlot.training.tools": ["qlot.training.data"],
    "qlot.training.fit": ["qlot.training.data"],
    "qlot.training.evaluation": ["qlot.training.data", "qlot.training.tools"],
}
BENCHMARKS = {
    "qlot.benchmarks.protocol": [],
    "qlot.benchmarks.results": ["qlot.benchmarks.protocol"],
    "qlot.benchmarks.report": ["qlot.benchmarks.protocol", "qlot.benchmarks.results"],
    "qlot.benchmarks.drivers": ["qlot.benchmarks.peers", "qlot.benchmarks.protocol", "qlot.benchmarks.results"],
    "qlot.benchmarks.peers": [],
    "qlot.benchmarks.arm": ["qlot.benchmarks.peers.environment"],  # both run an interpreter of their own, by pip
    "qlot.benchmarks.kernels": ["qlot.benchmarks.arm", "qlot.benchmarks.peers.environment"],  # ARM is one of them
    "qlot.benchmarks.jitter": ["qlot.benchmarks.peers.facemesh"],  # FaceMesh on the same frames, as a subprocess
    "qlot.benchmarks.faces": ["qlot.benchmarks.peers.facemesh", "qlot.benchmarks.jitter"],  # whose faces it shows
    "qlot.benchmarks.studies": [],
}
ORDERS = {"runtime": RUNTIME, "graphs": GRAPHS, "training": TRAINING, "benchmarks": BENCHMARKS}
# Modules that import by a name they compute, and where the name comes from. The names are strings of theirs, and read.
BY_TABLE = {
    "qlot.cli.main": "the table of rooms",
    "qlot.export.targets": "the tables of targets and packings",
    "qlot.runtime.network.sessions": "the table of engines, in the same package",
}


def test_no_room_imports_what_it_must_not() -> None:
    assert list(map(str, broken(project(), ROOMS))) == []


@pytest.mark.parametrize("order", ORDERS.values(), ids=ORDERS)
def test_no_part_of_a_room_imports_what_it_must_not(order: dict[str, list[str]]) -> None:
    room = ".".join(next(iter(order)).split(".")[:2])
    common = [f"{room}.{name}" for name in COMMON]
    arrows = broken(_only(room), {part: [*others, *common] for part, others in order.items()})
    assert [str(a) for a in arrows if within(a.source, order)] == []


def test_what_every_module_may_need_needs_nothing_but_the_like() -> None:
    common = {f"{room}.{name}" for room in ("qlot.runtime", "qlot.export") for name in COMMON}
    arrows = [a for name in common & set(project()) for a in project()[name].arrows]
    assert [str(a) for a in arrows if a.target not in common] == []


def test_no_modules_or_packages_import_each_other_in_a_circle() -> None:
    assert [" -> ".join(circle) for circle in cycles(project())] == []


def test_no_test_imports_another() -> None:
    """What tests share lies in files of its own: imported from a test, it would be collected and break with it."""
    files = {file: ast.parse(file.read_text(encoding="utf-8")) for file in (ROOT / "tests").rglob("*.py")}
    imports = {
        (f, n.module or "") for f, tree in files.items() for n in ast.walk(tree) if isinstance(n, ast.ImportFrom)
    }
    assert [f"{f.name}: {name}" for f, name in imports if name.rpartition(".")[2].startswith("test_")] == []


def test_every_room_has_a_rule_and_every_rule_a_room() -> None:
    assert {name for name in packages() if name.count(".") == 1} == {name for name in ROOMS if name.count(".") == 1}
    inner = {name for name in packages() if name.count(".") == 2}
    for rules in (RUNTIME, TRAINING, BENCHMARKS):
        room = ".".join(next(iter(rules)).split(".")[:2])
        assert {name for name in inner if within(name, [room])} == set(rules)
    for rules in (ROOMS, *ORDERS.values()):
        named = {*rules, *chain.from_iterable(rules.values())}
        assert named - {f"qlot.runtime.{name}" for name in COMMON} <= set(project())


def test_no_import_is_out_of_sight() -> None:
    assert {module.name for module in project().values() if module.unreadable} == set(BY_TABLE)


def test_the_runtime_starts_without_torch_and_needs_the_interpreter_late() -> None:
    modules = [m for m in project().values() if within(m.name, ["qlot.runtime"])]
    early = [str(a) for m in modules for a in (*m.arrows, *m.others) if not a.late and _heavy(a.target)]
    assert early == []
    assert any(_heavy(a.target) for m in modules for a in (*m.arrows, *m.others))  # or there is nothing to hold


def _heavy(target: str) -> bool:
    return within(target, ["torch", "qlot.mil"])


def _only(room: str) -> dict[str, Module]:
    """Return a room's modules with the arrows that stay in it."""
    return {
        name: Module(name, tuple(a for a in m.arrows if within(a.target, [room])), m.others, m.unreadable)
        for name, m in project().items()
        if within(name, [room])
    }


# The negative controls: a made-up module that breaks an arrow is caught, however it hides it.
FORBIDDEN = "qlot.export.made.secret"
HIDDEN = {
    "plainly": "from qlot.export.made import secret",
    "as a whole": "import qlot.export.made.secret as v",
    "one name of it": "from qlot.export.made.secret import Secret",
    "relatively": "from ..export.made import secret",
    "in a function": "def f():\n    from qlot.export.made import secret",
    "for types": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import qlot.export.made.secret",
    "by name": "import importlib\nx = importlib.import_module('qlot.export.made.secret')",
    "by a constant": "NAME = 'qlot.export.made.secret'",
    "in a table": "TABLE = {'torch': ('qlot.export.made.secret', 'export')}",
    "as a subprocess": "import subprocess, sys\nsubprocess.run([sys.executable, '-m', 'qlot.export.made.secret'])",
    "as a script": "CODE = 'import qlot.export.made.secret; print(1)'",
    "in an f-string": "def f(x):\n    return f'{x} -m qlot.export.made.secret --all'",
    "after a docstring": "'''Speaks of qlot.model.'''\n__import__('qlot.export.made.secret')",
}


def _made(text: str, name: str = "qlot.runtime.made") -> dict[str, Module]:
    sources = {name: (text, False), FORBIDDEN: ("", False), "qlot.export.made": ("", True), "qlot.export": ("", True)}
    return read(sources)


@pytest.mark.parametrize("text", HIDDEN.values(), ids=HIDDEN)
def test_a_broken_arrow_is_caught(text: str) -> None:
    assert [a.target for a in broken(_made(text), ROOMS)] == [FORBIDDEN]


def test_what_only_speaks_of_another_room_is_no_arrow() -> None:
    text = "'''As qlot.export.made.secret does.'''\n\nclass A:\n    '''See qlot.export.'''\n# qlot.export\n"
    assert broken(_made(text), ROOMS) == []


def test_a_command_run_as_a_subprocess_is_an_arrow() -> None:
    sources = {"qlot.runtime.made": ("RUN = ['qlot-export', '--target', 'onnx']", False), "qlot.cli": ("", True)}
    assert [a.target for a in broken(read(sources), ROOMS)] == ["qlot.cli"]


def test_an_import_by_a_computed_name_is_seen() -> None:
    made = _made("import importlib\nroom = 'export'\nx = importlib.import_module('qlot.' + room)")
    assert made["qlot.runtime.made"].unreadable == (3,)


def test_a_circle_is_caught_between_rooms_packages_and_modules() -> None:
    def of(**needs: str) -> list[list[str]]:
        texts = {
            f"qlot.{name.replace('__', '.')}": (f"import qlot.{to}" if to else "", False) for name, to in needs.items()
        }
        return cycles(read(texts))

    assert of(a__x="b.x", b__x="a.y", a__y="") == [["qlot.a", "qlot.b", "qlot.a"]]
    assert of(a__x__m="a.y.m", a__y__m="a.x.n", a__x__n="") == [["qlot.a.x", "qlot.a.y", "qlot.a.x"]]
    assert of(a__x="a.y", a__y="a.z", a__z="a.x") == [["qlot.a.x", "qlot.a.y", "qlot.a.z", "qlot.a.x"]]
    assert of(a__x="a.y", a__y="b.x", b__x="b.y", b__y="") == []
