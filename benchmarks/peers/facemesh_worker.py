"""Runs inside MediaPipe's environment and needs only what that holds: frames in, FaceMesh's landmarks out.

FaceMesh runs as a tracker: a frame's crop comes from the landmarks of the frame before, and its face detector looks
only where there are none. Its graph has no landmark smoothing, which is checked.
"""

import sys
import time
from pathlib import Path

import mediapipe as mp
import numpy as np

GRAPH = Path(mp.__file__).parent / "modules" / "face_landmark" / "face_landmark_front_cpu.binarypb"


def main(frames_file: str, out: str, refined: bool) -> None:
    """Write landmarks (T, 468 or 478, 2) in pixels, centres at integers, NaN without a face, and milliseconds (T,)."""
    if b"Smoothing" in GRAPH.read_bytes():
        raise SystemExit(f"{GRAPH} smooths its landmarks: this is not the FaceMesh that the benchmark is about")
    with np.load(frames_file) as stored:
        frames = stored["frames"]
    count, (height, width) = 478 if refined else 468, frames.shape[1:3]
    landmarks, milliseconds = np.full((len(frames), count, 2), np.nan), np.zeros(len(frames))
    with mp.solutions.face_mesh.FaceMesh(
        static_image_mode=False, max_num_faces=1, refine_landmarks=refined
    ) as face_mesh:
        for i, frame in enumerate(frames):
            start = time.perf_counter()
            found = face_mesh.process(np.ascontiguousarray(frame)).multi_face_landmarks
            milliseconds[i] = 1e3 * (time.perf_counter() - start)
            if found:
                landmarks[i] = [(point.x, point.y) for point in found[0].landmark]
    pixels = landmarks * (width, height) - 0.5  # MediaPipe's 0 and 1 are the frame's edges
    with Path(out).open("wb") as file:
        version = f"mediapipe {mp.__version__}, FaceMesh{' refined' * refined}"
        np.savez(file, landmarks=pixels, milliseconds=milliseconds, version=version)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3] == "refined")
