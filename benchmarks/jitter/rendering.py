"""Renders the protocol's clips: a random face each, nothing before it, at rest but for the motion."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np

from qlot.benchmarks.jitter.clips import JpegFrames, RenderedClip, disturbed, read_clip, write_clip
from qlot.benchmarks.jitter.motions import motion_of
from qlot.benchmarks.jitter.protocol import JitterProtocol, MotionSpec
from qlot.runtime.progress import Progress
from qlot.training.data.clip import DataError
from qlot.training.data.synthetic.ict import FaceModel, Indices
from qlot.training.data.synthetic.motion import FaceState
from qlot.training.data.synthetic.random_scene import random_scene
from qlot.training.data.synthetic.renderer import RenderedFrame, Renderer
from qlot.training.data.synthetic.scene import Scene

LIDS = ("eyeBlink_L", "eyeBlink_R")
GAZE = (("eyeLookOut_L", "eyeLookIn_R"), ("eyeLookIn_L", "eyeLookOut_R"))


def clips_of(protocol: JitterProtocol, data: Path, folder: Path, progress: Progress) -> list[RenderedClip]:
    """Return the protocol's clips, rendering into `folder` those that are not there yet.

    Args:
        protocol: what to render.
        data: folder that holds `ict/ict_model.npz` and `layouts/mediapipe478.json`.
        folder: where clips are kept.
        progress: told what is being rendered.

    Raises:
        DataError: the data cannot be read, a stored clip is damaged, or there is no OpenGL to render with.
    """
    wanted = [(face, motion) for face in protocol.faces for motion in protocol.motions]
    known = [read_clip(folder, face, motion, protocol) for face, motion in wanted]
    if all(known):
        return [clip for clip in known if clip]
    folder.mkdir(parents=True, exist_ok=True)
    model = FaceModel.load(data / "ict" / "ict_model.npz")
    vertices = {"lm68": model.lm68, "mediapipe478": mesh_vertices(data / "layouts" / "mediapipe478.json")}
    clips: list[RenderedClip] = []
    with Renderer(model, protocol.frame.size) as renderer:
        for i, ((face, motion), clip) in enumerate(zip(wanted, known, strict=True)):
            progress(f"rendering clip {i + 1} of {len(wanted)}")
            clips.append(clip or render_clip(renderer, vertices, protocol, face, motion, folder))
    return clips


def mesh_vertices(path: Path) -> Indices:
    """Return the mesh vertex of each FaceMesh landmark (478,).

    Raises:
        DataError: the file is not such a layout.
    """
    try:
        vertices = np.array(json.loads(path.read_text("utf-8"))["ict_vertex"], np.int64)
    except (OSError, ValueError, KeyError, TypeError) as e:
        raise DataError(f"{path}: needs `ict_vertex`, a mesh vertex per FaceMesh landmark: {e}") from e
    if vertices.shape != (478,):
        raise DataError(f"{path}: `ict_vertex` has shape {vertices.shape}, FaceMesh has 478 landmarks")
    return vertices


def jitter_scene(face: int, protocol: JitterProtocol) -> Scene:
    """Return a random person and light at the protocol's magnification, nothing in front of the face."""
    scene = random_scene(face)
    return replace(scene, camera=replace(scene.camera, field=protocol.frame.field), glasses=None, occluders=())


def render_clip(
    renderer: Renderer,
    vertices: dict[str, Indices],
    protocol: JitterProtocol,
    face: int,
    motion: MotionSpec,
    folder: Path,
) -> RenderedClip:
    """Render one clip into the folder and return it. Where the face comes back to, only the noise is new."""
    scene, times = jitter_scene(face, protocol), protocol.times(motion)
    lids, left, right = (tuple(map(renderer.model.names.index, names)) for names in (LIDS, *GAZE))
    moving = motion_of(motion, FaceState(), lids, (left, right))
    rng = np.random.default_rng([face, protocol.motions.index(motion)])
    x, y = rng.uniform(-1, 1, 2) * protocol.start.shift
    start = (float(x), float(y), float(rng.uniform(-1, 1) * protocol.start.scale))
    files: list[bytes] = []
    positions = {name: np.empty((len(times), len(which), 2)) for name, which in vertices.items()}
    rendered: dict[tuple[object, ...], RenderedFrame] = {}
    for i, time in enumerate(times):
        state = moving(float(time))
        pose = _pose(state)
        frame = rendered.get(pose) or renderer.render(scene, state)
        rendered[pose] = frame
        files.append(disturbed(frame.rgb, protocol, rng))
        for name, which in vertices.items():
            positions[name][i] = frame.project(which)
    frames = JpegFrames(tuple(files))
    clip = RenderedClip(face, motion, times, frames, positions, start)
    write_clip(folder, clip, frames, protocol)
    return clip


def _pose(state: FaceState) -> tuple[object, ...]:
    """Tell poses apart; a sine's positions repeat to the last bits of a float."""
    x, y = state.shift
    return (state.rotation, state.translation, round(x, 6), round(y, 6), state.expression.tobytes())
