"""Bundles of the shipped weights, short ones, made without the parity of a whole export."""

from __future__ import annotations

import functools
from pathlib import Path

import torch

from qlot.export import pipeline
from qlot.export.bundle import writer
from qlot.export.bundle.spec import tracker_spec
from qlot.export.calibration.frames import calibration_frames, parity_frames
from qlot.export.calibration.record import record
from qlot.export.graphs.schemes import plan_for
from qlot.export.graphs.stages import make_stages
from qlot.export.parity.free_run import record_reference
from qlot.export.targets.base import load_target
