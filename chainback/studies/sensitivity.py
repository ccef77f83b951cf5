"""How small a fault the gate still sees: in one slope of a case, and in the mean over many cases."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from statistics import NormalDist
from typing import Any

import jax
import numpy as np
import pandas as pd

from chainback.engines.networks import Array, codes
from chainback.engines.registry import ENGINES
from chainback.engines.triangular import linearise
from chainback.judging.judgement import judge
from chainback.judging.measurement import Measured, Units
from chainback.judging.statistics import FALSE_ALARM
from chainback.judging.tally import RowKey, Tally
from chainback.problems.chain import Case
from chainback.problems.ensembles import draw, draw_unpadded
from chainback.reporting.schema import SCHEMA
from chainback.studies.faulty_gradients import solve, with_slopes
from chainback.studies.planted_faults import EVERYWHERE
from chainback.truth.chain_bound import envelope

__all__ = ["detection_limits", "visible_biases"]

#: The engine whose results are changed.
_ENGINE = ENGINES["reverse-scan"]
#: Cases of one batch of `visible_biases`.
_BATCH = 5000
#: Columns of `tolerance.csv` that `visible_biases` adds for the unchanged results.
_OF_THE_UNCHANGED = ("margin_mean", "margin_mean_se", "error_u_mean", "error_u_mean_se", "error_u_rms", "bound_u_p50")
#: One component in so many is moved by one ulp.
_ONE_IN = tuple(2**j for j in range(16))


def detection_limits(
    *, ensembles: Sequence[str] = EVERYWHERE, depths: Sequence[int] = (1, 8, 32), seed: int = 0, rows: int = 1000
) -> pd.DataFrame:
    """Return the smallest 2^-k by which one slope may be off before the gate sees it.

    Args:
        ensembles: Families to look at.
        depths: Depths to look at; the chains are as deep, without padding.
        seed: Decides the chains.
        rows: How many chains of each family and depth.

    Returns:
        Rows (ensemble, depth, log2, limit_u, share): the exponent, the same in units of u, and the share of the chains on
        which a fault of that size was caught.
    """
    program = jax.jit(jax.vmap(_with_first_slope_scaled, in_axes=(0, 0, None, 0, 0, None)))
    found = []
    for name in ensembles:
        for depth in depths:
            (case,) = draw_unpadded(name, seed=seed, depth=depth, width=1, rows=rows)
            limit = _detection_limit(program, case)
            found.append({"schema": SCHEMA, "ensemble": name, "depth": depth, **limit})
    return pd.DataFrame(found)


def _detection_limit(program: Callable[..., Any], case: Case) -> dict[str, float]:
    chain, bounds, least, share = case.chain, envelope(case), 0, 0.0
    arguments = (chain.weights, chain.biases, codes(chain.activations), case.inputs, case.targets)
    for k in range(1, 24):
        gradients = program(*arguments, np.float32(1 + 2.0**-k))
        rejected = judge(case, gradients, within=bounds).rejected_cases.mean()
        if rejected > 0:
            least, share = k, float(rejected)
    return {"log2": -least, "limit_u": 2.0 ** (24 - least), "share": share}


def _with_first_slope_scaled(
    weights: Array, biases: Array, which: Array, x: Array, y: Array, factor: Array
) -> tuple[Array, Array]:
    system = linearise(weights, biases, which, x)
    slopes = system.slopes.at[0].multiply(factor)
    return solve(with_slopes(system, slopes, weights), system.states[-1] - y)


def visible_biases(
    *, ensembles: Sequence[str] = EVERYWHERE, depth: int = 8, seed: int = 0, cases: int = 100_000
) -> pd.DataFrame:
    """Return the smallest bias that stands out from chance in the mean error of so many cases.

    One in 2ʲ components is changed by one ulp, away from zero, which no bound can see. It shows where the means of the
    changed and of the unchanged results, taken as two independent runs, differ by more than chance allows with probability
    `FALSE_ALARM`. The mean is that of the signed margin, error / bound: it lies within ±1, so that no single case dominates
    it as it would a mean of relative errors.

    Args:
        ensembles: Families to look at.
        depth: Of their chains.
        seed: Decides the chains.
        cases: How many of each family.

    Returns:
        Rows (ensemble, depth, cases, one_in, bias_u, …): the rarest ulp that shows, and the bias in the mean error that it
        makes; then the columns of `tolerance.csv` for the unchanged results, signed means and median bound.
    """
    rows = []
    for name in ensembles:
        unchanged, changed = _tallies(name, depth, seed, cases)
        row = {"schema": SCHEMA, "ensemble": name, "depth": depth, "cases": cases} | _rarest(unchanged, changed)
        written = unchanged.row()
        rows.append(row | {column: written[column] for column in _OF_THE_UNCHANGED})
    return pd.DataFrame(rows)


def _tallies(name: str, depth: int, seed: int, cases: int) -> tuple[Tally, dict[int, Tally]]:
    """Return what an engine's results count, and the same with one component in so many changed."""
    key = RowKey(_ENGINE.name, "batched", name, depth, 1)
    unchanged, changed = Tally(key), {one_in: Tally(key) for one_in in _ONE_IN}
    for batch, start in enumerate(range(0, cases, _BATCH)):
        case = draw(name, seed=seed, depth=depth, width=1, batch=batch, rows=_BATCH)
        bounds, chain = envelope(case), case.chain
        units = Units(bounds, min(_BATCH, cases - start))
        result = _ENGINE(chain.weights, chain.biases, chain.activations, case.inputs, case.targets)
        right = judge(case, result, within=bounds)
        unchanged.add(Measured(right, case.ids, units))
        away = np.nextafter(right.got, np.copysign(np.float32(np.inf), right.got))
        place = np.random.default_rng([seed, batch]).permuted(np.arange(right.got.size)).reshape(right.got.shape)
        for one_in, tally in changed.items():
            got = np.where(place % one_in == 0, away, right.got)
            tally.add(Measured(replace(right, got=got, deviation=got - bounds.reference), case.ids, units))
    return unchanged, changed


def _rarest(unchanged: Tally, changed: dict[int, Tally]) -> dict[str, float]:
    """Return the rarest change that shows in the mean margin, and the bias in the mean error that it makes."""
    quantile = NormalDist().inv_cdf(1.0 - FALSE_ALARM / 2.0)
    visible: dict[str, float] = {"one_in": 0, "bias_u": float("inf")}
    for one_in, tally in changed.items():
        rise = tally.mean_margin.mean - unchanged.mean_margin.mean
        if rise > quantile * np.hypot(tally.mean_margin.standard_error, unchanged.mean_margin.standard_error):
            visible = {"one_in": one_in, "bias_u": tally.mean_error.mean - unchanged.mean_error.mean}
    return visible
