"""How deep? Example 1's problem at every depth and step size, and the gradient of each layer at the start."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd

from chainback.problems.chain import Case, Chain
from chainback.studies.quantecon.figures import Row
from chainback.studies.quantecon.problems import EPOCHS, drawn, grid, in_order, line
from chainback.studies.training import train
from chainback.truth import chain_gradient

__all__ = ["DEPTHS", "STEPS", "depth_study", "one_layer_is_best"]

DEPTHS = (*range(1, 11), 20)
STEPS = (0.001, 0.01, 0.1, 1.0)
#: A scan is compiled as one layer is: at ten layers this takes a third of what an unrolled program takes, in all.
_ENGINE = "triangular-substitution"


def depth_study(stream: str, say: Callable[[int, str], None]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Train Example 1's problem at every depth and step size; and look at the gradient of each layer before.

    Args:
        stream: One of `STREAMS`.
        say: Told (depths done, what is being done).

    Returns:
        Depth and step against the final mean squared error; depth and layer against the norm of the gradient.
    """
    x, y = in_order(stream, line())
    runs, layers = [], []
    for place, depth in enumerate(DEPTHS):
        say(place, f"depth {depth}")
        chain = drawn(stream, 0, depth)
        layers += [{"depth": depth, "layer": i + 1, "gradient_norm": norm} for i, norm in enumerate(_norms(chain))]
        for step in STEPS:
            run = train(chain, x, y, engine=_ENGINE, step=step, epochs=EPOCHS, order="given", trace=True)
            error = float(run.losses[-1]) if run.finished else math.nan
            runs.append({"depth": depth, "step": step, "mean_squared_error": error, "stopped": run.stopped})
    return pd.DataFrame(runs), pd.DataFrame(layers)


def _norms(chain: Chain) -> np.ndarray:
    """Return the norm of the gradient in (w_i, b_i) for each layer, root mean square over the points, in float64."""
    x, y = grid()[:, None], line()[:, None]
    weights, biases = (np.repeat(np.asarray(part)[None], len(x), axis=0) for part in (chain.weights, chain.biases))
    truth = chain_gradient.solve(Case(Chain(weights, biases, chain.activations), x, y))
    squares = np.square(truth.weight_gradients[:, 0, 0]) + np.square(truth.bias_gradients[:, 0])
    return np.sqrt(squares.mean(axis=1))


def one_layer_is_best(depth: pd.DataFrame) -> Row:
    """The lecture expects one identity layer to do best on a linear target: its error over the least of the deeper ones."""
    errors: Any = depth.groupby("depth")["mean_squared_error"].min()
    share = float(errors[1] / errors.drop(1).min())
    return Row("one identity layer is best for a linear f: error / next best", (), (share,), share < 1.0, False, 1.0)
