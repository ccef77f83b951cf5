"""Reference values of the swept functions: the points they are judged at, and their float64 truth there.

The truth was computed by mpmath, once, and is stored in `function_truth.npz`; `tests/tools/function_truth.py` makes it anew.
The points are float32 numbers, so that one truth serves float32 and float64.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.resources

import numpy as np

from chainback.operations.arithmetic import FLOAT32, Array
from chainback.operations.elementwise import SweptFunction

__all__ = ["MOST_POINTS", "fingerprint", "flushed", "points_of", "truth_of"]

_SMALLEST, _LARGEST = FLOAT32.smallest_normal, FLOAT32.largest
#: A function of two arguments is judged at about so many pairs, one of one argument at no more.
MOST_POINTS = 1000


def _sizes(step: int) -> Array:
    sizes = np.ldexp(np.array([1.0, 1.4]), np.arange(-126, 128, step)[:, None]).ravel()
    return np.concatenate(
        [sizes, [2.0**-149, 2.0**-140, 2.0**-127, _SMALLEST - 2.0**-149, _SMALLEST, _LARGEST, np.inf, 0.0]]
    )


def _line(function: SweptFunction) -> Array:
    """Return the points of a function of one argument: dense around 0, integers, all sizes, and close to what is special."""
    domain = function.domains[0]
    step = 64.0 if domain.high - domain.low <= 2.0 else 16.0
    dense = np.arange(-8 * 16, 8 * 16 + 1) / 16.0 if step == 16.0 else np.arange(-128, 129) / step
    half = np.concatenate([_sizes(4), np.arange(0.0, 105.0)])
    close = 2.0 ** -np.arange(3.0, 25.0, 3.0)
    corners = np.array([*function.kinks, *function.special, *domain.ends, 1.0, -1.0])
    beside = corners[:, None] + np.maximum(np.abs(corners), 0.5)[:, None] * np.concatenate([close, -close, [0.0]])
    return np.concatenate([dense, half, -half, beside.ravel()]).astype(np.float32)


#: What the two arguments of a function run through, with both signs.
_AXIS = np.array([0.0, 2.0**-140, _SMALLEST, 1e-3, 0.25, 1.0, 2.0, 3.0, 5.5, 30.0, 1e4, 1e20, _LARGEST, np.inf])


def _golden(start: int, count: int) -> tuple[Array, Array]:
    """Return `count` pairs of a low-discrepancy sequence in (0, 1)²; it has no seed and is the same on every machine.

    Source: Roberts, *The unreasonable effectiveness of quasirandom sequences* (2018): multiples of 1/ρ and 1/ρ², ρ³ = ρ + 1.
    """
    number = np.arange(start, start + count, dtype=np.float64)
    return (0.7548776662466927 * number) % 1.0, (0.5698402909980532 * number) % 1.0


def _scattered(function: SweptFunction, count: int) -> Array:
    """Return pairs inside the domains: half of them evenly within [−10, 10], half of all sizes."""
    columns = []
    for t, domain in zip(_golden(1, 40 * count), function.domains, strict=True):
        even = 20.0 * t - 10.0 if domain.low < 0 else 10.0 * t
        if domain.high - domain.low <= 2.0:
            even = domain.low + t * (domain.high - domain.low)
        sign = np.where((domain.low < 0) & ((997.0 * t) % 1.0 < 0.5), -1.0, 1.0)
        columns.append(np.where(np.arange(t.size) % 2 == 0, even, sign * 10.0 ** (16.0 * t - 8.0)))
    return np.stack(columns).astype(np.float32)


def _plane(function: SweptFunction) -> Array:
    """Return the points of a function of two arguments: a product grid, and scattered pairs."""
    axis = np.concatenate([-_AXIS[::-1], _AXIS]).astype(np.float32)
    grid = np.stack([part.ravel() for part in np.meshgrid(axis, axis, indexing="ij")])
    grid = grid[:, _inside(function, grid)]
    scattered = _scattered(function, MOST_POINTS)
    scattered = scattered[:, _inside(function, scattered)]
    return np.concatenate([grid, scattered], axis=1)


def _inside(function: SweptFunction, points: Array) -> Array:
    inside = np.ones(points.shape[1], bool)
    for x, domain in zip(points.astype(np.float64), function.domains, strict=True):
        inside &= domain.contains(x) & ((np.abs(x) <= function.largest) | np.isinf(x))
        inside &= (np.abs(x) >= function.smallest) | (x == 0)
        if function.poles or not domain.contains(np.array(0.0)):  # what a subnormal is flushed to is a pole
            inside &= np.abs(x) >= _SMALLEST
        if function.poles:
            inside &= (x > 0) | (x != np.floor(x))
    return inside


@functools.cache
def points_of(function: SweptFunction) -> Array:
    """Return the points at which a function is judged, float32, (arity, points), none twice (0 and −0 are two)."""
    points = _line(function)[None] if function.arity == 1 else _plane(function)
    points = points[:, _inside(function, points)]
    _, first = np.unique(points.view(np.uint32), axis=1, return_index=True)
    return points[:, np.sort(first)[:MOST_POINTS]]


def fingerprint(function: SweptFunction) -> int:
    """Return a hash of a function's points; the stored truth keeps the hash of the points that it was computed at."""
    return int.from_bytes(hashlib.blake2b(points_of(function).tobytes(), digest_size=7).digest(), "little")


@functools.cache
def _stored() -> dict[str, Array]:
    source = importlib.resources.files(__package__ or "chainback.operations") / "function_truth.npz"
    with source.open("rb") as stream, np.load(stream) as found:
        return {name: found[name] for name in found.files}


def truth_of(function: SweptFunction, suffix: str = "") -> Array:
    """Return the stored truth of a function at its points.

    Args:
        function: The function.
        suffix: "" for the truth, or "#" for the fingerprint of the points that it was computed at.

    Returns:
        Float64, (1 + 2 arity, points): the value; the partial derivatives; and for each derivative how far from it another
        right answer may lie, at a kink. NaN where a quantity has no truth: it is not judged there.
    """
    return _stored()[function.name + suffix]


@functools.cache
def flushed(function: SweptFunction) -> Array:
    """Return, for each point, the index of the point that it becomes when subnormal arguments are flushed to zero.

    Returns:
        Integers, (2^arity − 1, points), a row for every choice of the arguments that are flushed. A point keeps its index
        where the flushed one is not among the points.
    """
    points = points_of(function)
    places = {point.tobytes(): place for place, point in enumerate(points.T.copy())}
    ways = []
    for mask in range(1, 2**function.arity):
        chosen = np.array([[bool(mask >> row & 1)] for row in range(function.arity)])
        small = chosen & (np.abs(points) < np.float32(_SMALLEST))
        flat = np.where(small, np.copysign(np.float32(0.0), points), points).T.copy()
        ways.append([places.get(point.tobytes(), place) for place, point in enumerate(flat)])
    return np.array(ways)
