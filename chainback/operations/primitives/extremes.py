"""Maxima and minima: over axes, along an axis, over windows; and what a window's extreme component carries with it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from chainback.operations.primitives.calls import Array, Call, Edge, Errors, Precision, gamma, is_uncertain
from chainback.operations.primitives.candidates import Lines, along_axis, over_axes, over_windows
from chainback.operations.primitives.examples import example, real, whole
from chainback.operations.primitives.maps import Map, Transposed
from chainback.operations.primitives.record import Primitive, register


@dataclass(frozen=True)
class _Contest:
    """The candidates of each result, their errors, and which of them may be the extreme one.

    Attributes:
        x: The candidates, multiplied with −1 where the smallest is wanted; −∞ where there is none.
        e: Their errors.
    """

    x: Array
    e: Array

    @property
    def top(self) -> Array:
        """The largest."""
        return self.x.max(axis=-1, keepdims=True, initial=-np.inf)

    @property
    def best(self) -> Array:
        """Which are it."""
        return (self.x == self.top) & (self.x > -np.inf)

    @property
    def floor(self) -> Array:
        """What the largest is at least."""
        return (self.x - self.e).max(axis=-1, keepdims=True, initial=-np.inf)

    @property
    def reach(self) -> Array:
        """How far the largest may lie off."""
        high = (self.x + self.e).max(axis=-1, keepdims=True, initial=-np.inf)
        return np.where(np.isfinite(self.top), np.maximum(high - self.top, self.top - self.floor), 0.0)[..., 0]

    @property
    def rivals(self) -> Array:
        """Which may be it, where there are several; exact ties among them."""
        possible = ((self.x + self.e >= self.floor) | self.best) & (self.x > -np.inf)
        return possible & (possible.sum(axis=-1, keepdims=True) > 1)


def _contest(form: Lines, x: Array, e: Array, *, largest: bool) -> _Contest:
    sign = 1.0 if largest else -1.0
    return _Contest(form.candidates(sign * np.asarray(x, float), -np.inf), form.candidates(np.asarray(e, float)))


@dataclass(frozen=True)
class Extreme(Primitive):
    """The largest, or the smallest, of the candidates of each result; ties share the derivative equally.

    Attributes:
        largest: Whether the largest is wanted.
        form: call ↦ the candidates.
    """

    largest: bool = field(kw_only=True)
    form: Callable[[Call], Lines] = field(kw_only=True)

    @property
    def picks(self) -> bool:
        """It does."""
        return True

    def evaluate(self, call: Call) -> list[Array]:
        """Return the results."""
        (x,), form, dtype = call.inputs, self.form(call), call.outs[0][1]
        if call.makes_float:
            worst: float = -np.inf if self.largest else np.inf
        else:
            info = np.iinfo(dtype) if dtype != "bool" else None
            worst = (0 if self.largest else 1) if info is None else info.min if self.largest else info.max
        candidates = form.candidates(x, worst)
        found = (np.max if self.largest else np.min)(candidates, axis=-1, initial=worst)
        return [form.arranged(np.asarray(found, np.float64 if call.makes_float else dtype))]

    def edges(self, call: Call, results: Sequence[Array]) -> list[Edge]:
        """Return the block of the one operand, with the candidates' shares."""
        if not call.makes_float:
            return []
        form = self.form(call)
        best = _contest(form, call.inputs[0], np.zeros(np.shape(call.inputs[0])), largest=self.largest).best
        ties = int(best.sum(axis=-1).max(initial=1))
        # A share is a quotient of small integers; zeros are added without rounding.
        form = replace(form, most=1 + max(ties - 1, form.repeats))  # type: ignore[type-var]
        return [Edge(0, 0, form, best / np.maximum(best.sum(axis=-1, keepdims=True), 1))]

    def errors(
        self, call: Call, results: Sequence[Array], edges: Sequence[Edge], E: Sequence[Array], how: Precision
    ) -> Errors:
        """Return how far the extreme may lie off, and the shares of rivals."""
        x, form = call.inputs[0], self.form(call)
        if not edges:
            doubt = form.candidates(np.broadcast_to(E[0], np.shape(x)).astype(float)).any(axis=-1)
            return Errors([form.arranged(np.asarray(doubt))], [])
        with np.errstate(all="ignore"):
            contest = _contest(form, x, np.broadcast_to(E[0], np.shape(x)), largest=self.largest)
            rivals, share = contest.rivals, np.asarray(edges[0].c)
            unsure = np.where(rivals, np.maximum(share, 1.0 - share), 0.0) if rivals.any() else None
        return Errors([form.arranged(contest.reach)], [unsure])


@dataclass(frozen=True)
class _Carried(Primitive):
    """select_and_gather_add, select_and_scatter_add: what goes with the first extreme component of each window.

    Attributes:
        back: Whether operand 0 is what is carried back to those components, and added there.
    """

    back: bool = field(kw_only=True)

    @property
    def picks(self) -> bool:
        """It does."""
        return True

    def _map(self, call: Call) -> Map:
        form = over_windows(call, 1)
        form = replace(form, most=form.repeats)  # type: ignore[type-var]
        return Transposed(form) if self.back else form

    def _contest(self, call: Call, e: Array) -> _Contest:
        return _contest(over_windows(call, 1), call.inputs[1], e, largest=call.params["select_prim"].name == "ge")

    def _first(self, call: Call) -> Array:
        best = self._contest(call, np.zeros(np.shape(call.inputs[1]))).best
        return (best & (np.cumsum(best, axis=-1) == 1)).astype(float)

    def evaluate(self, call: Call) -> list[Array]:
        """Return the result."""
        return [self._map(call).push(self._first(call), call.inputs[0])]

    def edges(self, call: Call, results: Sequence[Array]) -> list[Edge]:
        """Return the block of operand 0; operand 1 only says where."""
        return [Edge(0, 0, self._map(call), self._first(call))]

    def errors(
        self, call: Call, results: Sequence[Array], edges: Sequence[Edge], E: Sequence[Array], how: Precision
    ) -> Errors:
        """Return what rivals may carry, and the roundings of sums."""
        (x, _), form, dtype = call.inputs, edges[0].map, call.outs[0][1]
        e, f = (np.broadcast_to(E[k], np.shape(call.inputs[k])) for k in (0, 1))
        with np.errstate(all="ignore"):
            rivals = self._contest(call, f).rivals.astype(float)
            first = np.asarray(edges[0].c)
            unsure = rivals * np.maximum(first, 1.0 - first)
            moved = form.push(first + unsure, e) + form.push(unsure, np.abs(x))
            n = form.roundings if self.back else 0
            size = form.push(first + unsure, np.abs(x) + e)
            lost = gamma(n, how.u(dtype)) * size + n * how.tiny(dtype)
        return Errors([moved + lost], [unsure if is_uncertain([unsure]) else None])


_POOL = "(2, 3), (1, 2), 'SAME'"


def _reduction(name: str, *, largest: bool) -> Extreme:
    call = f"lax.{name}(x, (0, 2))"
    return Extreme(
        name,
        largest=largest,
        form=over_axes,
        examples=(example(call, x=real(2, 3, 4)), example(call, x=whole(2, 3, 4))),
    )


def _cumulative(name: str, *, largest: bool) -> Extreme:
    return Extreme(
        name,
        largest=largest,
        form=along_axis,
        examples=(
            example(f"lax.{name}(x, 1)", x=real(2, 6)),
            example(f"lax.{name}(x, 0, reverse=True)", x=real(6, 2)),
            example(f"lax.{name}(x, 0)", x=whole(6)),
        ),
    )


def _pooling(name: str, how: str, start: str, smallest: str, *, largest: bool) -> Extreme:
    return Extreme(
        name,
        largest=largest,
        form=over_windows,
        examples=(
            example(f"lax.reduce_window(x, {start}, lax.{how}, {_POOL})", x=real(5, 6)),
            example(f"lax.reduce_window(x, np.int32(np.iinfo('int32').{smallest}), lax.{how}, {_POOL})", x=whole(5, 6)),
        ),
    )


register(
    _reduction("reduce_max", largest=True),
    _reduction("reduce_min", largest=False),
    _cumulative("cummax", largest=True),
    _cumulative("cummin", largest=False),
    _pooling("reduce_window_max", "max", "-jnp.inf", "min", largest=True),
    _pooling("reduce_window_min", "min", "jnp.inf", "max", largest=False),
    _Carried(
        "select_and_gather_add",
        back=False,
        examples=(
            example(
                f"jax.jvp(lambda v: lax.reduce_window(v, -jnp.inf, lax.max, {_POOL}), (x,), (t,))[1]",
                t=real(5, 6),
                x=real(5, 6),
            ),
            example(
                f"jax.jvp(lambda v: lax.reduce_window(v, jnp.inf, lax.min, {_POOL}), (x,), (t,))[1]",
                t=real(5, 6),
                x=real(5, 6),
            ),
        ),
    ),
    _Carried(
        "select_and_scatter_add",
        back=True,
        examples=(
            example(
                f"jax.vjp(lambda v: lax.reduce_window(v, -jnp.inf, lax.max, {_POOL}), x)[1](s)[0]",
                s=real(5, 3),
                x=real(5, 6),
            ),
        ),
    ),
)
