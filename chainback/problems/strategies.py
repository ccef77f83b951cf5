"""Hypothesis strategies for chains and cases.

A chain is a *list of layers*, so that it shrinks by losing layers; its numbers shrink towards 0 and simple ones. Special
values (zeros of both signs, neighbours of 1, powers of two) come as often as ordinary ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, SearchStrategy

from chainback.errors import UsageError
from chainback.operations.activations import ACTIVATIONS, activation
from chainback.problems.chain import Case, Chain

__all__ = ["cases", "chains", "parameters"]

_ULP = 2.0**-23
_SPECIAL = (0.0, -0.0, 1.0, -1.0, 1.0 + _ULP, 1.0 - _ULP / 2, 0.5, -2.0, 2.0**-20, -(2.0**12), 2.0**-126)


def parameters(largest: float = 8.0) -> SearchStrategy[float]:
    """Return a strategy for float32 numbers of magnitude up to `largest`: ordinary ones, and special ones as often.

    Args:
        largest: At least 1, and a float32 number.

    Raises:
        UsageError: It is not.
    """
    if not 1.0 <= largest <= 3.4e38 or float(np.float32(largest)) != largest:
        raise UsageError(f"`largest` must be a float32 number of at least 1, got {largest!r}")
    ordinary = st.floats(-largest, largest, width=32, allow_subnormal=False)
    special = st.sampled_from([value for value in _SPECIAL if abs(value) <= largest])
    return st.one_of(ordinary, special)


def _bounds(name: str, least: int, most: int) -> None:
    if not 1 <= least <= most:
        raise UsageError(f"`min_{name}` and `max_{name}` must satisfy 1 <= min <= max, got {least} and {most}")


@st.composite
def _chains(
    draw: DrawFn, depth: tuple[int, int], width: tuple[int, int], names: tuple[str, ...], numbers: SearchStrategy[float]
) -> Chain:
    n = draw(st.integers(*width))
    vector = st.lists(numbers, min_size=n, max_size=n)
    layer = st.tuples(st.lists(vector, min_size=n, max_size=n), vector, st.sampled_from(names))
    layers = draw(st.lists(layer, min_size=depth[0], max_size=depth[1]))
    weights, biases, chosen = zip(*layers, strict=True)
    return Chain(np.array(weights, np.float32), np.array(biases, np.float32), chosen)


def chains(
    *,
    min_depth: int = 1,
    max_depth: int = 8,
    min_width: int = 1,
    max_width: int = 3,
    activations: Sequence[str] | None = None,
    numbers: SearchStrategy[float] | None = None,
) -> SearchStrategy[Chain]:
    """Return a strategy for chains with NumPy float32 parameters.

    Args:
        min_depth: Fewest layers.
        max_depth: Most layers.
        min_width: Least width.
        max_width: Largest width.
        activations: The names to draw from, the simplest first; default: every registered one.
        numbers: A strategy for each parameter; default `parameters()`.

    Raises:
        UsageError: The ranges are empty, or a name is unknown.
    """
    _bounds("depth", min_depth, max_depth)
    _bounds("width", min_width, max_width)
    names = tuple(ACTIVATIONS) if activations is None else tuple(activations)
    if not names:
        raise UsageError("`activations` must name at least one")
    for name in names:
        activation(name)
    return _chains((min_depth, max_depth), (min_width, max_width), names, parameters() if numbers is None else numbers)


@st.composite
def _cases(draw: DrawFn, chains_of: SearchStrategy[Chain], numbers: SearchStrategy[float]) -> Case:
    chain = draw(chains_of)
    vector = st.lists(numbers, min_size=chain.width, max_size=chain.width)
    inputs, targets = (np.array(draw(vector), np.float32) for _ in range(2))
    return Case(chain, inputs, targets)


def cases(
    chain: SearchStrategy[Chain] | None = None, *, numbers: SearchStrategy[float] | None = None, **limits: Any
) -> SearchStrategy[Case]:
    """Return a strategy for cases: a chain, an input and a target.

    Args:
        chain: A strategy for the chain; default `chains(**limits)`.
        numbers: A strategy for the entries of input and target; default `parameters()`.
        limits: Passed to `chains`.

    Raises:
        UsageError: Both a chain and limits are given, or the limits are invalid.
    """
    if chain is not None and limits:
        raise UsageError(f"give `chain` or limits of one, not both: got chain and {', '.join(limits)}")
    return _cases(chains(**limits) if chain is None else chain, parameters() if numbers is None else numbers)
