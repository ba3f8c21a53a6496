"""A network with weights that depend on nothing but numpy's frozen legacy generator."""

from __future__ import annotations

import numpy as np
import torch

from qlot.model.config import QLOTConfig
from qlot.model.qlot import QLOT, Lowering


def seeded_network(lowering: Lowering = "dense", size: int = 96) -> QLOT:
    """The published architecture for a small image, every parameter and statistic away from its neutral value."""
    model = QLOT(QLOTConfig(preset="seeded", image_size=size), lowering)
    random = np.random.RandomState(7)
    state = {}
    for name, value in model.state_dict().items():
        shape = tuple(value.shape)
        if name.endswith("num_batches_tracked"):
            state[name] = value
            continue
        noise = random.standard_normal(shape)
        if name.endswith(("running_var", "lab.scale", "norm.weight")) or ".bn.weight" in name:
            array = np.exp(0.2 * noise)
        elif value.ndim < 2 or name.endswith("bias"):
            array = (np.asarray(value) if name.startswith("encoding.") else 0.0) + 0.1 * noise
        else:
            fan = np.prod(shape[1:]) if name.endswith("weight") and len(shape) != 3 else shape[-2]
            array = noise / np.sqrt(fan)
        state[name] = torch.from_numpy(np.asarray(array, np.float64).reshape(shape)).to(value)
    with torch.no_grad():  # uncertainties of about a pixel, so that the gate bites
        state["refiner.covariance.bias"] = torch.tensor([-3.0, -3.1, 0.2])
    state["refiner.mixer.slot_gain"] = torch.from_numpy(0.3 * random.standard_normal((3, 4, 1, 1))).float()
    model.load_state_dict(state)
    return model.eval()


def test_image(size: int = 96, frame: int = 0) -> torch.Tensor:
    """A smooth picture (1, 3, S, S) in [0, 1] that moves with the frame."""
    y, x = np.mgrid[0:size, 0:size] / size
    t = 0.05 * frame
    planes = [np.sin(5 * x + 3 * y + t), np.cos(7 * y - 2 * x + 2 * t), np.sin(9 * x * y + t)]
    return torch.from_numpy(np.stack(planes)[None] / 2 + 0.5)
