"""The page of the public names: its code runs, and it lists what the packages offer."""

from __future__ import annotations

import ast
import contextlib
import importlib
import inspect
import io
import re
from pathlib import Path

import pytest

from tests.runtime.bundles import write_bundle

PAGE = (Path(__file__).parents[1] / "docs" / "api.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
TABLE = {
    row[1]: set(re.findall(r"`(\w+)`", row[2]))
    for row in re.finditer(r"^\| `(qlot\.\w+)` \| `.*?` \| (.*) \|$", PAGE, re.M)
}


def test_the_code_runs_as_it_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_bundle(tmp_path / "my-bundle")
    monkeypatch.chdir(tmp_path)
    assert len(BLOCKS) >= 6
    names: dict[str, object] = {}
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        for block in BLOCKS:
            exec(compile(block, "docs/api.md", "exec"), names)
    assert "px at most, in onnxruntime" in printed.getvalue()
    assert "no-such-folder does not exist" in printed.getvalue()
    assert "112 98" in printed.getvalue()


@pytest.mark.parametrize("package", TABLE)
def test_the_page_lists_names_that_the_package_offers_and_explains(package: str) -> None:
    module = importlib.import_module(package)
    assert TABLE[package] <= set(module.__all__)
    for name in TABLE[package]:
        found = getattr(module, name)
        assert not (inspect.isclass(found) or inspect.isfunction(found)) or inspect.getdoc(found), name


def test_all_names_of_the_runtime_are_on_the_page() -> None:
    assert TABLE["qlot.runtime"] == set(importlib.import_module("qlot.runtime").__all__)


def test_the_code_imports_from_the_packages_alone() -> None:
    """A reader copies what stands here: no import may reach past what is listed."""
    imports = [node for block in BLOCKS for node in ast.walk(ast.parse(block)) if isinstance(node, ast.ImportFrom)]
    assert imports
    for node in imports:
        assert {alias.name for alias in node.names} <= TABLE[str(node.module)], ast.unparse(node)


def test_a_tracker_takes_a_path_or_says_what_it_needs(tmp_path: Path) -> None:
    from qlot.runtime import Bundle, Tracker

    folder = write_bundle(tmp_path / "b", golden=False)
    for given in (folder, str(folder), Bundle.open(folder)):
        Tracker(given)
    for wrong in (Bundle.open(folder).manifest, None, 3):
        with pytest.raises(ValueError, match=r"needs a bundle or the path of its folder, got .*pass the stages"):
            Tracker(wrong)  # type: ignore[arg-type]
