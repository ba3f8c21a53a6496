"""Scenes to pictures through OpenGL without a screen (EGL; Mesa's software renderer is enough)."""

from __future__ import annotations

from dataclasses import dataclass
from types import TracebackType
from typing import Any, Final, Self

import cv2
import numpy as np
from numpy.typing import NDArray

from qlot.runtime.extras import pip_line
from qlot.training.data.clip import Array, DataError, Image
from qlot.training.data.synthetic.background import background, occlude
from qlot.training.data.synthetic.camera import project, to_camera
from qlot.training.data.synthetic.ict import FaceModel, Indices, Person
from qlot.training.data.synthetic.motion import FaceState, rotation_matrix
from qlot.training.data.synthetic.openness import openness
from qlot.training.data.synthetic.paint import hair_depth, paint_of
from qlot.training.data.synthetic.props import Prop, props_of
from qlot.training.data.synthetic.scene import Scene
from qlot.training.data.synthetic.shaders import FRAGMENT, VERTEX

_NEAR_FAR: Final = (5.0, 400.0)  # cm
_FINER: Final = 2  # pixels drawn per pixel, each way: in software, cheaper than multisampling, and smoother
_DEPTH_MARGIN: Final = 0.35  # cm by which something must be in front of a point to hide it


@dataclass(frozen=True, eq=False)
class RenderedFrame:
    """A picture, and where in it every vertex of the mesh is."""

    rgb: Image  # (size, size, 3)
    depth: NDArray[np.float32]  # (2 size, 2 size) cm from the camera; the far plane where there is nothing
    covered: NDArray[np.bool_]  # (size, size) something is in the way
    positions: Array  # (V, 3) cm, the head's frame
    normals: NDArray[np.float32]  # (V, 3)
    scene: Scene
    state: FaceState

    def project(self, indices: Indices) -> Array:
        """Return the exact (n, 2) pixels of vertices, pixel centres at integers."""
        return project(self.positions[indices], self.state, self.scene.camera, len(self.rgb))

    def unhidden(self, indices: Indices) -> NDArray[np.bool_]:
        """Return (n,) whether vertices face the camera, inside the picture, with nothing of the head before them."""
        seen = to_camera(self.positions[indices], self.state, self.scene.camera)
        turned = self.normals[indices] @ rotation_matrix(self.state.rotation).T
        facing = -(turned * seen).sum(1) > 0.1 * np.linalg.norm(seen, axis=1)
        inside, row, column = self._pixels(indices, _FINER)
        return facing & inside & (-seen[:, 2] < self.depth[row, column] + _DEPTH_MARGIN)

    def uncovered(self, indices: Indices) -> NDArray[np.bool_]:
        """Return (n,) whether vertices lie in the picture where no occluder is drawn."""
        inside, row, column = self._pixels(indices, 1)
        return inside & ~self.covered[row, column]

    def visible(self, indices: Indices) -> NDArray[np.bool_]:
        """Return (n,) whether vertices can be seen: neither hidden by the head nor covered."""
        return self.unhidden(indices) & self.uncovered(indices)

    def _pixels(self, indices: Indices, finer: int) -> tuple[NDArray[np.bool_], Indices, Indices]:
        """Return whether vertices lie in the picture, and their rows and columns on a grid so many times finer."""
        near = np.floor((np.nan_to_num(self.project(indices), nan=-9.0) + 0.5) * finer).astype(np.int64)
        last = finer * len(self.rgb) - 1
        inside = np.asarray(((near >= 0) & (near <= last)).all(1))
        column, row = near.clip(0, last).T
        return inside, row, column


class Renderer:
    """Renders scenes of one model at one size. Owns an OpenGL context: use it in the thread that made it.

    Raises:
        DataError: moderngl is not installed, or no OpenGL context can be made.
    """

    def __init__(self, model: FaceModel, size: int) -> None:
        self.model, self.size = model, size
        self.paint = paint_of(model)
        self._gl = open_context()
        self._program = self._gl.program(VERTEX, FRAGMENT)
        gl, shape = self._gl, (_FINER * size, _FINER * size)
        self._depth = gl.depth_texture(shape)
        self._drawn = gl.framebuffer(gl.renderbuffer(shape, 4), self._depth)
        noise = np.random.default_rng(0).integers(0, 256, (32, 32, 32), np.uint8)
        gl.texture3d((32, 32, 32), 1, noise.tobytes()).use(0)
        vertices = len(model.neutral)
        self._positions, self._normals, self._paint = (gl.buffer(reserve=4 * n * vertices) for n in (3, 3, 4))
        rest = vertex_normals(model.neutral, model.triangles)
        shade = openness(gl, model.neutral, rest, self.paint.visible_triangles)
        fixed = np.column_stack([self.paint.place, shade, self.paint.material]).astype("f4")
        self._mesh = gl.vertex_array(
            self._program,
            [
                (self._positions, "3f", "in_position"),
                (self._normals, "3f", "in_normal"),
                (self._paint, "4f", "in_paint"),
                (gl.buffer(fixed.tobytes()), "3f 1f 1f", "in_place", "in_shade", "in_material"),
            ],
            gl.buffer(self.paint.visible_triangles.tobytes()),
        )
        self._scene: Scene | None = None
        self._held: tuple[Any, ...] = ()

    def render(self, scene: Scene, state: FaceState) -> RenderedFrame:
        """Render a scene with the face in a state.

        Raises:
            DataError: the background's picture cannot be read.
        """
        with self._gl:  # there may be another renderer in this thread
            if scene != self._scene:
                self._enter(scene)
            positions = self._person.positions(state.expression)
            normals = vertex_normals(positions, self.model.triangles)
            head, depth = self._draw(scene, state, positions, normals)
        rgb, covered = occlude(_over(head, scene, self.size), scene.occluders, state.time)
        return RenderedFrame(rgb, depth, covered, positions, normals, scene, state)

    def _draw(
        self, scene: Scene, state: FaceState, positions: Array, normals: NDArray[np.float32]
    ) -> tuple[Image, NDArray[np.float32]]:
        """Return head and props (size, size, 4), premultiplied, and the depth map."""
        outer = positions + normals * self._volume[:, None]
        self._positions.write(outer.astype("f4").tobytes())
        self._normals.write(normals.tobytes())
        self._set_state(scene, state)
        self._drawn.use()
        self._gl.enable(self._gl.DEPTH_TEST)
        self._gl.clear(0, 0, 0, 0)
        self._mesh.render()
        self._props.render()
        side = _FINER * self.size
        fine = np.frombuffer(self._drawn.read(components=4), np.uint8).reshape(side, side, 4)
        head = cv2.resize(fine, (self.size, self.size), interpolation=cv2.INTER_AREA)
        return head, self._read_depth()

    def close(self) -> None:
        """Give the OpenGL context back."""
        self._gl.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _enter(self, scene: Scene) -> None:
        """Upload what stays the same from frame to frame."""
        looks, light = scene.looks, scene.light
        self._person: Person = self.model.person(scene.identity)
        hair = hair_depth(self.model.neutral, looks.hairline, looks.hair_peak, looks.hair_recede)
        self._volume = looks.hair_volume * np.clip(hair / 2.5, 0, 1) * (self.paint.material == 0)
        painted = np.column_stack([self.paint.brow, self.paint.lip, hair, self.paint.lid])
        self._paint.write(painted.astype("f4").tobytes())
        self._upload(props_of(scene, self._person.rest[self.model.lm68]))
        lamp = np.array(light.direction) / np.linalg.norm(light.direction)
        values = {
            **{name: getattr(looks, name) for name in ("skin", "lips", "iris", "hair", "brows")},
            **{name: getattr(looks, name) for name in ("beard", "blotches", "freckles", "blush", "gloss")},
            "brow": (looks.brow_width, looks.brow_strength),
            "lash": looks.lash_strength,
            "noise_place": looks.noise,
            "lamp": tuple(lamp),
            **{name: tuple(light.exposure * np.array(getattr(light, name))) for name in ("sky", "ground")},
            "lamp_colour": tuple(light.exposure * np.array(light.colour)),
            "near_far": _NEAR_FAR,
            "focal2": 2 * scene.camera.focal,
        }
        for name, value in values.items():
            self._program[name] = value
        self._scene = scene

    def _set_state(self, scene: Scene, state: FaceState) -> None:
        self._program["turn"].write(rotation_matrix(state.rotation).T.astype("f4").tobytes())  # column by column
        camera = np.array([0.0, scene.camera.height, scene.camera.distance])
        self._program["offset"] = tuple(np.array(state.translation) - camera)
        self._program["shift"] = tuple(2 * np.array(state.shift) / self.size)

    def _upload(self, props: list[Prop]) -> None:
        """Make one mesh of a scene's props, in place of the last scene's."""
        for held in self._held:
            held.release()
        starts = np.cumsum([0, *(len(prop.positions) for prop in props)])
        rows = np.concatenate([prop_vertices(prop) for prop in props]).astype("f4")
        triangles = np.concatenate([prop.triangles + start for prop, start in zip(props, starts[:-1], strict=True)])
        names = ("in_position", "in_normal", "in_place", "in_paint", "in_shade", "in_material")
        vertices, order = self._gl.buffer(rows.tobytes()), self._gl.buffer(triangles.astype(np.int32).tobytes())
        self._props = self._gl.vertex_array(self._program, [(vertices, "3f 3f 3f 4f 1f 1f", *names)], order)
        self._held = (self._props, vertices, order)

    def _read_depth(self) -> NDArray[np.float32]:
        side = _FINER * self.size
        stored = np.frombuffer(self._depth.read(), "f4").reshape(side, side)
        near, far = _NEAR_FAR
        return np.asarray(2 * far * near / ((far + near) - (2 * stored - 1) * (far - near)), np.float32)


def open_context() -> Any:
    """Return an OpenGL context that needs no screen.

    Raises:
        DataError: what is missing, and which packages bring it.
    """
    try:
        import moderngl
    except ImportError:
        raise DataError(f"rendering faces needs moderngl: {pip_line('train')}") from None
    try:
        backend: dict[str, Any] = {"backend": "egl"}  # its annotations do not know the option
        return moderngl.create_context(standalone=True, require=330, **backend)
    except Exception as error:  # moderngl raises plain Exception
        raise DataError(
            f"no OpenGL 3.3 context through EGL ({error}); on Debian or Ubuntu: apt install libegl1 libgl1-mesa-dri"
        ) from error


def prop_vertices(prop: Prop) -> Array:
    """Return (n, 15): position, normal, place, paint, shade and material as the vertex shader takes them."""
    fixed = [*prop.colour, 0.0, 1.0, float(prop.material)]
    return np.column_stack([prop.positions, prop.normals, prop.positions, np.tile(fixed, (len(prop.positions), 1))])


def vertex_normals(positions: Array, triangles: NDArray[np.int32]) -> NDArray[np.float32]:
    """Return (V, 3) unit normals: the sum of the normals of a vertex's triangles, weighted by area."""
    a, b, c = (positions[triangles[:, corner]].astype(np.float32) for corner in range(3))
    crossed = np.cross(b - a, c - a)
    corners, repeated = triangles.T.ravel(), np.tile(crossed, (3, 1))
    summed = np.stack([np.bincount(corners, repeated[:, axis], len(positions)) for axis in range(3)], 1)
    lengths = np.linalg.norm(summed, axis=1, keepdims=True)
    return (summed / np.maximum(lengths, 1e-12)).astype(np.float32)


def _over(head: Image, scene: Scene, size: int) -> Image:
    """Lay the rendered head (size, size, 4), premultiplied, over the background."""
    behind = background(scene.background, size)
    gap = (255 - head[..., 3:]).astype(np.uint16)
    return np.minimum(255, head[..., :3] + (behind * gap + 127) // 255).astype(np.uint8)
