"""Who imports whom: every import of every module, those that hide in functions, strings and subprocesses too."""

from __future__ import annotations

import ast
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[1]
_NAME = re.compile(r"\bqlot(?:\.\w+)+")
_COMMANDS = {"qlot", "qlot-export"}  # run as a subprocess, they are the room `cli`
_DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
_BY_NAME = {"import_module", "find_spec", "__import__", "run_module"}


@dataclass(frozen=True)
class Arrow:
    """`source` needs `target`, both dotted names of modules."""

    source: str
    target: str
    line: int
    late: bool  # in a function or a string: not carried out by the import of `source`

    def __str__(self) -> str:
        return f"{self.source}:{self.line} -> {self.target}"


@dataclass(frozen=True)
class Module:
    """A module's arrows to modules of the project, its imports of others, and the imports nobody can read."""

    name: str
    arrows: tuple[Arrow, ...]
    others: tuple[Arrow, ...]
    unreadable: tuple[int, ...]  # lines with an import by a name that is computed


def packages() -> dict[str, Path]:
    """Return the folder of every package that the wheel holds, by import name."""
    setup = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]
    folders = {name: ROOT / folder for name, folder in setup["package-dir"].items()}
    for name in setup["packages"]:
        if name not in folders:
            above = max((f for f in folders if name.startswith(f"{f}.")), key=len)
            folders[name] = folders[above].joinpath(*name.removeprefix(f"{above}.").split("."))
    return {name: folders[name] for name in setup["packages"]}


@cache
def project() -> dict[str, Module]:
    """Return every module of the project by its dotted name; a package goes by its own name."""
    files = {
        package if file.stem == "__init__" else f"{package}.{file.stem}": file
        for package, folder in packages().items()
        for file in folder.glob("*.py")
    }
    return read({name: (file.read_text(encoding="utf-8"), file.stem == "__init__") for name, file in files.items()})


def read(sources: Mapping[str, tuple[str, bool]]) -> dict[str, Module]:
    """Read modules from name -> (source text, whether it is a package's `__init__`)."""
    known = set(sources)
    return {name: _module(name, text, package, known) for name, (text, package) in sources.items()}


def _module(name: str, text: str, package: bool, known: set[str]) -> Module:
    tree = ast.parse(text)
    nodes = list(_walk(tree))
    arrows, others, unreadable = set(), set(), set()
    for target, line, late in _needs(nodes, name if package else name.rpartition(".")[0], known):
        if target.split(".")[0] != "qlot":
            others.add(Arrow(name, target, line, late))
        elif (found := _longest(target, known)) and found != name:
            arrows.add(Arrow(name, found, line, late))
    for node, _ in nodes:
        if isinstance(node, ast.Call) and _called(node) in _BY_NAME:
            first = node.args[0] if node.args else None
            if not (isinstance(first, ast.Constant) and isinstance(first.value, str)):
                unreadable.add(node.lineno)
    order = {"key": lambda arrow: (arrow.line, arrow.target)}
    return Module(name, tuple(sorted(arrows, **order)), tuple(sorted(others, **order)), tuple(sorted(unreadable)))


def _walk(tree: ast.Module) -> Iterator[tuple[ast.AST, bool]]:
    """Yield every node but docstrings, and whether it lies in a function."""
    waiting: list[tuple[ast.AST, bool]] = [(tree, False)]
    while waiting:
        node, late = waiting.pop()
        yield node, late
        late = late or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        prose = node.body[0] if isinstance(node, _DOCUMENTED) and node.body else None
        waiting += [
            (child, late)
            for child in ast.iter_child_nodes(node)
            if child is not prose or not (isinstance(child, ast.Expr) and isinstance(child.value, ast.Constant))
        ]


def _needs(nodes: list[tuple[ast.AST, bool]], package: str, known: set[str]) -> Iterator[tuple[str, int, bool]]:
    """Yield (dotted name, line, late) for each import, import by name, module's name in a string, and command."""
    for node, late in nodes:
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno, late) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            for alias in node.names:
                inner = f"{base}.{alias.name}"
                yield (inner if inner in known else base), node.lineno, late
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield from ((found, node.lineno, True) for found in _NAME.findall(node.value))
        elif isinstance(node, ast.Call) and _called(node) in _BY_NAME and node.args:
            if isinstance(node.args[0], ast.Constant) and isinstance(node.args[0].value, str):
                yield node.args[0].value, node.lineno, True
        elif isinstance(node, ast.List | ast.Tuple) and any(
            isinstance(part, ast.Constant) and part.value in _COMMANDS for part in node.elts[:1]
        ):
            yield "qlot.cli", node.lineno, True


def _called(node: ast.Call) -> str:
    return node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")


def _longest(target: str, known: set[str]) -> str | None:
    """Return the module that a dotted name lies in: `qlot.a.b.Class` -> `qlot.a.b`."""
    parts = target.split(".")
    names = (".".join(parts[:n]) for n in range(len(parts), 1, -1))
    return next((name for name in names if name in known), None)


def within(name: str, places: Iterable[str]) -> bool:
    """Say whether a module is one of `places` or lies in one."""
    return any(name == place or name.startswith(f"{place}.") for place in places)


def broken(modules: Mapping[str, Module], rules: Mapping[str, Iterable[str]]) -> list[Arrow]:
    """Return the arrows that no rule allows.

    Args:
        modules: the project.
        rules: place -> the places that modules in it may import, beside those of the same place. A module is held to
            the rule of the longest place that it lies in.
    """
    found = []
    for module in modules.values():
        place = max((p for p in rules if within(module.name, [p])), key=len, default=None)
        if place is None:
            found += module.arrows
        else:
            found += [arrow for arrow in module.arrows if not within(arrow.target, [place, *rules[place]])]
    return found


def cycles(modules: Mapping[str, Module]) -> list[list[str]]:
    """Return, for every package, the circles in which its modules and sub-packages import each other."""
    levels: dict[str, dict[str, set[str]]] = {}
    for module in modules.values():
        for arrow in module.arrows:
            source, target = arrow.source.split("."), arrow.target.split(".")
            depth = next((i for i, (a, b) in enumerate(zip(source, target, strict=False)) if a != b), None)
            if depth is not None:  # else one lies in the other: a package and its own module
                level = levels.setdefault(".".join(source[:depth]), {})
                level.setdefault(".".join(source[: depth + 1]), set()).add(".".join(target[: depth + 1]))
    return [circle for level in levels.values() if (circle := _circle(level))]


def _circle(needs: Mapping[str, set[str]]) -> list[str]:
    """Return one circle of a graph, first node again at the end, or nothing."""
    done: set[str] = set()
    for start in sorted(needs):
        path: list[str] = []
        waiting = [(start, 0)]
        while waiting:
            node, depth = waiting.pop()
            del path[depth:]
            if node in path:
                return [*path[path.index(node) :], node]
            if node in done and depth:
                continue
            path.append(node)
            waiting += [(n, depth + 1) for n in sorted(needs.get(node, ()))]
        done |= _reached(start, needs)
    return []


def _reached(start: str, needs: Mapping[str, set[str]]) -> set[str]:
    found, waiting = {start}, [start]
    while waiting:
        new = needs.get(waiting.pop(), set()) - found
        found |= new
        waiting += new
    return found
