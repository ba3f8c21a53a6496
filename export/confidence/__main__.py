"""`python -m qlot.export.confidence --weights W --data D` fits the constants of a checkpoint on labelled faces.

It prints them as JSON, with the separation on people that the fit has not seen. With `--out` it also writes the weights
as they are shipped: float16, with these constants, fitted on the rounded values, in their metadata. D holds
`faces_train` and `faces_val`, each a `.tar` of images with an `.npz` of `names` and `ibug68` (n, 68, 2) in pixels.
"""

from __future__ import annotations

import argparse
import json
import sys
import tarfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np

from qlot.export.bundle.spec import tracker_spec
from qlot.export.confidence.fit import fit_confidence, separation
from qlot.export.confidence.observe import collect
from qlot.export.confidence.scenes import CropScene
from qlot.model.checkpoint import load_checkpoint, save_checkpoint
from qlot.model.layout import Layout, load_layout
from qlot.model.torch_network import TorchNetwork
from qlot.runtime.bundle.defaults import CROP
from qlot.runtime.bundle.stated_confidence import ANY_FACE
from qlot.runtime.tracking.crop import crop_of, fit_crop

LICENCE = "Apache-2.0"
FRAME = "ICT-FaceKit canonical: neutral + 0.5*jawForward + 0.4*jawOpen, minus (0, 1.1124374, 7.552391), over 7.5423789"


def labelled_faces(folder: Path, split: str, layout: Layout, count: int, seed: int = 0) -> Iterator[CropScene]:
    """Yield up to `count` faces in random order, with the crop that the rule gives for their labels."""
    table = np.load(folder / f"{split}.npz")
    with tarfile.open(folder / f"{split}.tar") as images:
        for i in np.random.default_rng(seed).permutation(len(table["names"]))[:count]:
            file = images.extractfile(f"{table['names'][i].removesuffix('.jpg')}.jpg")
            assert file is not None
            bgr = cv2.imdecode(np.frombuffer(file.read(), np.uint8), cv2.IMREAD_COLOR)
            face = crop_of(fit_crop(layout.points, table["ibug68"][i]), CROP)
            yield CropScene(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), face, face)


def main(arguments: Sequence[str] | None = None) -> None:
    """Fit and print the constants of a checkpoint for some layouts."""
    parser = argparse.ArgumentParser(prog="python -m qlot.export.confidence", description=main.__doc__)
    parser.add_argument("--weights", type=Path, required=True, help="checkpoint file")
    parser.add_argument("--data", type=Path, required=True, help="folder with faces_train and faces_val")
    parser.add_argument("--layouts", nargs="+", default=["wflw98"], help="names or files of layouts")
    parser.add_argument("--faces", type=int, default=300, help="faces to fit on; half as many to validate on")
    parser.add_argument("--out", type=Path, help="also write the weights for shipping, as float16, to this file")
    parser.add_argument("--note", default="", help="what they were trained by, for the metadata of --out")
    options = parser.parse_args(arguments)
    if options.out and not options.out.parent.is_dir():
        parser.error(f"--out: there is no folder {options.out.parent}")
    model, labels = load_checkpoint(options.weights), load_layout("ibug68")
    if options.out:
        model.load_state_dict({k: v.half().float() for k, v in model.state_dict().items()})
    out: dict[str, dict[str, object]] = {"confidence": {}, "validation": {}}
    for layout in map(load_layout, options.layouts):
        stages = TorchNetwork(model, layout)
        spec = tracker_spec(model.config, layout, ANY_FACE)
        train = labelled_faces(options.data, "faces_train", labels, options.faces)
        held_back = labelled_faces(options.data, "faces_val", labels, options.faces // 2)
        fitted = fit_confidence(collect(stages, spec, train), f"{options.faces} faces of faces_train")
        out["confidence"][layout.name] = fitted.model_dump()
        out["validation"][layout.name] = separation(collect(stages, spec, held_back, seed=1), fitted)
    sys.stdout.write(json.dumps(out, indent=1) + "\n")
    if options.out:
        metadata = {
            "licence": LICENCE,
            "layout_frame": FRAME,
            "confidence": json.dumps(out["confidence"]),
            "note": options.note,
        }
        save_checkpoint(model, options.out, half=True, **metadata)


if __name__ == "__main__":
    main()
