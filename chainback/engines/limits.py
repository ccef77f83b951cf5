"""Why an engine may decline a batch: each limit maps (depth, width, batch) to a reason, or to "" if it can take it."""

from __future__ import annotations

from collections.abc import Callable

__all__ = ["few_layers", "few_tangents", "first_reason", "small_matrix", "small_products"]

Limit = Callable[[int, int, int], str]

_LAYERS = 64
_MEMORY = 2.0**31
_WORK = 2.0**34


def _gigabytes(size: float) -> str:
    return f"{size / 1e9:.3g} GB"


def first_reason(*limits: Limit) -> Limit:
    """Return the limit that holds where all of these do."""
    return lambda depth, width, batch: next(filter(None, (limit(depth, width, batch) for limit in limits)), "")


def few_layers(depth: int, width: int, batch: int) -> str:
    """An unrolled program is traced and compiled layer by layer."""
    return f"an unrolled program of {depth} layers would take too long to compile (limit {_LAYERS})" * (depth > _LAYERS)


def few_tangents(depth: int, width: int, batch: int) -> str:
    """Forward mode carries a tangent for every parameter through every layer: work N²(n² + n)n², memory N(n² + n)n."""
    tangents = depth * (width**2 + width)
    memory, work = 16.0 * batch * tangents * width, float(batch) * tangents * depth * width**2
    if memory > _MEMORY:
        return (
            f"forward mode would carry {tangents} tangents a case, {_gigabytes(memory)} (limit {_gigabytes(_MEMORY)})"
        )
    if work > _WORK:
        return f"forward mode would take {work:.1e} operations, {tangents} tangents a case (limit {_WORK:.1e})"
    return ""


def small_matrix(depth: int, width: int, batch: int) -> str:
    """The dense solver stores I − L, of order N n."""
    memory = 4.0 * batch * (depth * width) ** 2
    return f"the dense matrix would take {_gigabytes(memory)} (limit {_gigabytes(_MEMORY)})" * (memory > _MEMORY)


def small_products(depth: int, width: int, batch: int) -> str:
    """The parallel solver stores the partial products of the couplings, at every level of its tree."""
    memory = 12.0 * batch * depth * width**2
    return f"the partial products would take {_gigabytes(memory)} (limit {_gigabytes(_MEMORY)})" * (memory > _MEMORY)
