"""The bound of a program by sampled rounding errors, for where magnitudes compound and the derived bound says nothing.

The float64 reading is repeated K times, each local result moved by a random part of its *local* error, forwards and
backwards: correlations and cancellations are those of the program. The K gradients lie about the truth with a deviation
σ̂ = √(Σ (g_k − g)² / K) for each component, and a right gradient within t σ̂, where t is the quantile of Student's t with K
degrees of freedom for the stated probability of a false alarm over all components. A sum of n terms, whose worst case is
n u Σ|a b|, is moved by √n u max(|Σ a b|, √Σ (a b)²). It is statistics, not proof, and a record says so.

Source: Vignes (1993) and Parker (1997), Monte Carlo arithmetic; here with float64 as the centre, and local models in place
of random bits.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import stats

from chainback.operations.arithmetic import Array
from chainback.operations.primitives.record import Call, Edge, Precision, Primitive, is_float
from chainback.truth.interpreter import read
from chainback.truth.tape import Tape

__all__ = ["Sampled", "allowance", "sample"]


@dataclass(frozen=True)
class Sampled:
    """Deviations of K runs with random rounding errors from the truth.

    Attributes:
        variables: σ̂ of each variable; nothing where the runs took another course than the truth.
        gradients: σ̂ of each input's gradient.
        runs: K.
        parted: How many runs took another course: a loop ended sooner, or a branch was not the same.
    """

    variables: list[Array]
    gradients: list[Array]
    runs: int
    parted: int


def allowance(runs: int, components: int, false_alarm: float) -> float:
    """Return how many σ̂ a right component may be off: Student's t, two-sided, Bonferroni over all components."""
    return float(stats.t.isf(false_alarm / max(1, components) / 2.0, runs))


def sample(
    closed: Any,
    arguments: Sequence[Array],
    tape: Tape,
    gradient: Sequence[Array | None],
    seeds: Mapping[int, Array],
    how: Precision,
    *,
    runs: int,
    seed: int,
) -> Sampled:
    """Return σ̂ of each output and of each component of the gradient.

    Args:
        closed: The program.
        arguments: Its inputs.
        tape: Its truth.
        gradient: Of its inputs, from the tape.
        seeds: By output variable of the tape.
        how: The arithmetic of the runs.
        runs: K.
        seed: Decides the rounding errors.
    """
    places = {variable: place for place, variable in enumerate(tape.outputs)}
    variables = [np.zeros(np.shape(value)) for value in tape.values]
    parted = 0
    gradients = [np.zeros(np.shape(tape.values[k])) for k in tape.inputs]
    for run in range(runs):
        rng = np.random.default_rng([seed, run])
        rounding = _Rounding(how, rng)
        ran = read(closed, arguments, rounding.disturb)
        if len(ran.values) != len(tape.values) or any(
            np.shape(a) != np.shape(b) for a, b in zip(ran.values, tape.values, strict=True)
        ):
            parted += 1
            continue
        again = {ran.outputs[places[k]]: value for k, value in seeds.items()}
        adjoints = _pull(ran, again, how, rng)
        with np.errstate(all="ignore"):
            for total, moved, true, dtype in zip(variables, ran.values, tape.values, tape.dtypes, strict=True):
                if is_float(dtype):
                    _square(total, moved - true)
            for total, k, true in zip(gradients, ran.inputs, gradient, strict=True):
                found = adjoints[k]
                _square(total, (0.0 if found is None else found) - (0.0 if true is None else true))
    counted = max(1, runs - parted)
    return Sampled(
        [np.asarray(np.sqrt(t / counted)) for t in variables],
        [np.asarray(np.sqrt(t / counted)) for t in gradients],
        runs,
        parted,
    )


def _square(total: Array, deviation: Any) -> None:
    deviation = np.where(np.isnan(deviation), 0.0, deviation)
    total += deviation * deviation


class _Rounding:
    """What rounding makes of each equation, at random."""

    def __init__(self, how: Precision, rng: np.random.Generator) -> None:
        self.how, self.rng = how, rng

    def disturb(
        self, record: Primitive, call: Call, results: list[Array], edges: list[Edge]
    ) -> tuple[list[Array], list[Edge]]:
        """Return the results and coefficients of one run that rounds."""
        if not any(is_float(dtype) for _, dtype in call.outs):
            return results, edges
        exact = [
            np.zeros(np.shape(x), np.float64 if is_float(d) else bool)
            for x, (_, d) in zip(call.inputs, call.ins, strict=True)
        ]
        errors = record.errors(call, results, edges, exact, self.how)
        n = max((edge.map.roundings for edge in edges), default=1)
        with np.errstate(all="ignore"):
            moved = [
                self._moved(value, np.asarray(error / max(1.0, n) ** 0.5)) if is_float(d) else value
                for value, error, (_, d) in zip(results, errors.results, call.outs, strict=True)
            ]
            if not any(E is not None and is_local(record) for E in errors.coefficients):
                return moved, edges
            bent = [
                edge if E is None or edge.c is None else edge._replace(c=self._moved(edge.c, np.asarray(E)))
                for edge, E in zip(edges, errors.coefficients, strict=True)
            ]
        return moved, bent

    def _moved(self, value: Array, error: Array) -> Array:
        found = value + self.rng.uniform(-1.0, 1.0, np.shape(value)) * error
        return np.asarray(np.where(np.isfinite(value), found, value))


def is_local(record: Primitive) -> bool:
    """Whether a primitive's coefficients have a rounding of their own, and not a choice between candidates."""
    return record.kind in ("elementwise", "_line")


def _pull(tape: Tape, seeds: Mapping[int, Array], how: Precision, rng: np.random.Generator) -> list[Array | None]:
    """Back substitution in which each product and sum rounds, at random."""
    found: list[Array | None] = [None] * len(tape.values)
    for k, seed in seeds.items():
        held = found[k]
        found[k] = np.asarray(seed, np.float64) if held is None else np.asarray(held + seed)
    with np.errstate(all="ignore"):
        for equation in reversed(tape.equations):
            for edge in equation.edges:
                y, x = equation.outs[edge.result], equation.ins[edge.operand]
                if found[y] is None:
                    continue
                λ = np.asarray(found[y])
                term = np.asarray(edge.map.pull(edge.c, λ))
                k = edge.map.roundings + (0 if edge.c is None else 1)
                if k:
                    size = np.abs(term)
                    if k > 2:
                        size = np.maximum(
                            size, np.sqrt(edge.map.pull(None if edge.c is None else edge.c * edge.c, λ * λ))
                        )
                    term = term + rng.uniform(-1.0, 1.0, np.shape(term)) * how.u(tape.dtypes[y]) * k**0.5 * size
                held = found[x]
                found[x] = np.asarray(term if held is None else held + term)
    return found
