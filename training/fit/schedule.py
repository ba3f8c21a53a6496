"""What changes from step to step: the learning rate, the weights of the losses, and the drawn iterations."""

from __future__ import annotations

import math

import numpy as np

from qlot.training.fit.recipe import Recipe
from qlot.training.fit.unroll import Weights


def plan(recipe: Recipe, step: int) -> tuple[list[int], Weights]:
    """Draw a step's iterations per frame, and set its loss weights: the same on every process."""
    rng = np.random.default_rng([recipe.seed, step, 0, 0, 1])  # a stream of its own: trailing zeros do not make one
    chances = [recipe.first_iterations] + [recipe.next_iterations] * (recipe.frames - 1)
    iterations = [1 + int(rng.choice(len(c), p=np.array(c) / sum(c))) for c in chances]
    done, w = step / recipe.steps, recipe.weights
    temporal = float(done >= w.temporal_from)
    flip = w.flip * min(1.0, done / w.flip_ramp) if w.flip_ramp else w.flip
    return iterations, Weights(
        position=w.position,
        eyes=w.eyes,
        covariance=w.covariance,
        first_difference=w.first_difference * temporal,
        second_difference=w.second_difference * temporal,
        flip=flip if rng.random() < w.flip_share else 0.0,
        maps=w.maps * max(0.0, 1 - done / w.maps_until) if w.maps_until else 0.0,
        unsure=w.unsure,
        decay=w.decay,
    )


def learning_rate(recipe: Recipe, step: int) -> float:
    """Linear warm-up, then a cosine from the first to the last rate."""
    if step < recipe.warm_up:
        return recipe.learning_rate * (step + 1) / recipe.warm_up
    done = (step - recipe.warm_up) / max(1, recipe.steps - recipe.warm_up)
    low, high = recipe.last_learning_rate, recipe.learning_rate
    return low + 0.5 * (high - low) * (1 + math.cos(math.pi * min(1.0, done)))
