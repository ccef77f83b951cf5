"""The lecture's two examples, and how far rounding alone drives the first apart."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd

from chainback.errors import UsageError
from chainback.problems.chain import Chain
from chainback.studies.quantecon.figures import PRINTED, Row, rounded, units_apart
from chainback.studies.quantecon.problems import EPOCHS, POINTS, QUICKEST, STEP, drawn, grid, in_order, line, logarithm
from chainback.studies.training import Training, predictions, train

__all__ = ["drift", "example_rows", "second_example", "table_of"]

#: The lecture's own solver: its printed figures are beside this engine's.
_ITS_ENGINE = "triangular-dense"
_SECOND_EPOCHS = 300


def example_rows(stream: str, runs: dict[str, Training]) -> list[Row]:
    """Compare what Example 1 comes to with the lecture's figures, engine by engine.

    Args:
        stream: One of `STREAMS`.
        runs: Example 1 by each engine's name.
    """
    rows, furthest = [], []
    for name, run in runs.items():
        ours = _figures_of(run.chain)
        if name == _ITS_ENGINE:
            rows += [rounded(stream, what, numbers) for what, numbers in ours.items()]
        units = max(max(units_apart(PRINTED[stream][what], numbers)) for what, numbers in ours.items())
        units = units if run.finished else math.nan
        furthest.append(Row(f"Example 1 by {name}: distance in units", (), (units,), units <= 1.0, False, 1.0))
    return rows + furthest


def _figures_of(chain: Chain) -> dict[str, np.ndarray]:
    error = predictions(chain, grid())[:, 0].astype(np.float64) - line()
    return {
        "Example 1: w": np.asarray(chain.weights).reshape(-1),
        "Example 1: b": np.asarray(chain.biases).reshape(-1),
        "Example 1: largest error": np.abs(error).max(keepdims=True),
        "Example 1: mean squared error": np.square(error).mean(keepdims=True),
    }


def drift(stream: str, runs: dict[str, Training]) -> pd.DataFrame:
    """Return how far each engine's parameters are from those of float64, in the largest component, after each epoch.

    Args:
        stream: One of `STREAMS`.
        runs: Example 1 by each engine's name, traced.

    Returns:
        Engine, updates, distance; and in `attrs`, as "apart", the largest distance of two engines at the end.
    """
    truth = _in_doubles(stream)
    rows, ends = [], []
    for name, run in runs.items():
        kept = _parameters(run)
        distances = np.abs(kept - truth[: len(kept)]).max(axis=1)
        ends.append(kept[-1])
        rows.append(pd.DataFrame({"engine": name, "updates": POINTS * np.arange(len(kept)), "distance": distances}))
    table = pd.concat(rows, ignore_index=True)
    table.attrs["apart"] = float(np.ptp(np.stack(ends), axis=0).max())
    return table


def _parameters(run: Training) -> np.ndarray:
    """Return the parameters of a run after each epoch, (epochs + 1, 2 N), in float64."""
    path = run.path
    if path is None:
        raise UsageError("a run must have been traced to be compared")
    return np.concatenate(
        [path.weights.reshape(len(path.weights), -1), path.biases.reshape(len(path.biases), -1)], axis=1
    ).astype(np.float64)


def _in_doubles(stream: str) -> np.ndarray:
    """Train by Example 1's rule in float64 and plain Python: nothing of JAX, nothing of the engines."""
    chain = drawn(stream, 0, 3)
    w, b = (np.asarray(part, np.float64).reshape(-1).tolist() for part in (chain.weights, chain.biases))
    x, y = (part.astype(np.float64).tolist() for part in in_order(stream, line()))
    step, last, exp = float(np.float32(STEP)), len(w) - 1, math.exp
    kept = [w + b]
    for _ in range(EPOCHS):
        for state, target in zip(x, y, strict=True):
            states = [state]
            for i in range(last):
                states.append(1.0 / (1.0 + exp(-(w[i] * states[i] + b[i]))))
            adjoint = w[last] * states[last] + b[last] - target
            for i in range(last, -1, -1):
                slope = 1.0 if i == last else states[i + 1] * (1.0 - states[i + 1])
                gradient, adjoint = slope * adjoint, slope * adjoint * w[i]
                w[i] -= step * gradient * states[i]
                b[i] -= step * gradient
        kept.append(w + b)
    return np.array(kept)


def second_example(stream: str) -> tuple[list[pd.DataFrame], list[Row]]:
    """Train Example 2, log x, at N = 1, 2, 3, and check that each run came to an end, and to less error.

    Args:
        stream: One of `STREAMS`.

    Returns:
        Targets and predictions at every point, a table a depth, and what was checked.
    """
    tables, rows = [], []
    x, y = in_order(stream, logarithm())
    for depth in (1, 2, 3):
        run = train(
            drawn(stream, 0, depth), x, y, engine=QUICKEST, step=STEP, epochs=_SECOND_EPOCHS, order="given", trace=True
        )
        tables.append(table_of("log x", run.chain, logarithm()))
        before, after = float(run.losses[0]), float(run.losses[-1])
        what = f"Example 2, N = {depth}: mean squared error, falls from {before:.3g}"
        rows.append(Row(what, (), (after,), run.finished and after < before, False, before))
    return tables, rows


def table_of(name: str, chain: Chain, target: np.ndarray) -> pd.DataFrame:
    """Return a target and what a chain answers, at every point."""
    columns = {"x": grid(), "wanted": target, "predicted": predictions(chain, grid())[:, 0]}
    return pd.DataFrame({"target": name, "depth": chain.depth, **columns})
