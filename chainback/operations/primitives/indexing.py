"""Gather, scatter and dynamic slices: structural, by places that are computed from indices; and scatters that combine."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from chainback.operations.primitives.calls import Array, Call, Edge, Errors, Precision, gamma, is_uncertain
from chainback.operations.primitives.examples import Example, example, real, whole
from chainback.operations.primitives.maps import Scaled, Selection, reshaped
from chainback.operations.primitives.places import gather_places, is_promised, scatter_places
from chainback.operations.primitives.record import Primitive, Structural, register

_INDICES = "an index that rounding may change"
_BROKEN_PROMISE = "an index out of bounds that was promised to lie inside"


def _starts(indices: Sequence[Array], shape: Sequence[int], sizes: Sequence[int]) -> list[int]:
    return [int(np.clip(int(i), 0, n - k)) for i, n, k in zip(indices, shape, sizes, strict=True)]


def _block(starts: Sequence[int], sizes: Sequence[int]) -> tuple[slice, ...]:
    return tuple(slice(a, a + n) for a, n in zip(starts, sizes, strict=True))


def _dynamic_slice(arrays: Sequence[Array], call: Call) -> Array:
    x, sizes = arrays[0], call.params["slice_sizes"]
    return x[_block(_starts(call.inputs[1 : 1 + x.ndim], x.shape, sizes), sizes)]


def _dynamic_update_slice(arrays: Sequence[Array], call: Call) -> Array:
    x, update = arrays[0].copy(), arrays[1]
    x[_block(_starts(call.inputs[2 : 2 + x.ndim], x.shape, update.shape), update.shape)] = update
    return x


def _fill(x: Array, call: Call) -> Any:
    """What a gather yields where its index is out of bounds, in the mode that fills."""
    value = call.params.get("filled", call.params.get("fill_value"))
    if value is not None:
        return value
    if x.dtype.kind in "iu":
        info = np.iinfo(x.dtype)
        return info.min if x.dtype.kind == "i" else info.max
    return np.nan if x.dtype.kind == "f" else True


def _gathered(call: Call, **params: Any) -> Array:
    """Return the flat place from which each component of a gather comes; −1 where it is filled."""
    return gather_places(np.shape(call.inputs[0]), call.inputs[1], {**call.params, **params})


def _gather(arrays: Sequence[Array], call: Call) -> Array:
    x = arrays[0]
    places = _gathered(call, mode="clip") if is_promised(call.params) else _gathered(call)
    inside = places >= 0
    if x.size == 0:
        return np.full(places.shape, _fill(x, call), x.dtype)
    found = x.reshape(-1)[np.maximum(places, 0)]
    return found if inside.all() else np.where(inside, found, np.asarray(_fill(x, call)).astype(found.dtype))


class _Gathered(Structural):
    """gather: what breaks its promise leaves undecided."""

    def errors(
        self, call: Call, results: Sequence[Array], edges: Sequence[Edge], E: Sequence[Array], how: Precision
    ) -> Errors:
        """Return the errors of the operand, moved."""
        found = super().errors(call, results, edges, E, how)
        broken = is_promised(call.params) and bool((_gathered(call) < 0).any())
        return found._replace(reason=_BROKEN_PROMISE) if broken else found


def _scattered(call: Call) -> Array:
    """Return the flat place to which each component of the updates goes; −1 where it is dropped."""
    return scatter_places(np.shape(call.inputs[0]), call.inputs[1], np.shape(call.inputs[2]), call.params)


def _written(arrays: Sequence[Array], call: Call) -> Array:
    x, update, places = arrays[0], arrays[2], _scattered(call).ravel()
    flat, keep = x.reshape(-1).copy(), places >= 0
    flat[places[keep]] = update.ravel()[keep]
    return flat.reshape(x.shape)


class _Combined(Primitive):
    """A scatter whose updates are combined with the operand by a ufunc."""

    ufunc: np.ufunc

    def evaluate(self, call: Call) -> list[Array]:
        """Return the result."""
        x, _, update = call.inputs
        found, places = np.array(x).reshape(-1), _scattered(call).ravel()
        keep = places >= 0
        with np.errstate(all="ignore"):
            self.ufunc.at(found, places[keep], np.ravel(update)[keep])
        return [found.reshape(np.shape(x))]

    def edges(self, call: Call, results: Sequence[Array]) -> list[Edge]:
        """Return the blocks of operand and updates."""
        if not call.makes_float:
            return []
        shape, updates = np.shape(call.inputs[0]), np.shape(call.inputs[2])
        back = Selection(_scattered(call), shape)
        onto = Scaled(
            lambda dx: back.pull(None, np.broadcast_to(dx, updates)),
            lambda dy: back.push(None, dy),
            on_input=True,
            roundings=back.roundings + 1,
        )
        by_operand, by_updates = self.shares(call, results[0], back)
        return [Edge(0, 0, reshaped(shape, shape), by_operand), Edge(2, 0, onto, by_updates)]

    def shares(self, call: Call, result: Array, back: Selection) -> tuple[Array | None, Array | None]:
        """Return the coefficients of both blocks."""
        raise NotImplementedError

    def errors(
        self, call: Call, results: Sequence[Array], edges: Sequence[Edge], E: Sequence[Array], how: Precision
    ) -> Errors:
        """Return what rounding, or another choice, makes of the result."""
        reason = _INDICES if np.any(E[1]) else ""
        if is_promised(call.params) and (_scattered(call) < 0).any():
            reason = _BROKEN_PROMISE
        if not edges:
            return Errors([np.full(np.shape(results[0]), is_uncertain(E))], [], reason)
        e, f = (np.broadcast_to(E[k], np.shape(call.inputs[k])) for k in (0, 2))
        found, E_c = self.combined_errors(call, results[0], edges, (e, f), how)
        return Errors([found], E_c, reason)

    def combined_errors(
        self, call: Call, result: Array, edges: Sequence[Edge], E: tuple[Array, Array], how: Precision
    ) -> tuple[Array, list[Array | None]]:
        """Return the errors of the result and of both blocks' coefficients."""
        raise NotImplementedError


class _Added(_Combined):
    """scatter-add and scatter-sub: the operand plus, or minus, what goes to each place."""

    ufunc = np.add

    def shares(self, call: Call, result: Array, back: Selection) -> tuple[Array | None, Array | None]:
        """All are 1, or −1."""
        return None, None if self.ufunc is np.add else -np.ones(back.index.shape)

    def combined_errors(
        self, call: Call, result: Array, edges: Sequence[Edge], E: tuple[Array, Array], how: Precision
    ) -> tuple[Array, list[Array | None]]:
        """A sum."""
        dtype, onto = call.outs[0][1], edges[1].map
        n = onto.roundings
        moved = E[0] + onto.push(None, E[1])
        size = np.abs(call.inputs[0]) + onto.push(None, np.abs(call.inputs[2])) + moved
        return moved + gamma(n, how.u(dtype)) * size + n * how.tiny(dtype), [None, None]


class _Subtracted(_Added):
    """scatter-sub."""

    ufunc = np.subtract


class _Multiplied(_Combined):
    """scatter-mul: the operand times what goes to each place."""

    ufunc = np.multiply

    def shares(self, call: Call, result: Array, back: Selection) -> tuple[Array | None, Array | None]:
        """The product of all others."""
        return _others(np.asarray(call.inputs[0]), np.asarray(call.inputs[2]), back.index)

    def combined_errors(
        self, call: Call, result: Array, edges: Sequence[Edge], E: tuple[Array, Array], how: Precision
    ) -> tuple[Array, list[Array | None]]:
        """Products of magnitudes grow with each factor."""
        x, updates, places = np.abs(call.inputs[0]), np.abs(call.inputs[2]), _scattered(call)
        dtype, n = call.outs[0][1], edges[1].map.roundings + 1
        u, tiny = how.u(dtype), how.tiny(dtype)
        with np.errstate(all="ignore"):
            far = _others(x + E[0], updates + E[1], places)
            near = _others(x, updates, places)
            E_c: list[Array | None] = [f - c + gamma(n, u) * f + n * tiny for f, c in zip(far, near, strict=True)]
            moved = far[0] * (x + E[0]) - near[0] * x
        return moved + gamma(n, u) * (np.abs(result) + moved) + n * tiny, E_c


def _others(x: Array, updates: Array, places: Array) -> tuple[Array, Array]:
    """Return for each component of operand and updates the product of all others that go to the same place."""
    flat, factors = places.ravel(), updates.ravel()
    order = np.argsort(flat, kind="stable")
    sorted_places = flat[order]
    rank = np.arange(flat.size) - np.searchsorted(sorted_places, sorted_places)
    ranks = np.empty_like(rank)
    ranks[order] = rank
    ranks[flat < 0] = -1
    most = int(ranks.max(initial=-1))
    products = []
    for turns in (range(most + 1), range(most, -1, -1)):
        so_far, before = np.ones(x.size), np.ones(factors.size)
        for turn in turns:
            now = ranks == turn
            before[now] = so_far[flat[now]]
            so_far[flat[now]] *= factors[now]
        products.append((so_far, before))
    (every, before), (_, after) = products
    rest = np.where(flat >= 0, before * after * x.ravel()[np.maximum(flat, 0)], 0.0)
    return every.reshape(x.shape), rest.reshape(updates.shape)


class _Extreme(_Combined):
    """scatter-max and scatter-min: the extreme of the operand and what goes to each place; ties share equally."""

    ufunc = np.maximum

    @property
    def picks(self) -> bool:
        """It does."""
        return True

    def shares(self, call: Call, result: Array, back: Selection) -> tuple[Array | None, Array | None]:
        """Return shares of the candidates that are the result."""
        own = (np.asarray(call.inputs[0]) == result).astype(float)
        others = ((np.asarray(call.inputs[2]) == back.push(None, result)) & (back.index >= 0)).astype(float)
        count = np.maximum(own + back.pull(None, others), 1.0)
        return own / count, others / np.maximum(back.push(None, count), 1.0)

    def combined_errors(
        self, call: Call, result: Array, edges: Sequence[Edge], E: tuple[Array, Array], how: Precision
    ) -> tuple[Array, list[Array | None]]:
        """Another choice is possible where candidates are nearer than their errors."""
        sign = 1.0 if self.ufunc is np.maximum else -1.0
        x, updates = sign * np.asarray(call.inputs[0]), sign * np.asarray(call.inputs[2])
        back = Selection(_scattered(call), x.shape)
        kept, inside = back.index[back.index >= 0], back.index >= 0

        def extreme(own: Array, others: Array) -> Array:
            found = own.reshape(-1).copy()
            np.maximum.at(found, kept, others[inside])
            return found.reshape(x.shape)

        top, floor, high = extreme(x, updates), extreme(x - E[0], updates - E[1]), extreme(x + E[0], updates + E[1])
        own = (x + E[0] >= floor).astype(float)
        others = ((updates + E[1] >= back.push(None, floor)) & inside).astype(float)
        several = own + back.pull(None, others) > 1.0
        unsure = [np.where(several, own, 0.0), np.where(back.push(None, several.astype(float)) > 0, others, 0.0)]
        shares = [np.asarray(edge.c) for edge in edges]
        # JAX's rule subtracts from the operand's derivative what it gives to the updates, term by term.
        count = back.pull(None, np.ones(back.index.shape))
        lost = [n * (n > 0) * how.u(call.outs[0][1]) for n in (count + 6.0 * (count > 0), back.push(None, count + 6.0))]
        E_c: list[Array | None] = [w * np.maximum(c, 1.0 - c) + e for w, c, e in zip(unsure, shares, lost, strict=True)]
        return np.maximum(high - top, top - floor), E_c


class _Least(_Extreme):
    """scatter-min."""

    ufunc = np.minimum


_X = real(4, 3)
#: Rows, with repetitions and beyond the end.
_ROWS = whole(5, low=-6, high=6)
_NEW = real(5, 3)


def _scatters(method: str, judged: tuple[str, ...] | None = None) -> tuple[Example, ...]:
    """Return examples of a scatter by the names of `jax.numpy.ndarray.at`."""
    # JAX's derivative of scatter-min and -max ignores the mode.
    inside = whole(5, low=0, high=3) if method in ("min", "max") else _ROWS
    options: dict[str, Any] = {} if judged is None else {"judged": judged}
    return (
        example(f"x.at[i].{method}(u, mode='drop')", x=_X, i=_ROWS, u=_NEW, **options),
        example(f"x.at[i, 1].{method}(u, mode='clip')", x=_X, i=inside, u=real(5), **options),
        example(f"x.at[1:3].{method}(u)", x=_X, u=real(2, 3), **options),
        example(
            f"jax.vmap(lambda a, j, v: a.at[j].{method}(v))(x, i, u)", x=_X, i=whole(4, 2), u=real(4, 2), **options
        ),
        example(f"x.at[i].{method}(u)", x=whole(4, 3), i=whole(5, low=0, high=3), u=whole(5, 3)),
    )


register(
    Structural(
        "dynamic_slice",
        move=_dynamic_slice,
        operands=(0,),
        examples=(
            example("lax.dynamic_slice(x, (i, j), (2, 2))", x=_X, i=whole(), j=whole()),
            example("lax.dynamic_slice(x, (i,), (2,))", x=whole(4), i=whole()),
        ),
    ),
    Structural(
        "dynamic_update_slice",
        move=_dynamic_update_slice,
        operands=(0, 1),
        examples=(example("lax.dynamic_update_slice(x, u, (i, j))", x=_X, u=real(2, 2), i=whole(), j=whole()),),
    ),
    _Gathered(
        "gather",
        move=_gather,
        operands=(0,),
        examples=(
            example("x[i]", x=_X, i=whole(5, low=-4, high=3)),
            example("x[i, j]", x=_X, i=whole(2, 2, low=0, high=3), j=whole(2, low=0, high=2)),
            example("x.at[i].get(mode='fill', fill_value=7.0)", x=_X, i=_ROWS),
            example("(lambda y: jnp.where(jnp.isnan(y), 0.0, y))(x.at[:, i].get(mode='fill'))", x=_X, i=_ROWS),
            example("x.at[i].get(mode='fill')", x=whole(4), i=_ROWS),
            example("x.at[i].get(mode='clip')", x=_X, i=_ROWS),
            example("jnp.take_along_axis(x, i, 1)", x=_X, i=whole(4, 2, low=0, high=2)),
            example("jax.vmap(lambda a, j: a[j])(x, i)", x=_X, i=whole(4, low=0, high=2)),
        ),
    ),
    Structural("scatter", move=_written, operands=(0, 2), examples=_scatters("set")),
    _Added("scatter-add", examples=_scatters("add")),
    _Subtracted("scatter-sub", since="0.4.35", examples=_scatters("subtract")),
    _Multiplied("scatter-mul", examples=_scatters("multiply", judged=("x",))),
    _Least("scatter-min", examples=_scatters("min")),
    _Extreme("scatter-max", examples=_scatters("max")),
)
