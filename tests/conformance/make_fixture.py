"""Write `seeded.npz`: what this implementation, shown equal to the published one, computes in float64.

Run it only when the published architecture itself is found to be implemented wrongly:
`python tests/conformance/make_fixture.py`.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parent))
from networks import seeded_network, test_image

from qlot.model.gate import TensorGate
from qlot.model.layout import load_layout
from qlot.model.state import to_pixels

if __name__ == "__main__":
    model = seeded_network().double()
    points = torch.tensor(load_layout("wflw98").points)[None]
    mask = torch.arange(98)[None] % 5 == 0
    with torch.no_grad():
        first = model(test_image(), points, iterations=3)
        second = model(test_image(frame=1), points, first[-1], 2, TensorGate(2 / 48, 0.05), mask)
    arrays = {"landmarks": np.stack([to_pixels(s, 96)[0].numpy() for s in [*first, *second]])}
    arrays["hidden"] = second[-1].hidden[0, ::7].numpy()
    np.savez_compressed(Path(__file__).with_name("seeded.npz"), **{k: v.astype(np.float32) for k, v in arrays.items()})
