"""Small bundles for tests: real graphs of an untrained tracker, a true manifest, a golden sequence from a real run."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.parser
from onnx import numpy_helper

from qlot.runtime.bundle.folder import Bundle
from qlot.runtime.bundle.golden import GoldenSequence, write_golden
from qlot.runtime.bundle.manifest import SCHEMA_VERSION
from qlot.runtime.network.bundle_network import BundleNetwork
from qlot.runtime.network.recurrence import Gate
from qlot.runtime.network.replay import run_frames

S, N, C, X = 32, 5, 8, 6  # input side, landmarks, hidden and context channels
FRAMES, COLD, UNROLLED = 3, 4, 2
GATE = Gate(8.0, 0.1)
POINTS = np.random.default_rng(5).uniform(-0.6, 0.6, (N, 3))

EXTRACTOR = """
extractor (float[1,3,32,32] image) => (float[1,4,8,8] F_0, float[1,4,4,4] F_1, float[1,4,2,2] F_2, float[1,6] context) {
  conv = Conv <strides = [4, 4], kernel_shape = [4, 4]> (image, k_conv)
  F_0 = Relu (conv)
  F_1 = AveragePool <strides = [2, 2], kernel_shape = [2, 2]> (F_0)
  F_2 = MaxPool <strides = [2, 2], kernel_shape = [2, 2]> (F_1)
  pooled = GlobalAveragePool (F_2)
  flat = Flatten (pooled)
  context = Gemm (flat, k_context)
}"""

# One refinement step in the shape of the model's: look up, mix landmarks, update the hidden state, two heads.
STEP = """
  look_@ = GatherND <batch_dims = 1> (F_0, k_index)
  flat_@ = Flatten (F_1)
  far_@ = MatMul (flat_@, k_far)
  coarse_@ = ReduceMean <keepdims = 0> (F_2, k_axes)
  all_@ = Concat <axis = 1> (look_@, far_@, coarse_@, context)
  seen_@ = MatMul (all_@, k_seen)
  put_@ = MatMul (landmarks_@, k_state)
  kept_@ = MatMul (hidden_@, k_hidden)
  sum_@ = Add (put_@, kept_@)
  both_@ = Add (sum_@, seen_@)
  mix_@ = Softmax <axis = 1> (both_@)
  mixed_@ = Sub (both_@, mix_@)
  next_@ = Tanh (mixed_@)
  raw_@ = MatMul (next_@, k_displacement)
  cov_head_@ = MatMul (next_@, k_covariance)
  cov_@ = Add (cov_head_@, k_bias)
"""

# The uncertainty gate with radius and cutoff as inputs; a radius of 0 lets everything through.
GATED = """
  square_@ = ReduceSumSquare <keepdims = 1> (raw_@, k_last)
  length_@ = Sqrt (square_@)
  floored_@ = Max (length_@, k_tiny)
  unit_@ = Div (raw_@, floored_@)
  log_sigma_@, artanh_@ = Split <axis = 2> (cov_@, k_parts)
  sigma_@ = Exp (log_sigma_@)
  along_@ = Mul (sigma_@, unit_@)
  rho_@ = Tanh (artanh_@)
  product_@ = ReduceProd <keepdims = 1> (along_@, k_last)
  half_cross_@ = Mul (rho_@, product_@)
  cross_@ = Add (half_cross_@, half_cross_@)
  plain_@ = ReduceSumSquare <keepdims = 1> (along_@, k_last)
  variance_@ = Add (plain_@, cross_@)
  positive_@ = Relu (variance_@)
  deviation_@ = Sqrt (positive_@)
  radius_@, cutoff_@ = Split <axis = 0> (gate, k_ones)
  off_@ = Equal (radius_@, k_zero)
  safe_@ = Where (off_@, k_one, radius_@)
  ratio_@ = Div (deviation_@, safe_@)
  curve_@ = Tanh (ratio_@)
  above_@ = Sub (curve_@, cutoff_@)
  open_@ = Relu (above_@)
  span_@ = Sub (k_one, cutoff_@)
  scaled_@ = Div (open_@, span_@)
  factor_@ = Where (off_@, k_one, scaled_@)
  moved_@ = Mul (raw_@, factor_@)
  xy_@, rest_@ = Split <axis = 2> (landmarks_@, k_position)
  there_@ = Add (xy_@, moved_@)
"""
FEATURES = "float[1,4,8,8] F_0, float[1,4,4,4] F_1, float[1,4,2,2] F_2, float[1,6] context"
STATE = "float[1,5,7] landmarks, float[1,5,8] hidden"
RESULT = "float[1,5,2] displacement, float[1,5,3] covariance, float[1,5,8] hidden_out"


def write_bundle(
    folder: Path, *, lowering: str = "windowed", unrolled: bool = False, golden: bool = True, seed: int = 0
) -> Path:
    """Write a bundle into a new folder and return it. The same arguments give the same bytes."""
    folder.mkdir(parents=True)
    graphs = {"extractor": (EXTRACTOR, 0), "refiner": (_refiner(), 1)}
    if unrolled:
        graphs["refiner_unrolled"] = (_refiner_unrolled(), UNROLLED)
    stages = {}
    for name, (text, iterations) in graphs.items():
        model = _model(text.replace("F_", "map_" if lowering == "dense" else "pyramid_"), seed)
        (folder / f"{name}.onnx").write_bytes(model.SerializeToString(deterministic=True))
        stages[name] = _stage(f"{name}.onnx", model, iterations)
    (folder / "manifest.json").write_text(json.dumps(_manifest(stages, lowering), indent=1))
    rehash(folder)
    if golden:
        write_golden(folder, _golden(Bundle.open(folder), seed))
        tolerance = {"px": 0.01, "log_sigma": 0.01}
        found = {"included": True, "index": "golden/index.json", "frames": FRAMES, "tolerance": tolerance}
        edit_manifest(folder, lambda m: m.update(golden=found))
        rehash(folder)
    return folder


def edit_manifest(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Apply `change` to the manifest's parsed JSON."""
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text())
    change(manifest)
    path.write_text(json.dumps(manifest, indent=1))


def rehash(folder: Path) -> None:
    """List every file as it is now, as a bundle writer would."""
    files = []
    for path in sorted(p for p in folder.rglob("*") if p.is_file() and p != folder / "manifest.json"):
        data = path.read_bytes()
        name = path.relative_to(folder).as_posix()
        files.append({"path": name, "bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()})
    edit_manifest(folder, lambda m: m.update(files=files))


def _golden(bundle: Bundle, seed: int) -> GoldenSequence:
    rng = np.random.default_rng(seed)
    sequence = GoldenSequence(
        crops=rng.integers(0, 256, (FRAMES, S, S, 3), np.uint8),
        boxes=np.array([[60.0, 50.0, 64.0], [60.0, 50.0, 64.0], [62.5, 49.0, 70.0]]),
        steps=np.array([COLD, 1, 1], np.int32),
        landmarks=np.zeros((FRAMES, COLD, N, 7), np.float32),
        hidden=np.zeros((FRAMES, N, C), np.float32),
        gate=np.array([GATE.radius, GATE.cutoff], np.float32),
    )
    for t, frame in enumerate(run_frames(BundleNetwork(bundle), sequence, POINTS)):
        sequence.landmarks[t, : len(frame)] = [state.landmarks[0] for state in frame]
        sequence.hidden[t] = frame[-1].hidden[0]
    return sequence


def _refiner() -> str:
    step = STEP.replace("landmarks_@", "landmarks").replace("hidden_@", "hidden").replace("next_@", "hidden_out")
    step = step.replace("raw_@", "displacement").replace("cov_@", "covariance")
    return f"refiner ({FEATURES}, {STATE}) => ({RESULT}) {{ {step.replace('@', '0')} }}"


def _refiner_unrolled() -> str:
    body = "landmarks_0 = Identity (landmarks)\nhidden_0 = Identity (hidden)"
    for k in range(UNROLLED):
        after = f"""
          landmarks_{k + 1} = Concat <axis = 2> (there_@, cov_@, moved_@)
          hidden_{k + 1} = Identity (next_@)"""
        body += (STEP + GATED + after).replace("@", str(k))
    body += f"""
      total_displacement = Add (moved_0, moved_1)
      displacement = Identity (moved_{UNROLLED - 1})
      covariance = Identity (cov_{UNROLLED - 1})
      hidden_out = Identity (hidden_{UNROLLED})"""
    head = f"({FEATURES}, {STATE}, float[2] gate) => (float[1,5,2] total_displacement, {RESULT})"
    return f"refiner_unrolled {head} {{ {body} }}"


def _constants(seed: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)

    def weight(*shape: int) -> np.ndarray:
        return rng.normal(0, 1 / np.sqrt(np.prod(shape[:-1])), shape).astype(np.float32)

    state = weight(7, C) * np.array([0.05, 0.05, 1, 1, 1, 0.2, 0.2], np.float32)[:, None]
    return {
        "k_conv": rng.normal(0, 0.2, (4, 3, 4, 4)).astype(np.float32), "k_context": weight(4, X),
        "k_index": np.array([[[0, 3, 3], [1, 2, 5], [3, 7, 7]]], np.int64), "k_far": weight(64, 4),
        "k_axes": np.array([2, 3], np.int64), "k_seen": weight(3 + 4 + 4 + X, C),
        "k_state": state.astype(np.float32), "k_hidden": weight(C, C),
        "k_displacement": 3 * weight(C, 2), "k_covariance": weight(C, 3),
        "k_bias": np.array([1, 1, 0], np.float32), "k_last": np.array([2], np.int64),
        "k_tiny": np.array(1e-6, np.float32), "k_parts": np.array([2, 1], np.int64),
        "k_ones": np.array([1, 1], np.int64), "k_position": np.array([2, 5], np.int64),
        "k_zero": np.array(0, np.float32), "k_one": np.array(1, np.float32),
    }  # fmt: skip


def _model(text: str, seed: int) -> onnx.ModelProto:
    graph = onnx.parser.parse_graph(text)
    used = {name for node in graph.node for name in node.input}
    graph.initializer.extend(numpy_helper.from_array(v, k) for k, v in _constants(seed).items() if k in used)
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=9)
    onnx.checker.check_model(model, full_check=True)
    return model


def _stage(file: str, model: onnx.ModelProto, iterations: int) -> dict[str, Any]:
    def specs(values: Any) -> list[dict[str, Any]]:
        return [
            {
                "name": v.name, "shape": [d.dim_value for d in v.type.tensor_type.shape.dim], "dtype": "float32",
                "meaning": "see the contract", "unit": "see the contract",
            }
            for v in values
        ]  # fmt: skip

    ops: dict[str, int] = {}
    for node in model.graph.node:
        ops[node.op_type] = ops.get(node.op_type, 0) + 1
    inputs, outputs = specs(model.graph.input), specs(model.graph.output)
    return {"file": file, "iterations": iterations, "inputs": inputs, "outputs": outputs, "macs": 0, "ops": ops}


def _manifest(stages: dict[str, Any], lowering: str) -> dict[str, Any]:
    layout = {
        "name": "five", "points": POINTS.tolist(), "names": ["left", "right", "nose", "mouth", "chin"],
        "groups": {"eyes": [0, 1]}, "mirror": [1, 0, 2, 3, 4], "edges": [[0, 1], [2, 3]], "outer_eyes": [0, 1],
    }  # fmt: skip
    state = {
        "landmarks": [1, N, 7], "hidden": [1, N, C], "init": "see the contract", "reset": "see the contract",
        "crop_change": "see the contract", "clamp_position": 2.0, "clamp_log_sigma": [-10.0, 3.0],
    }  # fmt: skip
    confidence = {
        "bias": 0.0, "w_spread": -1.0, "found": 0.6, "lost": 0.4, "calibration": "none: untrained",
    }  # fmt: skip
    return {
        "schema_version": SCHEMA_VERSION,
        "model": {
            "preset": "test", "parameters": 1, "checkpoint": "untrained", "checkpoint_sha256": "0" * 64,
            "licence": "Apache-2.0",
        },
        "target": "onnx", "lowering": lowering,
        "scheme": {"name": "fp32", "requested": "fp32", "rules": {}, "calibration": None},
        "stages": stages,
        "preprocessing": {"size": S, "crop": {"center": [0.0, -0.34], "side": 2.4}},
        "state": state, "iterations": {"cold": COLD, "tracking": 1},
        "gate": {"radius": GATE.radius, "cutoff": GATE.cutoff}, "confidence": confidence, "tracking": {},
        "layout": layout, "golden": {"included": False}, "parity": None, "tools": {"onnx": onnx.__version__},
        "files": [],
    }  # fmt: skip
