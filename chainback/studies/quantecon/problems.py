"""What the lecture trains: its chains, drawn by its keys, its grid, its two targets, and its order of the points."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import random

from chainback.problems.chain import Chain
from chainback.studies.quantecon.figures import STREAMS
from chainback.studies.training import Training, initialise, train

__all__ = ["EPOCHS", "POINTS", "QUICKEST", "STEP", "drawn", "first_example", "grid", "in_order", "line", "logarithm"]

STEP, EPOCHS, POINTS = 0.01, 500, 200
#: The engine that is quickest at the lecture's depths.
QUICKEST = "reverse-unrolled"


@functools.cache
def drawn(stream: str, seed: int, depth: int) -> Chain:
    """Draw the lecture's chain of one depth. Only draws know the stream: elsewhere JAX would compile all else anew."""
    with jax.threefry_partitionable(STREAMS[stream]):
        chain = initialise(random.PRNGKey(seed), [1] * (depth + 1))
    return Chain(np.asarray(chain.weights), np.asarray(chain.biases), chain.activations)


@functools.cache
def _order(stream: str) -> np.ndarray:
    with jax.threefry_partitionable(STREAMS[stream]):
        return np.asarray(random.permutation(random.PRNGKey(1), POINTS))


@functools.cache
def grid() -> np.ndarray:
    """Return the 200 points from 0.5 to 3."""
    return np.asarray(jnp.linspace(0.5, 3.0, POINTS))


def line() -> np.ndarray:
    """Return Example 1's target at the points, −3 x + 2."""
    return -3 * grid() + 2


@functools.cache
def logarithm() -> np.ndarray:
    """Return Example 2's target at the points, log x."""
    return np.asarray(jnp.log(grid()))


def in_order(stream: str, target: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the points and a target in the order in which the lecture visits them, the same in every epoch."""
    order = _order(stream)
    return grid()[order], target[order]


def first_example(stream: str, engine: str, **options: Any) -> Training:
    """Train Example 1 by an engine: −3 x + 2, three layers, 500 epochs of 200 updates."""
    x, y = in_order(stream, line())
    return train(drawn(stream, 0, 3), x, y, engine=engine, step=STEP, epochs=EPOCHS, order="given", **options)
