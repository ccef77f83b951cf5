"""Which cases a run draws: ensembles × shapes, in batches of few sizes, at and beside powers of two.

Compilers break on shapes more often than on values, and every new shape costs a compilation of every engine. So a run
takes few shapes, which the seed picks from groups around powers of two, and many cases of each; shorter chains are padded
by exact identity layers.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from chainback.errors import UsageError
from chainback.problems.ensembles import Ensemble

__all__ = ["MOST_LAYERS_ONE_BY_ONE", "Batch", "Plan", "plan", "sample_shape"]

_NARROW = ((3, 4, 5), (7, 8, 9), (15, 16, 17, 31, 32, 33))
#: A run of so many cases affords more depths, and of so many more widths. A shape costs a processor about 12 s of
#: compilation for the eight engines, as much as 350,000 cases (JAX 0.10.2, measured on a run of a million).
_GENEROUS, _LAVISH = 100_000, 3_000_000
_NARROW_GENEROUS = ((3, 4, 5), (7, 8, 9), (15, 16, 17), (31, 32, 33))
_DEEP = (1023, 1024, 1025)
#: For widths above 1: widths, depths, and the share of cases. Forward mode's work grows as N² n⁴.
_WIDE = (((2, 3, 4, 5, 7, 8, 9, 15, 16, 17), (3, 4, 5), 1.0),)
_WIDE_GENEROUS = (((2, 3, 4, 5), (7, 8, 9), 0.75), ((7, 8, 9), (3, 4, 5), 0.20), ((15, 16, 17), (2, 3), 0.05))
#: How many cases of a wide and of a deep ensemble are drawn for one of a narrow one.
_WIDE_SHARE, _DEEP_SHARE = 0.15, 0.005
#: A batch holds at most so many weights, to stay within a processor's cache.
_WEIGHTS_IN_BATCH = 1 << 16
#: Batches that a shape is spread over, where there are cases enough: each draws its own depth and activations.
_BATCHES = 8
_MOST_DEPTHS = 8
#: Deeper chains are not run op by op: every operation is compiled and dispatched alone.
MOST_LAYERS_ONE_BY_ONE = 64


class Batch(NamedTuple):
    """One batch of a run.

    Attributes:
        ensemble: Name of the family.
        depth: Layers of each chain, padding included.
        width: Of every state.
        number: Of the batch within its family and shape.
        rows: Cases drawn and run together.
        judged: How many of them count, from the first.
    """

    ensemble: str
    depth: int
    width: int
    number: int
    rows: int
    judged: int


@dataclass(frozen=True)
class _Shape:
    depth: int
    width: int
    share: float


@dataclass(frozen=True)
class Plan:
    """The batches of a run, families and shapes interleaved so that an interrupted run has seen all of them.

    They are made as they are asked for: a run of 10⁹ cases has a million of them.

    Attributes:
        parts: For each family and shape its first batch, with the number of cases in all of them as `judged`.
    """

    parts: tuple[Batch, ...]

    def __len__(self) -> int:
        return sum(-(-part.judged // part.rows) for part in self.parts)

    def __iter__(self) -> Iterator[Batch]:
        for number in itertools.count():
            left = [part for part in self.parts if number * part.rows < part.judged]
            if not left:
                return
            for part in left:
                yield part._replace(number=number, judged=min(part.rows, part.judged - number * part.rows))


def plan(
    ensembles: Sequence[Ensemble],
    *,
    cases: int,
    seed: int,
    depths: Sequence[int] | None = None,
    widths: Sequence[int] | None = None,
) -> Plan:
    """Return the batches of a run.

    Args:
        ensembles: The families.
        cases: How many cases in all; exactly so many are judged.
        seed: Picks the shapes, and the cases.
        depths: Depths to use, for every family; default: each family's own.
        widths: Likewise.

    Raises:
        UsageError: There are no cases, ensembles, depths or widths, or a number is out of range.
    """
    if cases < 1:
        raise UsageError(f"`cases` must be at least 1, got {cases}")
    if seed < 0:
        raise UsageError(f"`seed` must be at least 0, got {seed}")
    if not ensembles:
        raise UsageError("`ensembles` must name at least one")
    for label, values, most in (("depths", depths, 10_000_000), ("widths", widths, 4096)):
        if values is not None and (not values or min(values) < 1 or max(values) > most):
            raise UsageError(f"`{label}` must be numbers from 1 to {most}, got {list(values)}")
    families = [(e, _shapes(e, cases, seed, depths, widths)) for e in ensembles]
    parts = [(family, shape) for family, shapes in families for shape in shapes]
    counts = _apportion(cases, [shape.share for _, shape in parts])
    rows = _batch_sizes(parts, counts, seed)
    return Plan(
        tuple(
            Batch(family.name, shape.depth, shape.width, 0, rows[shape.depth, shape.width], count)
            for (family, shape), count in zip(parts, counts, strict=True)
            if count
        )
    )


def sample_shape(
    family: Ensemble, seed: int, depths: Sequence[int] | None, widths: Sequence[int] | None
) -> tuple[int, int] | None:
    """Return (depth, width) of the few cases that are run one by one, where compilation and dispatch are dear.

    None where the depths that were asked for are all too large for that.
    """
    generator = _generator(seed, "sample")
    depth = int(generator.integers(2, 4, endpoint=True)) if depths is None else min(depths)
    if depth > MOST_LAYERS_ONE_BY_ONE:
        return None
    width = min(widths) if widths else int(generator.integers(2, 3, endpoint=True)) if family.wide else 1
    return depth, width


def _generator(seed: int, purpose: str) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64([seed, int.from_bytes(purpose.encode(), "little")]))


def _shapes(
    family: Ensemble, cases: int, seed: int, depths: Sequence[int] | None, widths: Sequence[int] | None
) -> list[_Shape]:
    # The shapes of a seed are the same for every family, so that families share compiled programs.
    generator = _generator(seed, "shapes")
    narrow = [int(generator.choice(group)) for group in (_NARROW_GENEROUS if cases >= _GENEROUS else _NARROW)]
    groups = _WIDE_GENEROUS if cases >= _LAVISH else _WIDE
    wide = [(int(generator.choice(w)), int(generator.choice(d)), share) for w, d, share in groups]
    deep = int(generator.choice(_DEEP))
    if depths is None and widths is None:
        if family.wide:
            return [_Shape(depth, width, _WIDE_SHARE * share) for width, depth, share in wide]
        if family.deep:
            return [_Shape(deep, 1, _DEEP_SHARE)]
        return [_Shape(depth, 1, 1.0 / len(narrow)) for depth in narrow]
    if depths is None:
        depths = [deep] if family.deep else narrow[:2]
    if widths is None:
        widths = [wide[0][0]] if family.wide else [1]
    chosen = sorted(set(depths))
    if len(chosen) > _MOST_DEPTHS:
        inner = generator.choice(chosen[1:-1], _MOST_DEPTHS - 2, replace=False)
        chosen = sorted({chosen[0], chosen[-1], *(int(d) for d in inner)})
    grid = [(depth, width) for width in sorted(set(widths)) for depth in chosen]
    return [_Shape(depth, width, 1.0 / len(grid)) for depth, width in grid]


def _apportion(total: int, shares: Sequence[float]) -> list[int]:
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


def _batch_sizes(
    parts: Sequence[tuple[Ensemble, _Shape]], counts: Sequence[int], seed: int
) -> dict[tuple[int, int], int]:
    """Return one batch size a shape: a power of two or a neighbour of one, so that programs are shared."""
    least: dict[tuple[int, int], int] = {}
    for (_, shape), count in zip(parts, counts, strict=True):
        key = (shape.depth, shape.width)
        least[key] = max(least.get(key, 0), count)
    generator = _generator(seed, "batches")
    sizes = {}
    for (depth, width), count in least.items():
        fitting = max(1, _WEIGHTS_IN_BATCH // (depth * width**2))
        goal = min(fitting, max(1, count // _BATCHES))
        # A long run takes the nearest power; a short one would have too few batches.
        power = 1 << (round(math.log2(goal)) if count >= _GENEROUS // _BATCHES else goal.bit_length() - 1)
        beside = [size for size in (power - 1, power, power + 1) if 1 <= size <= max(1, count)]
        sizes[depth, width] = int(generator.choice(beside))
    return sizes
