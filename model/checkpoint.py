"""Checkpoints: our own safetensors and the published .pth, one loader.

The published implementation names its modules differently; `PUBLISHED` is the whole translation. Parameters whose
published shape carries extra axes (for broadcasting) are reshaped; nothing else is changed.
"""

from __future__ import annotations

import hashlib
import json
import pickle
import re
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from qlot.model.config import PRESETS, QLOTConfig
from qlot.model.qlot import QLOT

FORMAT = "qlot-mobile/1"

# (published pattern, our name): the first match wins.
PUBLISHED: tuple[tuple[str, str], ...] = (
    (r"query_encoder\.(omega|phi)", r"encoding.\1"),
    (r"feature_extractor\.backbone\.stages_(\d+)\.", r"backbone.stages.\1."),
    (r"feature_extractor\.backbone\.", r"backbone."),
    (r"feature_extractor\.projections\.", r"pyramid.lateral."),
    (r"feature_extractor\.fusion_conv\.(\d+)\.conv\.", r"pyramid.fuse.\1.depthwise."),
    (r"feature_extractor\.fusion_conv\.(\d+)\.pointwise\.", r"pyramid.fuse.\1.pointwise."),
    (r"feature_extractor\.global_proj\.", r"pyramid.context."),
    (r"encoder\.pred_encoder\.0\.", r"refiner.encoder.state.rows."),
    (r"encoder\.pred_encoder\.3\.", r"refiner.encoder.state.linear."),
    (r"encoder\.query_encoder\.", r"identity.mlp."),
    (r"encoder\.context_feat_mlp\.0\.", r"refiner.encoder.context."),
    (r"encoder\.context_feat_mlp\.1\.", r"refiner.encoder.context_norm."),
    (r"encoder\.context_feat_proj\.", r"refiner.encoder.context_features."),
    (r"encoder\.corr_feat_head_convs\.(\d+)\.0\.log_temp", r"refiner.encoder.branches.\1.log_temperature"),
    (r"encoder\.corr_feat_head_convs\.(\d+)\.1\.", r"refiner.encoder.branches.\1.conv."),
    (r"encoder\.corr_feat_head_convs\.(\d+)\.4\.", r"refiner.encoder.branches.\1.linear."),
    (r"encoder\.corr_feat_head_convs\.(\d+)\.5\.", r"refiner.encoder.branches.\1.norm."),
    (r"encoder\.corr_feat_mlp\.", r"refiner.encoder.correlation."),
    (r"encoder\.image_feature_proj\.", r"refiner.encoder.film."),
    (r"image_feature_correlator\.query_encoder\.", r"templates.trunk."),
    (r"image_feature_correlator\.query_encoder_p\.", r"templates.levels."),
    (r"update_predictor\.hidden_norm\.", r"refiner.hidden_norm."),
    (r"update_predictor\.mixer\.residual_weights", r"refiner.mixer.slot_gain"),
    (r"update_predictor\.mixer\.write_temperature", r"refiner.mixer.write_temperature"),
    (r"update_predictor\.mixer\.(write|read)_route\.0\.", r"refiner.mixer.\1_route."),
    (r"update_predictor\.mixer\.(write|read)_proj\.", r"refiner.mixer.\1_logits."),
    (r"update_predictor\.mixer\.value_proj\.", r"refiner.mixer.value."),
    (r"update_predictor\.mixer\.query_proj\.", r"refiner.mixer.read_value."),
    (r"update_predictor\.mixer\.basis_query_proj\.0\.", r"refiner.mixer.slot_read."),
    (r"update_predictor\.mixer\.attn_qkv_proj\.", r"refiner.mixer.slot_qkv."),
    (r"update_predictor\.mixer\.attn_out_proj\.", r"refiner.mixer.slot_attention."),
    (r"update_predictor\.mixer\.basis_mlp\.0\.", r"refiner.mixer.slot_mlp_in."),
    (r"update_predictor\.mixer\.basis_mlp\.2\.", r"refiner.mixer.slot_mlp_out."),
    (r"update_predictor\.mixer\.local_proj\.0\.", r"refiner.mixer.local."),
    (r"update_predictor\.mixer\.local_head_proj\.", r"refiner.mixer.local_film."),
    (r"update_predictor\.mixer\.out_proj\.", r"refiner.mixer.out."),
    (r"update_predictor\.gate_proj\.1\.", r"refiner.gates."),
    (r"update_predictor\.hidden_proj\.", r"refiner.hidden_linear."),
    (r"update_predictor\.pred_head\.0\.", r"refiner.heads."),
    (r"update_predictor\.coord_proj\.", r"refiner.delta."),
    (r"update_predictor\.cov_proj\.", r"refiner.covariance."),
)


class CheckpointError(ValueError):
    """A checkpoint cannot be read or does not fit the network; the message lists what is wrong."""


def translate_published(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename published keys to ours. Accepts the prefix `model.` and the older mixer name `bypass_attention`.

    Raises:
        CheckpointError: keys that no rule covers, listed.
    """
    translated, unknown = {}, []
    for key, value in state.items():
        name = key.removeprefix("model.").replace("update_predictor.bypass_attention.", "update_predictor.mixer.")
        for pattern, ours in PUBLISHED:
            if re.match(pattern, name):
                translated[re.sub(f"^{pattern}", ours, name)] = value
                break
        else:
            unknown.append(key)
    if unknown:
        raise CheckpointError(f"not keys of a QLOT checkpoint: {_listed(unknown)}")
    return translated


def load_state(model: QLOT, state: Mapping[str, Tensor]) -> None:
    """Fill a model with published or own keys.

    Raises:
        CheckpointError: missing or unexpected keys and wrong shapes, all listed.
    """
    own = model.state_dict()
    if not own.keys() & state.keys():
        state = translate_published(state)
    problems = []
    missing = [k for k in own if k not in state and not k.endswith("num_batches_tracked")]
    unexpected = [k for k in state if k not in own]
    if missing:
        problems.append(f"missing keys: {_listed(missing)}")
    if unexpected:
        problems.append(f"unexpected keys: {_listed(unexpected)}")
    shapes = [
        f"{k} is {tuple(state[k].shape)}, wanted {tuple(v.shape)}"
        for k, v in own.items()
        if k in state and state[k].squeeze().shape != v.squeeze().shape
    ]
    if shapes:
        problems.append(f"shapes: {_listed(shapes)}")
    bad = [k for k, v in state.items() if v.is_floating_point() and not v.isfinite().all()]
    if bad:
        problems.append(f"values that are not finite: {_listed(bad)}")
    if problems:
        raise CheckpointError(f"the checkpoint does not fit preset {model.config.preset!r}: {'; '.join(problems)}")
    model.load_state_dict({k: state[k].reshape(v.shape) if k in state else v for k, v in own.items()})


def load_checkpoint(path: str | Path, config: QLOTConfig | None = None) -> QLOT:
    """Load a model, in eval mode, float32.

    Args:
        path: `.safetensors` (own or published key names) or the published `.pth`, whose state dict may be wrapped in
            `model_state_dict` and is read with `weights_only`.
        config: sizes of the network; by default those in the file's metadata, else the `final` preset.

    Raises:
        CheckpointError: unreadable file, unknown preset or format, or keys and shapes that do not fit, listed.
    """
    path = Path(path)
    if not path.is_file():
        raise CheckpointError(f"no checkpoint at {path}")
    metadata = checkpoint_metadata(path)
    found = metadata.get("format", "")
    if found.startswith("qlot-mobile/") and found != FORMAT:
        raise CheckpointError(f"{path} has format {found!r}, this version reads {FORMAT!r}: update qlot-mobile")
    try:
        config = config or _config_of(metadata)
    except (AttributeError, KeyError, TypeError, ValueError) as e:
        raise CheckpointError(f"{path}: the configuration in the metadata is not usable: {e}") from e
    model = QLOT(config)
    try:
        load_state(model, _read_state(path))
    except CheckpointError as e:
        raise CheckpointError(f"{path}: {e}") from e
    return model.eval()


def save_checkpoint(model: QLOT, path: str | Path, half: bool = False, **metadata: str) -> None:
    """Write our safetensors: own key names, the configuration and further text in the metadata.

    Args:
        model: what to write.
        path: target; written beside it first, then renamed.
        half: store floats as float16.
        metadata: licence, layout frame, training notes.

    Raises:
        CheckpointError: a value is not finite, or not in the range of float16; nothing is written.
    """
    path = Path(path)
    state = {k: v for k, v in model.state_dict().items() if not k.endswith("num_batches_tracked")}
    state = {k: (v.half() if half else v).contiguous() for k, v in state.items()}
    bad = [k for k, v in state.items() if not v.isfinite().all()]
    if bad:
        raise CheckpointError(f"not written: values that are not finite{' in float16' if half else ''}: {_listed(bad)}")
    temporary = path.with_name(path.name + ".part")
    save_file(state, temporary, {"format": FORMAT, "config": json.dumps(model.config.to_dict()), **metadata})
    temporary.chmod(0o644)  # the writer leaves it private
    temporary.replace(path)


def checkpoint_metadata(path: str | Path) -> dict[str, str]:
    """Metadata of a `.safetensors` file; empty for a `.pth`."""
    if Path(path).suffix != ".safetensors":
        return {}
    try:
        with safe_open(path, "pt") as f:
            return f.metadata() or {}
    except (SafetensorError, OSError) as e:
        raise CheckpointError(f"{path} is not a readable safetensors file: {e}") from e


def file_sha256(path: str | Path) -> str:
    """Hash of a file, as hex."""
    with Path(path).open("rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest()


def _config_of(metadata: Mapping[str, str]) -> QLOTConfig:
    if "config" in metadata:
        return QLOTConfig.from_dict(json.loads(metadata["config"]))
    preset = metadata.get("preset", "final")
    if preset not in PRESETS:
        raise CheckpointError(f"unknown preset {preset!r}; known: {', '.join(PRESETS)}")
    size = int(metadata.get("image_size", PRESETS[preset].image_size))
    same_net = [c for c in PRESETS.values() if c.image_size == size]
    return same_net[0] if same_net else QLOTConfig(preset=f"{preset}{size}", image_size=size)


def _read_state(path: Path) -> dict[str, Tensor]:
    try:
        if path.suffix == ".safetensors":
            with safe_open(path, "pt") as f:
                state = {k: f.get_tensor(k) for k in f.keys()}  # noqa: SIM118 - not a mapping
        else:
            state = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as e:  # torch's own message advises to load it unsafely
        raise CheckpointError("damaged, or more than a state dict of tensors: nothing else is read") from e
    except Exception as e:  # torch.load raises many kinds; all mean the same to the user
        raise CheckpointError(f"not a readable checkpoint: {e}") from e
    if isinstance(state, dict) and "model_state_dict" in state:
        state = state["model_state_dict"]
    if not isinstance(state, dict) or not all(isinstance(v, Tensor) for v in state.values()):
        raise CheckpointError("no state dict of tensors")
    return {k: v.float() if v.is_floating_point() else v for k, v in state.items()}


def _listed(items: list[str], most: int = 12) -> str:
    more = f" and {len(items) - most} more" if len(items) > most else ""
    return ", ".join(items[:most]) + more
