"""Reductions and cumulative operations: sums, products, maxima, and what sorts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from chainback.operations.primitives.indices import window_places
from chainback.operations.primitives.maps import Map, Scaled, Selection
from chainback.operations.primitives.record import (
    Call,
    Edge,
    Errors,
    Linear,
    Picked,
    Precision,
    Primitive,
    gamma,
    is_float,
    register,
)

Array = np.ndarray


def _kept(call: Call) -> tuple[int, ...]:
    axes = {a % len(np.shape(call.inputs[0])) for a in call.params["axes"]}
    return tuple(1 if k in axes else n for k, n in enumerate(np.shape(call.inputs[0])))


def _sum_map(call: Call) -> Map:
    shape, axes, kept = np.shape(call.inputs[0]), tuple(call.params["axes"]), _kept(call)
    n = int(np.prod([shape[a] for a in axes], dtype=np.int64))
    return Scaled(
        lambda dx: dx.sum(axis=axes),
        lambda dy: np.broadcast_to(np.reshape(dy, kept), shape),
        on_input=True,
        roundings=max(n - 1, 0),
    )


class _Sum(Linear):
    """reduce_sum, of integers as well."""

    def evaluate(self, call: Call) -> list[Array]:
        with np.errstate(all="ignore"):
            found = np.sum(call.inputs[0], axis=tuple(call.params["axes"]))
        return [found if is_float(call.outs[0][1]) else found.astype(call.outs[0][1])]

    def edges(self, call: Call, results: Sequence[Array]) -> list[Edge]:
        return super().edges(call, results) if is_float(call.outs[0][1]) else []

    def errors(self, call, results, edges, E, how) -> Errors:
        if not edges:
            doubt = np.broadcast_to(np.asarray(E[0]).astype(bool), np.shape(call.inputs[0]))
            return Errors([doubt.any(axis=tuple(call.params["axes"]))], [])
        return super().errors(call, results, edges, E, how)


def _possible(x: Array, E: Array, axes: tuple[int, ...], largest: bool) -> tuple[Array, Array]:
    """Return which operands may be the extreme one, and how far that may lie from the value."""
    sign = 1.0 if largest else -1.0
    with np.errstate(all="ignore"):
        low, high = sign * x - E, sign * x + E
        floor = low.max(axis=axes, keepdims=True)
        top = (sign * x).max(axis=axes, keepdims=True)
        possible = (high >= floor) | (sign * x == top)
        reach = np.maximum(high.max(axis=axes, keepdims=True) - top, top - floor)
    return possible, np.where(np.isfinite(top), reach, 0.0)


def _extreme(name: str, largest: bool) -> Picked:
    pick = np.max if largest else np.min

    def value(call: Call) -> list[Array]:
        return [np.asarray(pick(call.inputs[0], axis=tuple(call.params["axes"])))]

    def maps(call: Call, results: Sequence[Array]) -> list[Edge]:
        if not is_float(call.outs[0][1]):
            return []
        x, axes = call.inputs[0], tuple(call.params["axes"])
        best = x == np.asarray(results[0]).reshape(_kept(call))
        share = best / np.maximum(best.sum(axis=axes, keepdims=True), 1)
        return [Edge(0, 0, _sum_map(call), share)]

    def doubt(call: Call, results: Sequence[Array], edges: Sequence[Edge], E: Sequence[Array]) -> Errors:
        x, axes = call.inputs[0], tuple(call.params["axes"])
        if not is_float(call.outs[0][1]):
            return Errors([np.broadcast_to(np.asarray(E[0]).astype(bool), x.shape).any(axis=axes)], [])
        possible, reach = _possible(x, np.broadcast_to(E[0], x.shape), axes, largest)
        several = possible.sum(axis=axes, keepdims=True) > 1
        share = np.asarray(edges[0].c)
        unsure = np.where(possible & several, np.maximum(share, 1.0 - share), 0.0)
        return Errors([reach.reshape(np.shape(results[0]))], [unsure if unsure.any() else None])

    return Picked(name, value=value, maps=maps, doubt=doubt)


@dataclass(frozen=True)
class _AlongAxis(Map):
    """dy[…, k] = Σ_i c[…, k, i] dx[…, i] along one axis: each result of a line depends on each operand of it."""

    axis: int
    roundings: int

    def push(self, c: Array | None, dx: Array) -> Array:
        assert c is not None
        return np.moveaxis(np.einsum("...ki,...i->...k", c, np.moveaxis(dx, self.axis, -1)), -1, self.axis)

    def pull(self, c: Array | None, dy: Array) -> Array:
        assert c is not None
        return np.moveaxis(np.einsum("...ki,...k->...i", c, np.moveaxis(dy, self.axis, -1)), -1, self.axis)


@dataclass(frozen=True)
class _Line(Primitive):
    """A function of the numbers along one axis, by its matrix of partial derivatives.

    Attributes:
        value: (lines (…, n), call) ↦ results (…, m).
        matrix: (lines, results, call) ↦ partial derivatives (…, m, n).
        axis: call ↦ which axis; or several, joined.
        rounds: call ↦ how many u the value may lose of its size.
    """

    value: Any
    matrix: Any
    reduces: bool = False

    def _lines(self, x: Array, call: Call) -> Array:
        if not self.reduces:
            return np.moveaxis(x, call.params["axis"], -1)
        axes = sorted(a % x.ndim for a in call.params["axes"])
        rest = [a for a in range(x.ndim) if a not in axes]
        return np.transpose(x, (*rest, *axes)).reshape(
            (
                *(x.shape[a] for a in rest),
                -1,
            )
        )

    def _back(self, lines: Array, call: Call) -> Array:
        if not self.reduces:
            return np.moveaxis(lines, -1, call.params["axis"])
        shape = np.shape(call.inputs[0])
        axes = sorted(a % len(shape) for a in call.params["axes"])
        rest = [a for a in range(len(shape)) if a not in axes]
        return np.transpose(lines.reshape([shape[a] for a in (*rest, *axes)]), np.argsort((*rest, *axes)))

    def evaluate(self, call: Call) -> list[Array]:
        with np.errstate(all="ignore"):
            found = self.value(self._lines(call.inputs[0], call), call)
        found = found[..., 0] if self.reduces else self._back(found, call)
        return [found if is_float(call.outs[0][1]) else found.astype(call.outs[0][1])]

    def edges(self, call: Call, results: Sequence[Array]) -> list[Edge]:
        if not is_float(call.outs[0][1]):
            return []
        lines = self._lines(call.inputs[0], call)
        with np.errstate(all="ignore"):
            c = self.matrix(lines, self.value(lines, call), call)
        n = lines.shape[-1]
        if self.reduces:
            c = c[..., 0, :]
            forward = Scaled(
                lambda dx: self._lines(dx, call).sum(axis=-1),
                lambda dy: self._back(np.broadcast_to(dy[..., None], (*dy.shape, n)), call),
                on_input=True,
                roundings=2 * n,
            )
            return [Edge(0, 0, forward, self._back(c, call))]
        return [Edge(0, 0, _AlongAxis(call.params["axis"], 2 * n), c)]

    def errors(
        self, call: Call, results: Sequence[Array], edges: Sequence[Edge], E: Sequence[Array], how: Precision
    ) -> Errors:
        if not edges:
            return Errors([np.full(np.shape(results[0]), bool(np.any(E[0])))], [])
        dtype, n = call.outs[0][1], self._lines(call.inputs[0], call).shape[-1]
        u, c = how.u(dtype), np.asarray(edges[0].c)
        e = np.broadcast_to(E[0], np.shape(call.inputs[0]))
        with np.errstate(all="ignore"):
            E_c = gamma(2 * n + 4, u) * np.abs(c) + how.tiny(dtype)
            if e.any():
                E_c = E_c + self._moved(call, c, e)
            carried = edges[0].map.push(np.abs(c) + E_c, e)
            size = np.abs(results[0]) + edges[0].map.push(
                np.abs(c), np.abs(np.where(np.isfinite(call.inputs[0]), call.inputs[0], 0.0))
            )
        return Errors([carried + gamma(n + 4, u) * size + how.tiny(dtype)], [E_c])

    def _moved(self, call: Call, c: Array, e: Array) -> Array:
        """Return how far the coefficients may move with the operands: by magnitudes, from the corners of all at once."""
        found = np.zeros_like(c)
        for sign in (1.0, -1.0):
            there = call._replace(inputs=(call.inputs[0] + sign * e,))
            moved = np.abs(np.asarray(self.edges(there, self.evaluate(there))[0].c) - c)
            found = np.maximum(found, np.where(np.isnan(moved), np.inf, moved))
        return 2.0 * found


def _products_without(lines: Array) -> Array:
    """Return of each number the product of all others, (…, n)."""
    ones = np.ones((*lines.shape[:-1], 1))
    before = np.concatenate([ones, np.cumprod(lines, axis=-1)[..., :-1]], axis=-1)
    after = np.concatenate([np.cumprod(lines[..., ::-1], axis=-1)[..., ::-1][..., 1:], ones], axis=-1)
    return before * after


def _turned(how: Any) -> Any:
    def value(lines: Array, call: Call) -> Array:
        return how(lines[..., ::-1])[..., ::-1] if call.params.get("reverse") else how(lines)

    return value


def _cumulative_matrix(of: Any) -> Any:
    def matrix(lines: Array, results: Array, call: Call) -> Array:
        if call.params.get("reverse"):
            return of(lines[..., ::-1], results[..., ::-1])[..., ::-1, ::-1]
        return of(lines, results)

    return matrix


def _cumprod_matrix(lines: Array, results: Array) -> Array:
    n = lines.shape[-1]
    rows = [
        np.concatenate([_products_without(lines[..., : k + 1]), np.zeros((*lines.shape[:-1], n - k - 1))], axis=-1)
        for k in range(n)
    ]
    return np.stack(rows, axis=-2)


def _cumlogsumexp_matrix(lines: Array, results: Array) -> Array:
    lower = np.tril(np.ones((lines.shape[-1],) * 2))
    return np.where(lower > 0, np.exp(lines[..., None, :] - results[..., :, None]), 0.0)


def _cumulative_extreme(name: str, largest: bool) -> Picked:
    accumulate = np.maximum.accumulate if largest else np.minimum.accumulate

    def line(call: Call) -> Array:
        x = np.moveaxis(call.inputs[0], call.params["axis"], -1)
        return x[..., ::-1] if call.params["reverse"] else x

    def back(x: Array, call: Call) -> Array:
        return np.moveaxis(x[..., ::-1] if call.params["reverse"] else x, -1, call.params["axis"])

    def value(call: Call) -> list[Array]:
        return [back(accumulate(line(call), axis=-1), call)]

    def maps(call: Call, results: Sequence[Array]) -> list[Edge]:
        if not is_float(call.outs[0][1]):
            return []
        x = line(call)
        best = accumulate(x, axis=-1)
        lower = np.tril(np.ones((x.shape[-1],) * 2, bool))
        equal = (x[..., None, :] == best[..., :, None]) & lower
        c = equal / equal.sum(axis=-1, keepdims=True)
        c = c[..., ::-1, ::-1] if call.params["reverse"] else c
        return [Edge(0, 0, _AlongAxis(call.params["axis"], 1), c)]

    def doubt(call: Call, results: Sequence[Array], edges: Sequence[Edge], E: Sequence[Array]) -> Errors:
        if not edges:
            return Errors([np.full(np.shape(results[0]), bool(np.any(E[0])))], [])
        sign = 1.0 if largest else -1.0
        x, e = sign * line(call), line(call._replace(inputs=(np.broadcast_to(E[0], np.shape(call.inputs[0])),)))
        floor = np.maximum.accumulate(x - e, axis=-1)
        top = np.maximum.accumulate(x, axis=-1)
        reach = np.maximum(np.maximum.accumulate(x + e, axis=-1) - top, top - floor)
        lower = np.tril(np.ones((x.shape[-1],) * 2, bool))
        possible = ((x + e)[..., None, :] >= floor[..., :, None]) & lower
        several = possible.sum(axis=-1, keepdims=True) > 1
        c = np.asarray(edges[0].c)
        possible = possible[..., ::-1, ::-1] if call.params["reverse"] else possible
        several = several[..., ::-1, :] if call.params["reverse"] else several
        unsure = np.where(possible & several, np.maximum(c, 1.0 - c), 0.0)
        return Errors([back(np.where(np.isfinite(top), reach, 0.0), call)], [unsure if unsure.any() else None])

    return Picked(name, value=value, maps=maps, doubt=doubt)


def _cumsum_map(call: Call) -> Map:
    axis, reverse = call.params["axis"], call.params["reverse"]
    n = np.shape(call.inputs[0])[axis]

    def one_way(x: Array) -> Array:
        return np.cumsum(x, axis=axis)

    def other_way(x: Array) -> Array:
        return np.flip(np.cumsum(np.flip(x, axis), axis=axis), axis)

    forward, backward = (other_way, one_way) if reverse else (one_way, other_way)
    return Scaled(forward, backward, on_input=True, roundings=max(n - 1, 0))


class _CumulativeSum(_Sum):
    def evaluate(self, call: Call) -> list[Array]:
        found = self.map(call).push(None, call.inputs[0])
        return [found if is_float(call.outs[0][1]) else found.astype(call.outs[0][1])]

    def errors(self, call, results, edges, E, how) -> Errors:
        if not edges:
            return Errors([np.full(np.shape(results[0]), bool(np.any(E[0])))], [])
        return Linear.errors(self, call, results, edges, E, how)


def _window_sum_map(call: Call) -> Map:
    shape = np.shape(call.inputs[0])
    places = window_places(shape, call.params)
    selection = Selection(places, shape)
    size = places.shape[-1]
    return Scaled(
        lambda dx: selection.push(None, dx).sum(axis=-1),
        lambda dy: selection.pull(None, np.broadcast_to(dy[..., None], (*dy.shape, size))),
        on_input=True,
        roundings=max(size - 1, selection.roundings),
    )


def _window_extreme(name: str, largest: bool) -> Picked:
    def windows(x: Array, places: Array, outside: float) -> Array:
        return np.where(places >= 0, x.reshape(-1)[np.maximum(places, 0)], outside)

    def value(call: Call) -> list[Array]:
        x = call.inputs[0]
        worst = -np.inf if largest else np.inf
        found = windows(x.astype(float), window_places(x.shape, call.params), worst)
        picked = (np.max if largest else np.min)(found, axis=-1)
        return [picked if is_float(call.outs[0][1]) else picked.astype(call.outs[0][1])]

    def maps(call: Call, results: Sequence[Array]) -> list[Edge]:
        if not is_float(call.outs[0][1]):
            return []
        x = call.inputs[0]
        places = window_places(x.shape, call.params)
        best = windows(x, places, -np.inf if largest else np.inf) == np.asarray(results[0])[..., None]
        best &= places >= 0
        c = best / np.maximum(best.sum(axis=-1, keepdims=True), 1)
        selection = Selection(places, x.shape)
        picking = Scaled(
            lambda dx: dx,
            lambda dy: dy,
            roundings=0,
        )
        _ = picking
        return [Edge(0, 0, _Windows(selection), c)]

    def doubt(call: Call, results: Sequence[Array], edges: Sequence[Edge], E: Sequence[Array]) -> Errors:
        if not edges:
            return Errors([np.full(np.shape(results[0]), bool(np.any(E[0])))], [])
        x = call.inputs[0]
        places = window_places(x.shape, call.params)
        sides = windows(x, places, -np.inf if largest else np.inf)
        e = windows(np.broadcast_to(E[0], x.shape), places, 0.0)
        possible, reach = _possible(sides, e, (-1,), largest)
        several = possible.sum(axis=-1, keepdims=True) > 1
        c = np.asarray(edges[0].c)
        unsure = np.where(possible & several & (places >= 0), np.maximum(c, 1.0 - c), 0.0)
        return Errors([reach[..., 0]], [unsure if unsure.any() else None])

    return Picked(name, value=value, maps=maps, doubt=doubt)


@dataclass(frozen=True)
class _Windows(Map):
    """dy = Σ over a window of c ∘ dx."""

    selection: Selection

    @property
    def roundings(self) -> int:  # type: ignore[override]
        return self.selection.index.shape[-1] + self.selection.roundings

    def push(self, c: Array | None, dx: Array) -> Array:
        return self.selection.push(c, dx).sum(axis=-1)

    def pull(self, c: Array | None, dy: Array) -> Array:
        return self.selection.pull(c, np.broadcast_to(dy[..., None], self.selection.index.shape))


def _order(call: Call) -> Array:
    """Return the permutation that sorts the operands along their axis, stable, by the first num_keys of them."""
    axis = call.params["dimension"]
    keys = [np.asarray(x) for x in call.inputs[: call.params["num_keys"]]]
    return np.lexsort([np.where(x == 0, 0, x) if x.dtype.kind == "f" else x for x in keys[::-1]], axis=axis)


def _sorted_places(call: Call) -> Array:
    shape, axis = np.shape(call.inputs[0]), call.params["dimension"]
    return np.take_along_axis(np.arange(int(np.prod(shape))).reshape(shape), _order(call), axis)


def _sort_doubt(call: Call, results: Sequence[Array], edges: Sequence[Edge], E: Sequence[Array]) -> Errors:
    axis, order = call.params["dimension"], _order(call)
    key = call.inputs[0]
    e = np.broadcast_to(np.asarray(E[0], float), key.shape)
    x = np.take_along_axis(np.asarray(key, float), order, axis)
    e = np.take_along_axis(e, order, axis)
    with np.errstate(all="ignore"):
        near = (
            np.diff(x, axis=axis)
            <= np.take(e, range(1, x.shape[axis]), axis) + np.take(e, range(x.shape[axis] - 1), axis)
        ) & np.isfinite(np.diff(x, axis=axis))
    exact_ties = not np.any(E[0])
    unsure = np.zeros(x.shape, bool)
    if near.any() and not exact_ties:
        edge: list[Any] = [slice(None)] * x.ndim
        edge[axis] = slice(1, None)
        unsure[tuple(edge)] |= near
        edge[axis] = slice(None, -1)
        unsure[tuple(edge)] |= near
    found: list[Array] = []
    for k, result in enumerate(results):
        moved = np.take_along_axis(np.broadcast_to(np.asarray(E[k]), np.shape(call.inputs[k])), order, axis)
        if is_float(call.outs[k][1]):
            reach = np.max(moved, axis=axis, keepdims=True) if unsure.any() else moved
            apart = (
                np.where(unsure, np.ptp(np.asarray(result, float), axis=axis, keepdims=True), 0.0)
                if unsure.any() and k
                else 0.0
            )
            found.append(np.where(unsure, reach + apart, moved) if unsure.any() else moved)
        else:
            found.append(moved.astype(bool) | unsure)
    if not unsure.any():
        return Errors(found, [None] * len(edges))
    return Errors(found, [None] * len(edges), "elements that rounding may exchange are sorted")


def _sort_maps(call: Call, results: Sequence[Array]) -> list[Edge]:
    places = _sorted_places(call)
    return [
        Edge(k, k, Selection(places, np.shape(x)), None) for k, x in enumerate(call.inputs) if is_float(call.ins[k][1])
    ]


def _top(call: Call) -> Array:
    x, k = call.inputs[0], call.params["k"]
    return np.argsort(-x, axis=-1, kind="stable")[..., :k]


def _top_value(call: Call) -> list[Array]:
    order = _top(call)
    return [np.take_along_axis(call.inputs[0], order, -1), order.astype(call.outs[1][1])]


def _top_maps(call: Call, results: Sequence[Array]) -> list[Edge]:
    shape = np.shape(call.inputs[0])
    places = np.take_along_axis(np.arange(int(np.prod(shape))).reshape(shape), _top(call), -1)
    return [Edge(0, 0, Selection(places, shape), None)] if is_float(call.outs[0][1]) else []


def _top_doubt(call: Call, results: Sequence[Array], edges: Sequence[Edge], E: Sequence[Array]) -> Errors:
    e = np.broadcast_to(np.asarray(E[0], float), np.shape(call.inputs[0]))
    moved = np.take_along_axis(e, _top(call), -1)
    x = -np.sort(-call.inputs[0], axis=-1)
    near = bool(np.any(np.abs(np.diff(x, axis=-1)) <= 2 * e.max(initial=0.0))) and bool(e.any())
    return Errors(
        [moved, np.full(np.shape(results[1]), near)],
        [None] * len(edges),
        "elements that rounding may exchange are picked" if near else "",
    )


register(
    _Sum("reduce_sum", map=_sum_map),
    _CumulativeSum("cumsum", map=_cumsum_map),
    _extreme("reduce_max", True),
    _extreme("reduce_min", False),
    _Line(
        "reduce_prod",
        value=lambda x, call: np.prod(x, axis=-1, keepdims=True),
        matrix=lambda x, y, call: _products_without(x)[..., None, :],
        reduces=True,
    ),
    _Line("cumprod", value=_turned(lambda x: np.cumprod(x, axis=-1)), matrix=_cumulative_matrix(_cumprod_matrix)),
    _Line(
        "cumlogsumexp",
        value=_turned(lambda x: np.logaddexp.accumulate(x, axis=-1)),
        matrix=_cumulative_matrix(_cumlogsumexp_matrix),
    ),
    _cumulative_extreme("cummax", True),
    _cumulative_extreme("cummin", False),
    Linear("reduce_window_sum", map=_window_sum_map),
    _window_extreme("reduce_window_max", True),
    _window_extreme("reduce_window_min", False),
    Picked(
        "sort",
        value=lambda call: [
            np.take_along_axis(np.asarray(x), _order(call), call.params["dimension"]) for x in call.inputs
        ],
        maps=_sort_maps,
        doubt=_sort_doubt,
    ),
    Picked("top_k", value=_top_value, maps=_top_maps, doubt=_top_doubt),
)
