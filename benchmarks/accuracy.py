"""How good a bundle's landmarks are on faces with labels: `python -m qlot.benchmarks.accuracy BUNDLE --data DIR`.

The labels are the 68 points of `faces_val` (people that no shipped weights were trained on), so the bundle must have
been exported with `--layout ibug68`. Crops are disturbed the way a detector would: the rule's crop around the labels,
scaled by up to 15 % and shifted by up to 10 % of its side, from a fixed seed; cold start, the bundle's cold steps.
"""

from __future__ import annotations

import argparse
import tarfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from qlot.metrics import area_under_curve, coverage, failure_rate, interocular, nme
from qlot.runtime import Bundle, CropBox, Gate
from qlot.runtime.crop import crop_of, fit_crop, sample_crop, to_frame
from qlot.runtime.recurrence import steps
from qlot.runtime.stages import BundleStages
from qlot.runtime.state import cold_start, covariance_matrices

SEED, SCALE, SHIFT = 0, 0.15, 0.10


def labelled_faces(data: Path) -> Iterator[tuple[NDArray[np.uint8], NDArray[np.float64]]]:
    """Yield pictures (256, 256, 3) and their 68 labels (68, 2) of `faces_val`."""
    import cv2

    labels = np.load(data / "faces" / "faces_val.npz")
    with tarfile.open(data / "faces" / "faces_val.tar") as tar:
        members = {Path(m.name).name: m for m in tar.getmembers() if m.isfile()}
        for name, points in zip(labels["names"], labels["ibug68"], strict=True):
            file = tar.extractfile(members[str(name)])
            picture = cv2.imdecode(np.frombuffer(file.read() if file else b"", np.uint8), cv2.IMREAD_COLOR)
            if picture is None:
                raise SystemExit(f"{data}: {name!s} is not a picture")
            yield np.ascontiguousarray(picture[:, :, ::-1]), points.astype(np.float64)


def evaluate(bundle: Bundle, data: Path) -> dict[str, float]:
    """Return NME (outer eyes), FR@10, AUC@10 and the coverage of the 50, 90 and 95 % ellipses."""
    spec = bundle.manifest
    if spec.layout.outer_eyes is None or len(spec.layout.points) != 68:
        raise SystemExit("export the bundle with --layout ibug68: the labels are those 68 points")
    stages, points = BundleStages(bundle), np.array(spec.layout.points)
    random = np.random.default_rng(SEED)
    predictions, covariances, labels = [], [], []
    for picture, truth in labelled_faces(data):
        box = crop_of(fit_crop(points, truth), spec.preprocessing.crop)
        scale, x, y = 1 + random.uniform(-SCALE, SCALE), *(random.uniform(-SHIFT, SHIFT, 2) * box.side)
        box = CropBox(box.center_x + x, box.center_y + y, box.side * scale)
        features = stages.extract(sample_crop(picture, box, stages.size))
        start = cold_start(points, stages.size, spec.state.hidden[2])
        *_, state = steps(stages, features, start, spec.iterations.cold, Gate())
        predictions.append(to_frame(state.landmarks[0, :, :2], box, stages.size))
        covariances.append(covariance_matrices(state.landmarks) * (box.side / stages.size) ** 2)
        labels.append(truth)
    predicted, truth, spread = np.stack(predictions), np.stack(labels), np.stack(covariances)
    errors = nme(predicted, truth, interocular(truth, spec.layout.outer_eyes))
    return {
        "faces": float(len(errors)),
        "NME mean, outer eyes, %": 100 * float(errors.mean()),
        "NME median, outer eyes, %": 100 * float(np.median(errors)),
        "FR@10, %": 100 * failure_rate(errors),
        "AUC@10, %": 100 * area_under_curve(errors),
        **{f"inside the {p} % ellipse, %": 100 * coverage(predicted - truth, spread, p / 100) for p in (50, 90, 95)},
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the evaluation and print one figure a line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path, help="folder of a bundle exported with --layout ibug68")
    parser.add_argument("--data", type=Path, required=True, help="folder that holds faces/faces_val.tar and .npz")
    options = parser.parse_args(arguments)
    for name, value in evaluate(Bundle.open(options.bundle), options.data).items():
        print(f"{name}: {value:.2f}")


if __name__ == "__main__":
    main()
