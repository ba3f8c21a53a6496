"""One word, one thing: what the rooms call by the same name is the same."""

from __future__ import annotations

import ast
from collections import defaultdict

from tests.arrows import packages


def test_no_two_public_classes_have_one_name() -> None:
    places = defaultdict(list)
    for package, folder in packages().items():
        for file in folder.glob("*.py"):
            for node in ast.parse(file.read_text(encoding="utf-8")).body:
                if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                    places[node.name].append(f"{package}.{file.stem}")
    assert len(places) > 200  # the folders were read
    assert {name: where for name, where in places.items() if len(where) > 1} == {}
