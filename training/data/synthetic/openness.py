"""How much of the surroundings each vertex sees: the soft shadow in eye corners, nostrils, mouth and under the chin.

Ambient occlusion by counting: the neutral mesh is drawn from many directions, and a vertex is open to a direction if
nothing lies before it there. Weighted by the cosine to the normal, this is the share of even light that arrives.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from qlot.training.data.clip import Array

_DIRECTIONS: Final = 64
_SIZE: Final = 384  # pixels of a depth map
_MARGIN: Final = 0.25  # cm, above the depth map's own resolution

_VERTEX: Final = """
#version 330
uniform mat3 turn;
uniform vec3 centre;
uniform float reach;
in vec3 in_position;
void main() { gl_Position = vec4(turn * (in_position - centre) * vec3(1.0, 1.0, -1.0) / reach, 1.0); }
"""
_FRAGMENT: Final = """
#version 330
void main() {}
"""


def openness(gl: Any, positions: Array, normals: NDArray[np.float32], triangles: NDArray[np.int32]) -> Array:
    """Return (V,) in [0, 1]: 1 sees everything in front of it.

    Args:
        gl: a moderngl context.
        positions: (V, 3) cm.
        normals: (V, 3) unit length.
        triangles: (T, 3).
    """
    program = gl.program(_VERTEX, _FRAGMENT)
    centre = (positions.max(0) + positions.min(0)) / 2
    reach = float(np.linalg.norm(positions - centre, axis=1).max()) * 1.01
    program["centre"], program["reach"] = tuple(centre), reach
    array = gl.simple_vertex_array(
        program, gl.buffer(positions.astype("f4").tobytes()), "in_position", index_buffer=gl.buffer(triangles.tobytes())
    )
    depth = gl.depth_texture((_SIZE, _SIZE))
    target = gl.framebuffer(depth_attachment=depth)
    arrived, possible = np.zeros(len(positions)), np.full(len(positions), 1e-9)
    target.use()
    gl.enable(gl.DEPTH_TEST)
    for direction in _sphere(_DIRECTIONS):
        turn = _looking_from(direction)
        program["turn"].write(turn.T.astype("f4").tobytes())
        target.clear(depth=1.0)
        array.render()
        nearest = np.frombuffer(depth.read(), "f4").reshape(_SIZE, _SIZE)
        seen = (positions - centre) @ turn.T / reach
        column, row = ((seen[:, :2] + 1) / 2 * _SIZE).astype(int).clip(0, _SIZE - 1).T
        mine = (1 - seen[:, 2]) / 2
        cosine = np.maximum(normals @ direction, 0)
        arrived += cosine * (mine < nearest[row, column] + _MARGIN / (2 * reach))
        possible += cosine
    for held in (array, target, depth, program):
        held.release()
    return arrived / possible


def _sphere(count: int) -> Array:
    """Return (count, 3) directions spread evenly: a Fibonacci spiral."""
    steps = np.arange(count) + 0.5
    z = 1 - 2 * steps / count
    angle = np.pi * (1 + 5**0.5) * steps
    flat = np.sqrt(1 - z**2)
    return np.column_stack([flat * np.cos(angle), flat * np.sin(angle), z])


def _looking_from(direction: Array) -> Array:
    """Return a (3, 3) rotation that takes a direction to +z."""
    helper = np.eye(3)[np.abs(direction).argmin()]
    x = np.cross(helper, direction)
    x /= np.linalg.norm(x)
    return np.stack([x, np.cross(direction, x), direction])
