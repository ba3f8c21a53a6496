"""Modules in the form that suits TFLite: the same functions of operators that XNNPACK has, constants written out."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from qlot.export.stages import Stage
from qlot.model.correlation import block_diagonal
from qlot.model.fuse import FusedBranch
from qlot.model.mixer import WriteMixRead

_SHUT = -1e4  # e^x is 0 in every float format; the lowest number itself would not bear an addition in float16


class NamedStage(nn.Module):
    """A stage called by the names of its interface, which become those of the file's signature."""

    def __init__(self, stage: Stage) -> None:
        super().__init__()
        self.stage = suited(stage.module)
        self.inputs, self.outputs = [t.name for t in stage.inputs], [t.name for t in stage.outputs]

    def forward(self, **tensors: Tensor) -> dict[str, Tensor]:
        """Tensors by input name -> tensors by output name."""
        found = self.stage(*(tensors[name] for name in self.inputs))
        return dict(zip(self.outputs, found if isinstance(found, tuple) else (found,), strict=True))


class ExpandedBranch(nn.Module):
    """A correlation branch with its block-diagonal matrix written out: this engine folds no constants at load."""

    def __init__(self, branch: FusedBranch) -> None:
        super().__init__()
        self.register_buffer("temperature", branch.temperature)
        self.register_buffer("matrix", block_diagonal(branch.matrix).T.contiguous())  # (features, K * window^2)
        self.register_buffer("bias", branch.bias)
        self.linear, self.norm = branch.linear, branch.norm

    def forward(self, patch: Tensor) -> Tensor:
        """(..., K, window, window) -> (..., C)."""
        x = patch * torch.sigmoid(patch.abs() / self.temperature)
        x = F.linear(x.flatten(-3), self.matrix, self.bias)
        return F.silu(self.norm(self.linear(F.silu(x))))


class MaskedMixer(WriteMixRead):
    """A deployed mixer with its write mask in constants: selections leave the delegate, sums and products do not."""

    def __init__(self, mixer: WriteMixRead, mask: Tensor) -> None:
        nn.Module.__init__(self)  # every layer is the given mixer's
        self.heads, self.slots, self.key = mixer.heads, mixer.slots, mixer.key
        for name, value in (*mixer.named_children(), *mixer.named_parameters(recurse=False)):
            setattr(self, name, value)
        self.register_buffer("shut", mask.float() * _SHUT)  # (N,)
        self.register_buffer("open", (~mask).float())
        if mask.all():  # nothing is written, not even a bias
            for layer in (self.value, self.read_value):
                nn.init.zeros_(layer.bias)

    def write_weights(self, context: Tensor, mask: Tensor | None) -> Tensor:
        """(N, wide) -> (2 * heads, slots, N); a masked landmark gets zero."""
        logits = self.write_logits(F.silu(self.write_route(context))).transpose(-1, -2)
        return ((logits + self.shut).softmax(-1) * self.open).unflatten(-2, (2 * self.heads, self.slots))

    def forward(self, features: Tensor, context: Tensor, read: Tensor, mask: Tensor | None = None) -> Tensor:
        """As `WriteMixRead.forward`; the mask that is passed is the one known here."""
        return super().forward(features, context, read, None)


def suited(module: nn.Module) -> nn.Module:
    """Return a copy of a stage's module that computes the same; paths of layers stay as they are."""
    module = copy.deepcopy(module)
    mask = getattr(getattr(module, "model", None), "mask", None)
    for path, child in list(module.named_modules()):
        parent, _, name = path.rpartition(".")
        if isinstance(child, FusedBranch):
            setattr(module.get_submodule(parent), name, ExpandedBranch(child))
        elif isinstance(child, WriteMixRead) and mask is not None:
            setattr(module.get_submodule(parent), name, MaskedMixer(child, mask[0]))
    return module
