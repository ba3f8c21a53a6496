"""The protocol: everything that decides a figure besides the network and the data."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Count = Annotated[int, Field(ge=1)]
Share = Annotated[float, Field(ge=0, lt=1, allow_inf_nan=False)]


class EvaluationProtocol(BaseModel):
    """Stored with every result; two results compare only where these agree.

    Stills: the crop rule's square around the labels, its side scaled by 1 + U(-crop_scale, crop_scale) and its centre
    shifted by U(-crop_shift, crop_shift) of the side on each axis, as a detector's box would be off. All is drawn in
    the order of the pictures from one generator seeded with `seed`. Cold start, `cold` iterations.

    Video: in the first frame the crop rule's square around the labels, undisturbed, and `cold` iterations. From then on
    the tracker follows its own landmarks with `tracking` iterations a frame; after a loss it searches on its own.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    seed: Annotated[int, Field(ge=0)] = 0
    crop_scale: Share = 0.15
    crop_shift: Share = 0.10  # of the side
    cold: Count = 4  # refinement iterations from a cold start
    tracking: Count = 1  # refinement iterations of a tracked frame
    failure: float = 0.10  # share of the normaliser above which a face counts as failed (FR@10, AUC@10)
    lost: float = 0.25  # mean error over face size beyond which the landmarks are no longer on the face
    coverage: tuple[float, ...] = (0.5, 0.9, 0.95)  # of the predicted ellipses
    blocks: tuple[Count, ...] = (1, 2, 3, 5, 8, 12, 20, 30, 50, 80)  # frames, of the NAD curve
    interval: float = 0.95  # of the cluster bootstrap
    resamples: Count = 2000
