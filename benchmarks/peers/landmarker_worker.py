"""Runs inside MediaPipe's environment and needs only what that holds: frames in, FaceLandmarker's landmarks out.

MediaPipe Tasks as its users get it: one face, default thresholds; frames in VIDEO mode with its own smoothing, pictures
in IMAGE mode.
"""

import sys
from pathlib import Path

import mediapipe as mp
import numpy as np
from mediapipe.tasks.python import BaseOptions, vision

COUNT = 478


def main(frames_file: str, out: str, model: str, mode: str) -> None:
    """Write landmarks (T, 478, 2) in pixels, centres at integers; NaN in frames without a face."""
    with np.load(frames_file) as stored:
        frames, fps = stored["frames"], float(stored["fps"])
    height, width = frames.shape[1:3]
    landmarks = np.full((len(frames), COUNT, 2), np.nan)
    options = vision.FaceLandmarkerOptions(
        base_options=BaseOptions(model_asset_path=model), running_mode=vision.RunningMode[mode], num_faces=1
    )
    with vision.FaceLandmarker.create_from_options(options) as landmarker:
        for i, frame in enumerate(frames):
            image = mp.Image(image_format=mp.ImageFormat.SRGB, data=np.ascontiguousarray(frame))
            still = mode == "IMAGE"
            found = landmarker.detect(image) if still else landmarker.detect_for_video(image, round(1e3 * i / fps))
            if found.face_landmarks:
                landmarks[i] = [(point.x, point.y) for point in found.face_landmarks[0]]
    pixels = landmarks * (width, height) - 0.5  # MediaPipe's 0 and 1 are the frame's edges
    with Path(out).open("wb") as file:
        np.savez(file, landmarks=pixels, version=f"mediapipe {mp.__version__}, FaceLandmarker, {mode} mode, defaults")


if __name__ == "__main__":
    main(*sys.argv[1:5])
