"""Runs inside MediaPipe's environment and needs only what that holds: frames in, FaceLandmarker's landmarks out.

MediaPipe Tasks as its users get it: one face, default thresholds; frames in VIDEO mode with its own smoothing, pictures
in IMAGE mode.
"""

import sys
import time
from pathlib import Path

import mediapipe as mp
import numpy as np
from mediapipe.tasks.python import BaseOptions, vision

COUNT = 478


def main(frames_file: str, out: str, model: str, mode: str) -> None:
    """Write landmarks (T, 478, 2) in pixels, centres at integers, NaN without a face, and milliseconds (T,)."""
    with np.load(frames_file) as stored:
        frames, fps = stored["frames"], float(stored["fps"])
    height, width = frames.shape[1:3]
    landmarks, milliseconds = np.full((len(frames), COUNT, 2), np.nan), np.zeros(len(frames))
    options = vision.FaceLandmarkerOptions(
        base_options=BaseOptions(model_asset_path=model), running_mode=vision.RunningMode[mode], num_faces=1
    )
    with vision.FaceLandmarker.create_from_options(options) as landmarker:
        for i, frame in enumerate(frames):
            start, still = time.perf_counter(), mode == "IMAGE"
            image = mp.Image(image_format=mp.ImageFormat.SRGB, data=np.ascontiguousarray(frame))
            found = landmarker.detect(image) if still else landmarker.detect_for_video(image, round(1e3 * i / fps))
            milliseconds[i] = 1e3 * (time.perf_counter() - start)
            if found.face_landmarks:
                landmarks[i] = [(point.x, point.y) for point in found.face_landmarks[0]]
    pixels = landmarks * (width, height) - 0.5  # MediaPipe's 0 and 1 are the frame's edges
    with Path(out).open("wb") as file:
        version = f"mediapipe {mp.__version__}, FaceLandmarker, {mode} mode, defaults"
        np.savez(file, landmarks=pixels, milliseconds=milliseconds, version=version)


if __name__ == "__main__":
    main(*sys.argv[1:5])
