"""Recipes: every choice of an export as a TOML file, by which it can be repeated to the byte.

A recipe names what the export read, each file with its hash, and what it was made with. A file that has changed is
refused; other versions of the tools are said, since the same graphs cannot be promised then.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from qlot.export.calibration.frames import calibration_clip
from qlot.export.errors import ExportError
from qlot.export.options import MinIOS, Packing, TargetOptions
from qlot.export.pipeline import resolve_checkpoint
from qlot.export.request import ExportRequest, ExportResult
from qlot.model.checkpoint import file_sha256
from qlot.model.layout import available_layouts, layout_path
from qlot.model.weights import shipped_weights
from qlot.runtime.bundle.json_text import describe
from qlot.runtime.bundle.manifest import Lowering, Sha256, Target
from qlot.runtime.partial import check_writable, written_whole

VERSION: Literal[1] = 1
BUILT_IN = "builtin"


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class RecipeSource(_Part):
    """Something the export read: shipped under a name, or a file or folder relative to the recipe; and its hash."""

    name: str | None = None
    path: str | None = None
    sha256: Sha256

    @model_validator(mode="after")
    def _one(self) -> RecipeSource:
        if (self.name is None) == (self.path is None):
            raise ValueError("give either a name or a path")
        return self


class ChosenOptions(_Part):
    """Of the target; as `TargetOptions`."""

    packing: Packing | None = None
    min_ios: MinIOS | None = None
    image_input: bool = False


class ExportRecipe(_Part):
    """A recipe, key by key as in its file."""

    version: Literal[1]
    target: Target
    scheme: str
    lowering: Lowering
    iterations: Annotated[int, Field(ge=1, le=12)] | None = None
    golden: bool
    checkpoint: RecipeSource
    layout: RecipeSource
    calibration: RecipeSource | None = None  # sha256 of the decoded frames
    options: ChosenOptions = ChosenOptions()
    tools: dict[str, str]


def check_place(path: Path, request: ExportRequest) -> None:
    """Refuse, before the work, a place where no recipe can be written.

    Raises:
        ExportError: it is taken, in the bundle, or cannot be written; or the request cannot be put into TOML.
    """
    if path.exists() and not request.force:
        raise ExportError(f"{path} exists already: choose another place with --save-recipe, or add --force.")
    if request.out is not None:
        _refuse_inside(path, request.out)
    try:
        check_writable(path)
        "\0".join(map(str, (request.checkpoint, request.layout, request.calibration, path))).encode()
    except OSError as e:
        raise ExportError(f"cannot write the recipe {path}: {e.strerror}. Choose another --save-recipe.") from e
    except UnicodeEncodeError as e:
        raise ExportError(
            "a file name of this export is no text, and a recipe holds text only: rename the file."
        ) from e


def save(path: Path, request: ExportRequest, result: ExportResult) -> None:
    """Write the recipe of a finished export, whole or not at all.

    Raises:
        ExportError: the place cannot be written; the bundle is.
    """
    recipe = recipe_of(path, request, result)
    text = f"# qlot-export --recipe {path.name}\n" + "".join(_toml(recipe.model_dump(exclude_none=True)))
    try:
        _refuse_inside(path, result.bundle.path)
        with written_whole(path) as temporary:
            temporary.write_text(text, encoding="utf-8")
    except (OSError, ExportError) as e:
        raise ExportError(f"the bundle is written, {result.bundle.path}, but not its recipe: {e}") from e


def recipe_of(path: Path, request: ExportRequest, result: ExportResult) -> ExportRecipe:
    """State an export as the recipe that will lie at `path`; hashes are those of what was used."""
    manifest, home = result.bundle.manifest, path.absolute().parent
    used = result.calibration
    return ExportRecipe(
        version=VERSION,
        target=request.target,
        scheme=request.scheme,
        lowering=manifest.lowering,
        iterations=request.unrolled,
        golden=request.golden,
        checkpoint=_source(request.checkpoint, shipped_weights(), manifest.model.checkpoint_sha256, home),
        layout=_source(request.layout, available_layouts(), file_sha256(layout_path(request.layout)), home),
        calibration=None if used is None else _clip(request.calibration, used.sha256, home),
        options=ChosenOptions(
            packing=request.options.packing, min_ios=request.options.min_ios, image_input=request.options.image_input
        ),
        tools=manifest.tools,
    )


def request_of(path: Path, out: Path | None, force: bool, report: Path | None) -> tuple[ExportRequest, str]:
    """Read a recipe, check all that it names, and return its request; and a line if tools differ, else "".

    Raises:
        ExportError: it cannot be read or is no recipe, or a file it names is missing or another one.
        VideoError: its calibration clip cannot be read.
    """
    recipe = read(path)
    home = path.absolute().parent
    checkpoint, layout = _place(recipe.checkpoint, home), _place(recipe.layout, home)
    _check_same(path, "checkpoint", recipe.checkpoint, file_sha256(resolve_checkpoint(checkpoint)))
    file = layout_path(layout)
    if not file.is_file():
        raise ExportError(f"{path}: there is no layout {layout!r}; shipped ones are {', '.join(available_layouts())}.")
    _check_same(path, "layout", recipe.layout, file_sha256(file))
    calibration = None
    if recipe.calibration:
        if recipe.calibration.name not in (None, BUILT_IN):
            raise ExportError(f"{path}: calibration.name can be {BUILT_IN!r} alone: give a path.")
        calibration = None if recipe.calibration.name else Path(_place(recipe.calibration, home))
        _check_same(path, "calibration", recipe.calibration, calibration_clip(calibration).sha256)
    options = recipe.options
    request = ExportRequest(
        target=recipe.target,
        scheme=recipe.scheme,
        checkpoint=checkpoint,
        layout=layout,
        unrolled=recipe.iterations,
        lowering=recipe.lowering,
        calibration=calibration,
        out=out,
        force=force,
        golden=recipe.golden,
        report=report,
        options=TargetOptions(options.packing, options.min_ios, options.image_input),
    )
    return request, _other_tools(path, recipe.tools)


def read(path: Path) -> ExportRecipe:
    """Read a recipe's file.

    Raises:
        ExportError: it cannot be read, is not TOML, of another version, or has keys that no recipe has.
    """
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as e:
        raise ExportError(f"cannot read the recipe {path}: {e.strerror}.") from e
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as e:
        raise ExportError(f"{path} is not TOML: {e}.") from e
    if data.get("version") != VERSION:
        raise ExportError(
            f"{path} has recipe version {data.get('version')!r}, this qlot reads {VERSION}: save it again with "
            "--save-recipe."
        )
    try:
        return ExportRecipe.model_validate(data)
    except ValidationError as e:
        raise ExportError(f"{path} is no recipe of an export: {describe(e)}.") from e


def _source(given: str, shipped: tuple[str, ...], sha256: str, home: Path) -> RecipeSource:
    if given in shipped:
        return RecipeSource(name=given, sha256=sha256)
    file = Path(os.path.abspath(given))  # noqa: PTH100 - a link stays the name that was given
    near = file.relative_to(home) if file.is_relative_to(home) else file
    return RecipeSource(path=near.as_posix(), sha256=sha256)


def _clip(given: Path | None, sha256: str, home: Path) -> RecipeSource:
    return RecipeSource(name=BUILT_IN, sha256=sha256) if given is None else _source(str(given), (), sha256, home)


def _place(source: RecipeSource, home: Path) -> str:
    return source.name or str(home / str(source.path))


def _check_same(path: Path, what: str, source: RecipeSource, found: str) -> None:
    if found != source.sha256:
        raise ExportError(
            f"{path}: the {what} {source.name or source.path} is another one than the recipe's (sha256 {found[:12]}, "
            f"wanted {source.sha256[:12]}): bring back that one, or export with options and save a new recipe."
        )


def _other_tools(path: Path, tools: Mapping[str, str]) -> str:
    here = {tool: _version(tool) for tool in tools}
    others = [f"{tool} {version} (here {here[tool]})" for tool, version in tools.items() if here[tool] != version]
    return f"{path} was made with {', '.join(others)}: the graphs may differ." if others else ""


def _version(tool: str) -> str:
    try:
        return importlib.metadata.version(tool)
    except importlib.metadata.PackageNotFoundError:
        return "missing"


def _refuse_inside(path: Path, bundle: Path) -> None:
    if bundle.resolve() in path.resolve().parents:
        raise ExportError(f"{path} would lie inside the bundle, which holds listed files only: choose another place.")


def _toml(values: Mapping[str, Any], above: str = "") -> Iterator[str]:
    """Write strings, numbers and truth values, then the tables among the values."""
    for key, value in values.items():
        if not isinstance(value, dict):
            yield f"{_key(key)} = {_scalar(value)}\n"
    for key, value in values.items():
        if isinstance(value, dict):
            yield f"\n[{above}{_key(key)}]\n"
            yield from _toml(value, f"{above}{_key(key)}.")


def _key(text: str) -> str:
    return text if text.replace("-", "").replace("_", "").isalnum() and text.isascii() else _scalar(text)


def _scalar(value: str | bool | int) -> str:
    """JSON's strings and numbers are TOML's, but for one control character."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
