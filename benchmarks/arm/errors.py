"""Errors of the emulated replay."""

from __future__ import annotations

from qlot.runtime.errors import QlotError


class ArmError(QlotError):
    """A bundle cannot be replayed on emulated ARM kernels."""


class ArmUnavailable(ArmError):  # noqa: N818  a state of this machine, not of what was asked
    """The emulator is missing here, or what is downloaded for it cannot be had now."""
