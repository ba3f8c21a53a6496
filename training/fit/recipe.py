"""A training recipe: everything a run depends on, read from a TOML file that refuses what it does not know."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from qlot.model.config import PRESETS, QLOTConfig
from qlot.training.data.clip import DataError
from qlot.training.data.crops import Disturbance
from qlot.training.fit.unroll import Chances

Count = Annotated[int, Field(ge=1)]
Share = Annotated[float, Field(ge=0, le=1)]
SHIPPED = Path(__file__).parents[1] / "recipes"


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class SourceSpec(_Strict):
    """One source and the share of the samples that it gets."""

    kind: Literal["faces", "video", "synthetic", "faceless", "wflw", "wflw-v", "300w"]
    path: str  # relative to the data folder; of kind video, a * stands for several, which share the share
    share: Annotated[float, Field(gt=0)]
    labels: Literal["ibug68", "mediapipe478"] = "ibug68"  # of kind faces
    every_layout: bool = False  # of a teacher's labels: clips have other layouts too, interpolated between its points
    moving_eyes: Share = 0.0  # of a teacher's stills, the share in which lids close and irises glance
    offset: tuple[float, float] = (0.0, 0.0)  # pixels by which the labels lie off, to be taken out
    table: str | None = None  # other labels of the same pictures or frames, relative to what is rendered
    start: int = 0  # first frame, of kind video
    stop: int | None = None  # frame after the last
    identity: str | None = None

    @model_validator(mode="after")
    def _eyes_of_a_teacher(self) -> SourceSpec:
        if self.moving_eyes and (self.kind, self.labels) != ("faces", "mediapipe478"):
            raise ValueError("moving_eyes is for kind faces with the labels mediapipe478")
        return self


class LossWeights(_Strict):
    """Final weights; flip consistency and the map cross-entropy have ramps of their own."""

    position: float = 1.0
    eyes: float = 0.0  # of the shape of each eye: how far it is open, where the pupil is in it
    covariance: float = 1.0
    first_difference: float = 0.5
    second_difference: float = 0.25
    flip: float = 4.0
    flip_share: Share = 0.15  # of the steps
    flip_ramp: Share = 0.5  # share of the run until the full weight
    maps: float = 1.0
    maps_until: Share = 0.3  # share of the run after which it is zero
    temporal_from: Share = 0.05  # share of the run before which differences do not count
    unsure: float = 0.1
    decay: float = 0.85


class Recipe(_Strict):
    """A run."""

    preset: str
    seed: int = 0
    steps: Count
    batch: Count = 16  # clips of a micro-batch; batch norm sees these together
    micro: Count = 1  # micro-batches of a step, shared by the processes
    frames: Count = 4  # L of a clip
    landmarks: Annotated[int, Field(ge=3)] = 68  # N of every sample
    eyes: Annotated[float, Field(ge=1)] = 1.0  # how many times as often a landmark of an eye is drawn as another
    cover: Share = 0.0  # of the clips in which something hides a part of the face, or it leaves
    first_iterations: tuple[Share, ...] = (0.0, 0.0, 0.2, 0.6, 0.2)  # chances of 1, 2, ... steps on the first frame
    next_iterations: tuple[Share, ...] = (0.7, 0.2, 0.1)  # and on the others
    learning_rate: Annotated[float, Field(gt=0)] = 1e-3
    last_learning_rate: Annotated[float, Field(gt=0)] = 1e-5
    warm_up: Annotated[int, Field(ge=0)] = 200  # steps
    weight_decay: Annotated[float, Field(ge=0)] = 0.005
    clip_norm: Annotated[float, Field(gt=0)] = 1.0
    ema: Annotated[float, Field(ge=0, lt=1)] = 0.999
    augment: Annotated[float, Field(ge=0)] = 1.0
    start_from: str | None = None  # a checkpoint to fine-tune
    validate_every: Count = 1000
    save_every: Count = 500
    disturbance: Disturbance = Disturbance()
    chances: Chances = Chances()
    weights: LossWeights = LossWeights()
    material: tuple[SourceSpec, ...] = Field(min_length=1)
    model: dict[str, Any] | None = None  # sizes in place of a preset's

    @field_validator("first_iterations", "next_iterations")
    @classmethod
    def _some_chance(cls, chances: tuple[float, ...]) -> tuple[float, ...]:
        if not sum(chances) > 0:
            raise ValueError("one of the chances must be above 0")
        return chances

    @model_validator(mode="after")
    def _room_for_mirrors(self) -> Recipe:
        if self.batch < 2 and self.weights.flip > 0 and self.weights.flip_share > 0:
            raise ValueError("batch must be 2 or more, or weights.flip 0: flip consistency compares pairs")
        return self

    def config(self) -> QLOTConfig:
        """Return the network's sizes.

        Raises:
            DataError: no such preset, or sizes that no network can have.
        """
        try:
            if self.model is not None:
                sizes = PRESETS.get(self.preset, QLOTConfig(preset=self.preset))
                return QLOTConfig.from_dict({**sizes.to_dict(), **self.model})
            return PRESETS[self.preset]
        except KeyError as e:
            raise DataError(f"no preset {self.preset!r}; there are {', '.join(PRESETS)}") from e
        except (TypeError, ValueError) as e:
            raise DataError(f"the recipe's model: {e}") from e


def load_recipe(name_or_path: str | Path, **changes: object) -> Recipe:
    """Read a recipe that comes with the package, by name, or a TOML file; `changes` replace its top-level values.

    Raises:
        DataError: no such file, not TOML, or values that are unknown or out of range, listed.
    """
    shipped = sorted(p.stem for p in SHIPPED.glob("*.toml"))
    path = SHIPPED / f"{name_or_path}.toml" if str(name_or_path) in shipped else Path(name_or_path)
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
        return Recipe.model_validate(values | {k: v for k, v in changes.items() if v is not None})
    except OSError as e:
        raise DataError(f"no recipe {path} ({e.strerror}). Shipped recipes: {', '.join(shipped)}") from e
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as e:
        raise DataError(f"{path} is not TOML: {e}") from e
    except ValidationError as e:
        wrong = "; ".join(f"{'.'.join(map(str, x['loc'])) or 'the whole'}: {x['msg']}" for x in e.errors())
        raise DataError(f"{path}: {wrong}") from e
