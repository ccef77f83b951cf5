"""The smallest chain on which a failure persists: fewer layers, then fewer units, then simpler numbers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import numpy as np

from chainback.problems.chain import Case, Chain

__all__ = ["shrink"]

#: How many smaller cases a shrink may try; each new shape costs a compilation.
_ATTEMPTS = 600


def shrink(case: Case, fails: Callable[[Case], bool]) -> Case:
    """Return the smallest case found on which a failure persists, within 600 attempts.

    Args:
        case: A single case that fails.
        fails: Whether a smaller case still does.
    """
    attempts = 0
    improved = True
    while improved:
        improved = False
        for candidate in _smaller(case):
            attempts += 1
            if attempts > _ATTEMPTS:
                return case
            if fails(candidate):
                case, improved = candidate, True
                break
    return case


def _smaller(case: Case) -> Iterator[Case]:
    """Yield simpler cases, the boldest first."""
    chain, depth, width = case.chain, case.chain.depth, case.chain.width
    length = depth // 2
    while length:
        for start in range(0, depth, length):
            keep = [i for i in range(depth) if not start <= i < start + length]
            if keep:
                yield _with_layers(case, keep)
        length //= 2
    for unit in range(width if width > 1 else 0):
        keep = [j for j in range(width) if j != unit]
        weights, biases = chain.weights[:, keep][:, :, keep], chain.biases[:, keep]
        yield Case(Chain(weights, biases, chain.activations), case.inputs[keep], case.targets[keep])
    for layer, name in enumerate(chain.activations):
        if name != "identity":
            names = (*chain.activations[:layer], "identity", *chain.activations[layer + 1 :])
            yield replace(case, chain=replace(chain, activations=names), ids=())
    yield from _simpler_numbers(case)


def _with_layers(case: Case, keep: Sequence[int]) -> Case:
    chain = case.chain
    names = tuple(chain.activations[i] for i in keep)
    return Case(Chain(chain.weights[list(keep)], chain.biases[list(keep)], names), case.inputs, case.targets)


def _simpler_numbers(case: Case) -> Iterator[Case]:
    arrays = (case.chain.weights, case.chain.biases, case.inputs, case.targets)
    for which, array in enumerate(arrays):
        for index in np.ndindex(array.shape):
            value = array[index]
            for simple in _simpler(value):
                parts = [np.array(a) for a in arrays]
                parts[which][index] = simple
                yield Case(Chain(parts[0], parts[1], case.chain.activations), parts[2], parts[3])


def _simpler(value: np.float32) -> Iterator[np.float32]:
    """Yield simpler numbers than this one, by a measure that strictly falls: shrinking ends."""
    size = _complexity(value)
    options = (0.0, 1.0, -1.0, np.trunc(value), np.round(value * 8) / 8, np.round(value * 1024) / 1024)
    for option in dict.fromkeys(np.float32(o) for o in options):
        if np.isfinite(option) and _complexity(option) < size:
            yield option


def _complexity(value: np.float32) -> tuple[int, float]:
    """Return how many bits the mantissa needs, and the magnitude; less for 0, 1 and −1."""
    simple = {0.0: 0, 1.0: 1, -1.0: 2}.get(float(value))
    if simple is not None:
        return simple, 0.0
    mantissa = int(np.float32(value).view(np.int32)) & 0x7FFFFF | 1 << 23
    trailing_zeros = (mantissa & -mantissa).bit_length() - 1
    return 3 + 23 - trailing_zeros, abs(float(value))
