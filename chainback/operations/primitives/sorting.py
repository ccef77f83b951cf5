"""What sorts: sort by several keys, and top_k."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from chainback.operations.primitives.calls import Array, Call, Edge, Errors, is_float
from chainback.operations.primitives.examples import example, real, whole
from chainback.operations.primitives.maps import Selection
from chainback.operations.primitives.record import Picked, places, register

_EXCHANGED = "elements that rounding may exchange are sorted"


def _order(call: Call) -> Array:
    """Return the permutation that sorts along the axis by the first num_keys operands; stable, −0 beside 0, NaN last."""
    keys = [np.asarray(x) for x in call.inputs[: call.params["num_keys"]]]
    return np.lexsort(
        [np.where(x == 0, 0, x) if x.dtype.kind == "f" else x for x in keys[::-1]], axis=call.params["dimension"]
    )


def _sorted(call: Call) -> list[Array]:
    order = _order(call)
    return [np.take_along_axis(np.asarray(x), order, call.params["dimension"]) for x in call.inputs]


def _sort_maps(call: Call, results: Sequence[Array]) -> list[Edge]:
    shape = np.shape(call.inputs[0])
    index = np.take_along_axis(places(shape), _order(call), call.params["dimension"])
    return [Edge(k, k, Selection(index, shape), None) for k in call.floats]


def _sort_doubt(call: Call, results: Sequence[Array], edges: Sequence[Edge], E: Sequence[Array]) -> Errors:
    """Neighbours whose keys are nearer than their errors may be exchanged, and then nothing is decided behind them."""
    axis, order = call.params["dimension"], _order(call)
    alike, exchanged = np.ones((), bool), False
    moved = [np.take_along_axis(e, order, axis) for e in E]
    with np.errstate(all="ignore"):
        for x, e in list(zip(results, moved, strict=True))[: call.params["num_keys"]]:
            reach = _neighbours(np.asarray(e, float), axis).sum(axis=0)
            low, high = _neighbours(np.asarray(x, float), axis)
            near = (high - low <= reach) | (high == low)
            exchanged = exchanged or bool(np.any(alike & near & (reach > 0)))
            alike = alike & near
    errors = [np.asarray(e, float) if is_float(d) else e != 0 for e, (_, d) in zip(moved, call.outs, strict=True)]
    return Errors(errors, [None] * len(edges), _EXCHANGED if exchanged else "")


def _neighbours(x: Array, axis: int) -> Array:
    """Return both of each two neighbours along an axis."""
    n = x.shape[axis]
    return np.stack([np.take(x, range(max(n - 1, 0)), axis), np.take(x, range(1, n), axis)])


def _top(call: Call) -> Array:
    """Return the permutation that sorts along the axis, the largest first; equal ones in order."""
    axis = _top_axis(call)
    rising = np.argsort(np.flip(call.inputs[0], axis), axis=axis, kind="stable")
    return rising.shape[axis] - 1 - np.flip(rising, axis)


def _top_axis(call: Call) -> int:
    return int(call.params.get("axis", -1)) % np.ndim(call.inputs[0])


def _leading(x: Array, call: Call, n: int) -> Array:
    return np.take(x, range(n), _top_axis(call))


def _top_value(call: Call) -> list[Array]:
    order = _leading(_top(call), call, call.params["k"])
    return [np.take_along_axis(call.inputs[0], order, _top_axis(call)), order.astype(call.outs[1][1])]


def _top_maps(call: Call, results: Sequence[Array]) -> list[Edge]:
    shape, axis = np.shape(call.inputs[0]), _top_axis(call)
    index = np.take_along_axis(places(shape), _leading(_top(call), call, call.params["k"]), axis)
    return [Edge(0, 0, Selection(index, shape), None)]


def _top_doubt(call: Call, results: Sequence[Array], edges: Sequence[Edge], E: Sequence[Array]) -> Errors:
    """Likewise, among the first k and the next."""
    axis, k, order = _top_axis(call), call.params["k"], _top(call)
    n = min(k + 1, order.shape[axis])
    x, e = (_leading(np.take_along_axis(np.asarray(v, float), order, axis), call, n) for v in (call.inputs[0], E[0]))
    reach, pairs = _neighbours(e, axis).sum(axis=0), _neighbours(x, axis)
    exchanged = bool(np.any((pairs[0] - pairs[1] <= reach) & (reach > 0)))
    moved = _leading(e, call, k)
    return Errors(
        [moved if call.makes_float else moved != 0, np.full(np.shape(results[1]), exchanged)],
        [None] * len(edges),
        _EXCHANGED if exchanged else "",
    )


register(
    Picked(
        "sort",
        value=_sorted,
        maps=_sort_maps,
        doubt=_sort_doubt,
        examples=(
            example("lax.sort(x, dimension=0)", x=real(6, 2)),
            example("lax.sort((x, y, n), dimension=1, num_keys=1)", x=real(2, 5), y=real(2, 5), n=whole(2, 5)),
            example("lax.sort((n, x, y), dimension=0, num_keys=2)", n=whole(8, low=0, high=2), x=real(8), y=real(8)),
            example("jnp.argsort(x)", x=real(7)),
        ),
    ),
    Picked(
        "top_k",
        value=_top_value,
        maps=_top_maps,
        doubt=_top_doubt,
        examples=(example("lax.top_k(x, 3)", x=real(2, 6)), example("lax.top_k(x, 2)", x=whole(6))),
    ),
)
