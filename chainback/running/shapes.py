"""Which depths, widths and batch sizes a run takes: few, at and beside powers of two.

Compilers break on shapes more often than on values, and every new shape costs a compilation of every engine. So a run
takes few shapes, which the seed picks from groups around powers of two, and many cases of each.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from chainback.problems.ensembles import Ensemble

__all__ = ["MOST_LAYERS_ONE_BY_ONE", "Shape", "apportion", "batch_sizes", "sample_shape", "shapes_of"]

_NARROW = ((3, 4, 5), (7, 8, 9), (15, 16, 17, 31, 32, 33))
#: A run of so many cases affords more depths, and of so many more widths: a shape costs as much compilation as 350,000
#: cases (reports/notes-speed.md).
_GENEROUS, _LAVISH = 100_000, 3_000_000
_NARROW_GENEROUS = ((3, 4, 5), (7, 8, 9), (15, 16, 17), (31, 32, 33))
_DEEP = (1023, 1024, 1025)
#: For widths above 1: widths, depths, and the share of cases. Forward mode's work grows as N² n⁴.
_WIDE = (((2, 3, 4, 5, 7, 8, 9, 15, 16, 17), (3, 4, 5), 1.0),)
_WIDE_GENEROUS = (((2, 3, 4, 5), (7, 8, 9), 0.75), ((7, 8, 9), (3, 4, 5), 0.20), ((15, 16, 17), (2, 3), 0.05))
#: How many cases of a wide and of a deep ensemble there are for one of a narrow one.
_WIDE_SHARE, _DEEP_SHARE = 0.15, 0.005
#: A batch holds at most so many weights, to stay within a processor's cache.
_WEIGHTS_IN_BATCH = 1 << 16
#: Batches that a shape is spread over, where there are cases enough: each has activations of its own.
_BATCHES = 8
_MOST_DEPTHS = 8
#: Deeper chains are not run op by op: every operation is compiled and dispatched alone.
MOST_LAYERS_ONE_BY_ONE = 64


@dataclass(frozen=True)
class Shape:
    """A depth and width that an ensemble takes.

    Attributes:
        depth: Layers of a chain.
        width: Of every state.
        share: Of the cases, relative to the other shapes of the run.
    """

    depth: int
    width: int
    share: float


def shapes_of(
    family: Ensemble, cases: int, seed: int, depths: Sequence[int] | None, widths: Sequence[int] | None
) -> list[Shape]:
    """Return the shapes that an ensemble takes in a run.

    Args:
        family: The ensemble.
        cases: Of the whole run.
        seed: Picks the shapes; those of a seed are the same for every ensemble, so that they share compiled programs.
        depths: Depths to use; default: the ensemble's own.
        widths: Likewise.
    """
    generator = _generator(seed, "shapes")
    narrow = [int(generator.choice(group)) for group in (_NARROW_GENEROUS if cases >= _GENEROUS else _NARROW)]
    groups = _WIDE_GENEROUS if cases >= _LAVISH else _WIDE
    wide = [(int(generator.choice(w)), int(generator.choice(d)), share) for w, d, share in groups]
    deep = int(generator.choice(_DEEP))
    if depths is None and widths is None:
        if family.wide:
            return [Shape(depth, width, _WIDE_SHARE * share) for width, depth, share in wide]
        if family.deep:
            return [Shape(deep, 1, _DEEP_SHARE)]
        return [Shape(depth, 1, 1.0 / len(narrow)) for depth in narrow]
    if depths is None:
        depths = [deep] if family.deep else narrow[:2]
    if widths is None:
        widths = [wide[0][0]] if family.wide else [1]
    chosen = sorted(set(depths))
    if len(chosen) > _MOST_DEPTHS:
        inner = generator.choice(chosen[1:-1], _MOST_DEPTHS - 2, replace=False)
        chosen = sorted({chosen[0], chosen[-1], *(int(d) for d in inner)})
    grid = [(depth, width) for width in sorted(set(widths)) for depth in chosen]
    return [Shape(depth, width, 1.0 / len(grid)) for depth, width in grid]


def sample_shape(
    family: Ensemble, seed: int, depths: Sequence[int] | None, widths: Sequence[int] | None
) -> tuple[int, int] | None:
    """Return (depth, width) of the few cases that are run one by one, where compilation and dispatch are dear.

    None where all of the chosen depths are too large for that.
    """
    generator = _generator(seed, "sample")
    depth = int(generator.integers(2, 4, endpoint=True)) if depths is None else min(depths)
    if depth > MOST_LAYERS_ONE_BY_ONE:
        return None
    width = min(widths) if widths else int(generator.integers(2, 3, endpoint=True)) if family.wide else 1
    return depth, width


def apportion(total: int, shares: Sequence[float]) -> list[int]:
    """Split a number by shares, exactly, the largest remainders first; at least one each while there are enough."""
    whole = sum(shares)
    exact = [total * share / whole for share in shares]
    counts = [int(x) for x in exact]
    if total >= len(shares):
        counts = [max(1, count) for count in counts]
    by_remainder = sorted(range(len(shares)), key=lambda i: (counts[i] - exact[i], i))
    for i in by_remainder * (1 + abs(total - sum(counts)) // len(shares)):
        if sum(counts) < total:
            counts[i] += 1
    for i in sorted(range(len(shares)), key=lambda i: -counts[i]):
        excess = sum(counts) - total
        if excess <= 0:
            break
        counts[i] -= min(excess, max(0, counts[i] - 1))
    return counts


def batch_sizes(shapes: Sequence[Shape], counts: Sequence[int], seed: int) -> dict[tuple[int, int], int]:
    """Return one batch size for each (depth, width): a power of two or a neighbour of one, so that programs are shared.

    Args:
        shapes: Of all ensembles.
        counts: How many cases each has.
        seed: Picks the power or its neighbour.
    """
    largest: dict[tuple[int, int], int] = {}
    for shape, count in zip(shapes, counts, strict=True):
        key = (shape.depth, shape.width)
        largest[key] = max(largest.get(key, 0), count)
    generator = _generator(seed, "batches")
    sizes = {}
    for (depth, width), count in largest.items():
        fitting = max(1, _WEIGHTS_IN_BATCH // (depth * width**2))
        goal = min(fitting, max(1, count // _BATCHES))
        # A long run takes the nearest power; a short one would have too few batches.
        power = 1 << (round(math.log2(goal)) if count >= _GENEROUS // _BATCHES else goal.bit_length() - 1)
        beside = [size for size in (power - 1, power, power + 1) if 1 <= size <= max(1, count)]
        sizes[depth, width] = int(generator.choice(beside))
    return sizes


def _generator(seed: int, purpose: str) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64([seed, int.from_bytes(purpose.encode(), "little")]))
