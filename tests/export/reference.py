"""What PyTorch makes of the small network's pictures, as parity records it."""

from __future__ import annotations

import numpy as np

from qlot.export.bundle.spec import tracker_spec
from qlot.export.parity.levels import Reference
from qlot.export.parity.reference import TrackedFrame
from qlot.export.parity.stages import Witness
from qlot.export.parity.task import exact_clips
from qlot.model.torch_network import TorchNetwork
from qlot.runtime.bundle.manifest import ConfidenceSpec
from qlot.runtime.geometry import CropBox
from qlot.runtime.network.replay import run_frames
from tests.export import small


def recorded() -> Reference:
    """The small network's run as `record_levels` records a trained one's; it cannot track the sample clip."""
    stages, run = TorchNetwork(small.network(), small.layout()), small.reference_sequence()
    witness = Witness(stages)
    list(run_frames(witness, run, small.layout().points))
    confidence = ConfidenceSpec(bias=0, w_spread=-1, found=0.5, lost=0.3, calibration="none: an untrained network")
    picture = np.tile(small.crops(1)[0], (2, 2, 1))
    frame = TrackedFrame(picture, CropBox(96, 96, 110), picture[:96, :96])
    clips = exact_clips(stages, tracker_spec(small.SMALL, small.layout(), confidence), frame)
    return Reference(run, witness.calls, clips)
