"""A departure as a folder: the call's inputs, what both answered, and how to read them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from qlot.export.bisect.search import Departure
from qlot.export.errors import ExportError
from qlot.runtime.partial import check_writable, named, whole_folder

CALL, README = "call.npz", "README.txt"


def check_free(out: Path, bundle: Path) -> None:
    """Refuse, before the work, a folder that is there, in the bundle, or cannot be written.

    Raises:
        ExportError: with what to do.
    """
    if out.exists() or out.is_symlink():
        raise ExportError(f"{out} exists already: choose another place with --out, or remove it.")
    if bundle.resolve() in out.resolve().parents:
        raise ExportError(f"{out} would lie inside the bundle, which holds listed files only: choose another --out.")
    try:
        check_writable(out)
    except OSError as e:
        raise ExportError(f"cannot write {out}: {e.strerror}. Choose another place with --out.") from e


def save(departure: Departure, out: Path, bundle: Path) -> None:
    """Write `call.npz` and a README, whole or not at all.

    Raises:
        ExportError: the folder has appeared meanwhile.
        OSError: it cannot be written.
    """
    parts = {"in": departure.inputs, "bundle": departure.ours, "pytorch": departure.theirs}
    arrays: dict[str, Any] = {
        f"{part}.{name}": value for part, tensors in parts.items() for name, value in tensors.items()
    }
    with whole_folder(out, lambda: check_free(out, bundle)) as folder:
        with named(out / CALL):
            np.savez(folder / CALL, **arrays)
        with named(out / README):
            (folder / README).write_text(_readme(departure, bundle), encoding="utf-8")


def sentence(d: Departure) -> str:
    """Say where and by how much."""
    step = "" if d.step == 0 else f", step {d.step}"
    own = f"{d.own:.3g} {d.check.unit}".strip()
    return (
        f"frame {d.frame}{step}: {d.stage}, {d.tensor}; this call alone: {own}. Over all calls {d.check.text}. "
        f"Farthest apart at {d.where}: bundle {d.found:.6g}, PyTorch {d.wanted:.6g}."
    )


def _readme(d: Departure, bundle: Path) -> str:
    at = ", ".join(map(str, d.index))
    return (
        f"{bundle.name} in {d.engine}: the first call beyond its bound.\n{sentence(d)}\n\n"
        f"{CALL} holds what the call got (in.NAME) and what each answered (bundle.NAME, pytorch.NAME). Reload it:\n\n"
        "    import numpy as np\n"
        f'    call = np.load("{CALL}")\n'
        f'    print(call["bundle.{d.tensor}"][{at}], call["pytorch.{d.tensor}"][{at}])\n'
    )
