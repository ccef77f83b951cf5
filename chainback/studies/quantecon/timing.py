"""Example 1 in the lecture's own way, a Python loop, and as one program: how long each takes."""

from __future__ import annotations

import time
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jax import random

from chainback.engines.networks import Array
from chainback.errors import UsageError
from chainback.problems.chain import Chain
from chainback.studies.quantecon.check import by_derivatives_of_jax
from chainback.studies.quantecon.figures import STREAMS, Row
from chainback.studies.quantecon.problems import EPOCHS, POINTS, QUICKEST, STEP, drawn, first_example, grid, line
from chainback.studies.training import Training

__all__ = ["Timing", "example_one_timing", "loop_row", "require", "side_by_side"]

Layers = list[tuple[Array, Array]]
#: In how many turns the two are measured, and how many runs of the program a turn has: as long as the loop, about.
_TURNS, _RUNS = 10, 5


@dataclass(frozen=True)
class Timing:
    """How long Example 1 takes, measured in turns, warm.

    Attributes:
        loop_updates: Updates that were run in the lecture's way: a Python loop around one jitted update.
        loop_s: Seconds that these took.
        runs: Runs of all updates as one program.
        runs_s: Seconds that these took, each from the call of `train` to its `Training`.
        updates: Updates of one run.
    """

    loop_updates: int
    loop_s: float
    runs: int
    runs_s: float
    updates: int = EPOCHS * POINTS

    @property
    def program_s(self) -> float:
        """Seconds that one run took, on average."""
        return self.runs_s / self.runs

    @property
    def scaled_s(self) -> float:
        """Seconds that the loop would take for as many updates as one run has."""
        return self.loop_s / self.loop_updates * self.updates

    @property
    def ratio(self) -> float:
        """How many times faster the one program is, for each update."""
        return self.scaled_s / self.program_s


def example_one_timing(*, stream: str = "since 0.5", loop_updates: int = 10_000) -> Timing:
    """Measure how long Example 1 takes in the lecture's own way, and as one program.

    Args:
        stream: One of `STREAMS`, whichever JAX is installed.
        loop_updates: How many updates to run in the lecture's way; a multiple of its 200 points.

    Raises:
        UsageError: The stream is unknown, or the updates are no multiple of 200.
    """
    return side_by_side(stream, loop_updates)[0]


def require(stream: str, loop_updates: int) -> None:
    """Refuse a stream that is not there, and updates that are no whole epochs.

    Raises:
        UsageError: Either.
    """
    if stream not in STREAMS:
        raise UsageError(f"`stream` must be one of {', '.join(STREAMS)}, got {stream!r}")
    if not 0 < loop_updates <= EPOCHS * POINTS or loop_updates % POINTS:
        raise UsageError(f"`loop_updates` must be a multiple of {POINTS} up to {EPOCHS * POINTS}, got {loop_updates!r}")


def side_by_side(stream: str, loop_updates: int) -> tuple[Timing, Chain]:
    """Measure both, and return what the loop came to as well.

    Raises:
        UsageError: As `example_one_timing`.
    """
    require(stream, loop_updates)
    chain = drawn(stream, 0, 3)
    layers = [(jnp.asarray(w), jnp.asarray(b)) for w, b in zip(chain.weights, chain.biases, strict=True)]
    _loop(stream, layers, 1)
    first_example(stream, QUICKEST)
    loop_s, runs_s, turns = 0.0, 0.0, np.array_split(np.arange(loop_updates // POINTS), _TURNS)
    for turn in turns:
        started = time.perf_counter()
        layers = jax.block_until_ready(_loop(stream, layers, len(turn)))
        between = time.perf_counter()
        for _ in range(_RUNS):
            first_example(stream, QUICKEST)
        loop_s, runs_s = loop_s + between - started, runs_s + time.perf_counter() - between
    weights, biases = (np.stack(parts) for parts in zip(*layers, strict=True))
    return Timing(loop_updates, loop_s, _TURNS * _RUNS, runs_s), Chain(weights, biases, chain.activations)


def _loop(stream: str, layers: Layers, epochs: int) -> Layers:
    """Train in the lecture's way: a pair of arrays a layer, and one call of a jitted update for each point.

    Each epoch splits a key, which it does not use, and draws the same order of the points again.
    """
    x, key = jnp.asarray(grid()), random.PRNGKey(0)
    y, places = jnp.asarray(line()), jnp.arange(POINTS)
    with jax.threefry_partitionable(STREAMS[stream]):
        for _ in range(epochs):
            key, _ = random.split(key)
            order = random.permutation(random.PRNGKey(1), places)
            for point, target in zip(x[order], y[order], strict=True):
                layers = _one_update(layers, point, target)
    return layers


@jax.jit
def _one_update(layers: Layers, x: Array, y: Array) -> Layers:
    """Solve (I − L) dx = D dp for the Jacobian of all states, by a dense solver, and take a step by its last row."""
    weights, biases = (jnp.stack(parts) for parts in zip(*layers, strict=True))
    names = ("sigmoid",) * (len(layers) - 1) + ("identity",)
    system = by_derivatives_of_jax(Chain(weights, biases, names), x[None])
    gradient = ((system.states[-1] - y) * system.solve(solver="dense")[-1, 0]).reshape(-1, 2)
    return [(w - STEP * dw, b - STEP * db) for (w, b), (dw, db) in zip(layers, gradient, strict=True)]


def loop_row(looped: Chain, run: Training, updates: int) -> Row:
    """Compare the loop's parameters with the one program's at the same update: one unit of 4 decimals, as its figures."""
    what, path, epoch = f"the loop − the program, after {updates:,} updates", run.path, updates // POINTS
    if path is None or len(path.weights) <= epoch:
        return Row(what, (), (float("nan"),), False, False, 1e-4)
    parts = ((looped.weights, path.weights), (looped.biases, path.biases))
    apart = max(float(np.abs(np.asarray(one) - kept[epoch]).max()) for one, kept in parts)
    return Row(what, (), (apart,), apart <= 1e-4, False, 1e-4)
