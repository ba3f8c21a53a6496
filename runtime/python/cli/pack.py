"""The body of `qlot pack`: a bundle laid out as Android assets, as Swift resources, or as a web folder."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

from rich.console import Console

from qlot.runtime.bundle.folder import MANIFEST, Bundle
from qlot.runtime.bundle.manifest import Manifest
from qlot.runtime.cli.hints import show_next
from qlot.runtime.cli.platforms import PLATFORMS, Platform, PlatformName
from qlot.runtime.errors import QlotError
from qlot.runtime.legal import LEGAL, legal_text
from qlot.runtime.partial import named, whole_folder

README = "README.txt"
# Asset packagers leave out what begins with a dot or an underscore.
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*(?<!\.)")


def pack(path: Path, platform: PlatformName, out: Path, console: Console, force: bool = False) -> None:
    """Lay a bundle out for a platform, open the copy, and put it in place.

    Args:
        path: folder of the bundle.
        platform: where the app runs.
        out: new folder; what lies in it goes into the app's module, package or site.
        console: for what was written.
        force: replace a folder that an earlier call wrote.

    Raises:
        BundleError: the bundle cannot be used.
        QlotError: its target does not run there, its name cannot be an asset's, or `out` is taken.
        OSError: it cannot be written.
    """
    bundle, layout = Bundle.open(path), PLATFORMS[platform]
    target = bundle.manifest.target
    if target in layout.refused:
        raise QlotError(f"a bundle of target {target} is not for {platform}: {layout.refused[target]}.")
    name = path.resolve().name
    if not _NAME.fullmatch(name):
        raise QlotError(
            f"the bundle's folder is called {name!r}; in an app it needs a name of letters, digits, '_', '-' and inner "
            "dots that begins with a letter or digit: rename it."
        )
    if path.resolve() in (out.resolve(), *out.resolve().parents):
        raise QlotError(f"{out} lies in the bundle, which holds listed files only: choose another --out.")
    _check_free(out, layout, force)
    with whole_folder(out, lambda: _check_free(out, layout, force)) as folder:
        packed = _write(bundle, folder, name, layout)
        if packed.manifest != bundle.manifest:
            raise QlotError(f"{path} changed while it was copied: try again.")
    console.print(f"packed: {out / layout.folder / name}", highlight=False, soft_wrap=True)
    for beside in (*LEGAL, README):
        console.print(f"        {out / beside}", highlight=False, soft_wrap=True)
    show_next(console, "pack", bundle=path, folder=out)


def _write(bundle: Bundle, folder: Path, name: str, layout: Platform) -> Bundle:
    """Copy a bundle as it was checked, write what lies beside it, and open the copy."""
    at = folder / layout.folder / name
    at.mkdir(parents=True)
    listed = {f.path for f in bundle.manifest.files}
    for relative in listed:
        copy = at / relative
        copy.parent.mkdir(parents=True, exist_ok=True)
        with named(copy):
            copy.write_bytes(bundle.read(relative))  # hashed again as it is read
    with named(at / MANIFEST):
        shutil.copyfile(bundle.path / MANIFEST, at / MANIFEST)
    for legal in LEGAL:
        text = bundle.read(legal) if legal in listed else legal_text(legal).encode()
        with named(folder / legal):
            (folder / legal).write_bytes(text)
    with named(folder / README):
        (folder / README).write_text(_readme(bundle.manifest, name, layout), encoding="utf-8")
    return Bundle.open(at)


def _readme(manifest: Manifest, name: str, layout: Platform) -> str:
    model, scheme = manifest.model, manifest.scheme.name
    return (
        f"{layout.folder}/{name} is a QLOT bundle: {model.preset}, {len(manifest.layout.points)} landmarks "
        f"({manifest.layout.name}), target {manifest.target}, scheme {scheme}.\n"
        "Keep it whole: a file added, removed or changed makes it invalid.\n\n"
        f"{layout.words[manifest.target].replace('NAME', name)}\n"
        f"Licences: LICENSE and NOTICE beside this file; show them in the app. The weights: {model.licence}\n"
    )


def _check_free(out: Path, layout: Platform, force: bool) -> None:
    """Refuse to replace anything but what this command wrote."""
    if not out.exists() and not out.is_symlink():
        return
    if not force:
        raise QlotError(f"{out} exists already: choose another place with --out, or replace it with --force.")
    if out.is_symlink() or not out.is_dir():
        raise QlotError(f"{out} is not a folder that qlot pack wrote, so --force does not replace it.")
    other = next(_strangers(out, layout), None)
    if other is not None:
        raise QlotError(
            f"{out} holds more than a packed bundle ({other.relative_to(out)}), so --force does not replace it: choose "
            "another place with --out."
        )


def _strangers(out: Path, layout: Platform) -> Iterator[Path]:
    """Yield the files of a folder that no packed bundle of this platform has."""
    home = out / layout.folder
    for path in sorted(out.rglob("*")):
        if path.is_dir() and not path.is_symlink():
            continue
        if path.parent == out and path.name in (*LEGAL, README):
            continue
        inside = path.relative_to(home).parts if path.is_relative_to(home) else ()
        if path.is_symlink() or len(inside) < 2 or not (home / inside[0] / MANIFEST).is_file():
            yield path
