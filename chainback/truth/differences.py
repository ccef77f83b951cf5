"""One-sided differences of a program's values in float64: the derivative of the function, without any derivative rule.

Steps are relative to each input; four halved steps are extrapolated (Richardson), from the right and from the left. A right
derivative lies between the two, within what the extrapolation itself leaves open.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from chainback.operations.arithmetic import Array
from chainback.truth.interpreter import read

__all__ = ["Slope", "one_sided"]

_STEP = 2.0**-10
_HALVINGS = 5


@dataclass(frozen=True)
class Slope:
    """The derivative of Σ seed · output along one direction.

    Attributes:
        right: From the right.
        left: From the left.
        error: What extrapolation and rounding leave open, of either.
    """

    right: float
    left: float
    error: float


def one_sided(
    closed: Any,
    arguments: Sequence[Array],
    direction: Mapping[int, Array],
    seeds: Mapping[int, Array],
    u: float = 2.0**-53,
) -> Slope:
    """Return the slope of a program's values along a direction.

    Args:
        closed: The program.
        arguments: Where.
        direction: By input.
        seeds: By output.
        u: Unit roundoff of the values: float64's, but for a program that looks at the bits of a float32.
    """
    at, size = _sum(closed, arguments, {}, seeds, 0.0)
    found = [
        _extrapolated(closed, arguments, {k: np.asarray(sign * d) for k, d in direction.items()}, seeds, at, size, u)
        for sign in (1.0, -1.0)
    ]
    (right, right_error), (left, left_error) = found
    return Slope(right, -left, max(right_error, left_error))


def _sum(
    closed: Any, arguments: Sequence[Array], direction: Mapping[int, Array], seeds: Mapping[int, Array], h: float
) -> tuple[float, float]:
    moved = [
        np.asarray(np.asarray(a, np.float64) + h * direction[k]) if k in direction else a
        for k, a in enumerate(arguments)
    ]
    tape = read(closed, moved)
    terms = [np.asarray(seed, float) * tape.values[tape.outputs[k]] for k, seed in seeds.items()]
    return float(sum(np.sum(t) for t in terms)), float(sum(np.sum(np.abs(t)) for t in terms))


def _extrapolated(
    closed: Any,
    arguments: Sequence[Array],
    direction: Mapping[int, Array],
    seeds: Mapping[int, Array],
    at: float,
    size: float,
    u: float,
) -> tuple[float, float]:
    """Return the limit of forward quotients, and how well it is known."""
    steps = [_STEP / 2**k for k in range(_HALVINGS)]
    table = [(_sum(closed, arguments, direction, seeds, h)[0] - at) / h for h in steps]
    noise = 64.0 * u * size / steps[-1]
    best, error = table[-1], abs(table[-1] - table[-2])
    for order in range(1, _HALVINGS):
        table = [(2**order * table[k + 1] - table[k]) / (2**order - 1) for k in range(len(table) - 1)]
        change = abs(table[-1] - best)
        if change <= error:
            best, error = table[-1], change
    return best, error + noise
