"""Lines, the kind: a function of all candidates of a result, by its partial derivatives; products and log-sum-exps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from chainback.operations.primitives.calls import Array, Call, Edge, Errors, Precision, gamma
from chainback.operations.primitives.candidates import Lines, along_axis, over_axes
from chainback.operations.primitives.examples import example, real, whole
from chainback.operations.primitives.record import Primitive, register

__all__ = ["Line", "product_line"]


@dataclass(frozen=True)
class Line(Primitive):
    """A smooth function of the candidates of each result.

    Attributes:
        form: call ↦ the candidates.
        neutral: What stands in place of a candidate that is missing.
        value: candidates (…, n) ↦ results (…).
        slopes: (candidates, results) ↦ partial derivatives (…, n).
        moved: (candidates, their errors, results, slopes) ↦ how far the slopes may move.
        rounds: n ↦ how many u the value may lose of `size`, and a slope of `slope_size`.
        size: (candidates, results) ↦ magnitude of the terms in the value.
        slope_size: (candidates, results, slopes) ↦ of those in each slope.
        largest: candidates ↦ magnitude of the largest intermediate result.
    """

    form: Callable[[Call], Lines] = field(kw_only=True)
    neutral: float = field(kw_only=True)
    value: Callable[[Array], Array] = field(kw_only=True)
    slopes: Callable[[Array, Array], Array] = field(kw_only=True)
    moved: Callable[[Array, Array, Array, Array], Array] = field(kw_only=True)
    rounds: Callable[[int], float] = field(kw_only=True)
    size: Callable[[Array, Array], Array] = field(kw_only=True)
    slope_size: Callable[[Array, Array, Array], Array] = field(kw_only=True)
    largest: Callable[[Array], Array] = field(kw_only=True)

    def _candidates(self, call: Call) -> Array:
        return self.form(call).candidates(call.inputs[0], self.neutral)

    def evaluate(self, call: Call) -> list[Array]:
        """Return the results."""
        with np.errstate(all="ignore"):
            found = self.form(call).arranged(self.value(self._candidates(call)))
        return [found if call.makes_float else found.astype(call.outs[0][1])]

    def edges(self, call: Call, results: Sequence[Array]) -> list[Edge]:
        """Return the block of the one operand."""
        if not call.makes_float:
            return []
        form = self.form(call)
        with np.errstate(all="ignore"):
            return [Edge(0, 0, form, self.slopes(self._candidates(call), form.disarranged(results[0])))]

    def errors(
        self, call: Call, results: Sequence[Array], edges: Sequence[Edge], E: Sequence[Array], how: Precision
    ) -> Errors:
        """Return the errors of results and slopes; what underflows on the way loses η times the largest of the others."""
        form = self.form(call)
        e = np.broadcast_to(E[0], np.shape(call.inputs[0]))
        if not edges:
            return Errors([form.arranged(np.asarray(form.candidates(e.astype(float)).any(axis=-1)))], [])
        (_, dtype), candidates, c = call.outs[0], self._candidates(call), np.asarray(edges[0].c)
        y, lost = form.disarranged(results[0]), gamma(self.rounds(form.terms + 1), how.u(dtype))
        with np.errstate(all="ignore"):
            far, most = form.candidates(e), self.largest(np.abs(candidates) + form.candidates(e))
            tiny = (form.terms + 1) * how.tiny(dtype) * np.maximum(most, 1.0)
            E_c = self.moved(candidates, far, y, c) if e.any() else 0.0
            E_c = E_c + lost * self.slope_size(candidates, y, c) + tiny[..., None]
            carried = edges[0].map.push(np.abs(c) + E_c, e) if e.any() else 0.0
            found = form.arranged(lost * self.size(candidates, y) + tiny) + carried
            fits = form.arranged(most) < how.largest(dtype)
        return Errors([np.where(fits, found, np.inf)], [np.where((most < how.largest(dtype))[..., None], E_c, np.inf)])


def _without(candidates: Array) -> Array:
    """Return for each candidate the product of all others."""
    ones = np.ones((*candidates.shape[:-1], 1))
    before = np.concatenate([ones, np.cumprod(candidates, axis=-1)[..., :-1]], axis=-1)
    after = np.concatenate([np.cumprod(candidates[..., ::-1], axis=-1)[..., ::-1][..., 1:], ones], axis=-1)
    return before * after


def product_line(name: str, form: Callable[[Call], Lines], **options: Any) -> Line:
    """Return the record of a product of all candidates: n − 1 products in the value, and as many in a slope and its sum."""
    return Line(
        name,
        form=form,
        neutral=1.0,
        value=lambda x: np.prod(x, axis=-1),
        slopes=lambda x, y: _without(x),
        moved=lambda x, e, y, c: _without(np.abs(x) + e) - np.abs(c),
        rounds=lambda n: 2.0 * n,
        size=lambda x, y: np.abs(y),
        slope_size=lambda x, y, c: np.abs(c),
        largest=lambda x: np.prod(np.maximum(np.abs(x), 1.0), axis=-1),
        **options,
    )


def _log_sum(candidates: Array) -> Array:
    top = candidates.max(axis=-1)
    top = np.where(np.isfinite(top), top, 0.0)
    return np.log(np.exp(candidates - top[..., None]).sum(axis=-1)) + top


def _log_sum_moved(candidates: Array, e: Array, y: Array, c: Array) -> Array:
    """exp(x − y): the exponent moves by its own error and at most the largest one."""
    return c * np.expm1(e + e.max(axis=-1, keepdims=True))


def _finite(x: Array) -> Array:
    return np.where(np.isfinite(x), np.abs(x), 0.0)


def _log_sum_size(candidates: Array, y: Array) -> Array:
    return 4.0 + 2.0 * _finite(y) + 2.0 * _finite(candidates).max(axis=-1)


register(
    product_line(
        "reduce_prod",
        over_axes,
        examples=(
            example("jnp.prod(x, (0, 2))", x=real(2, 3, 2)),
            example("jnp.prod(x)", x=whole(5)),
        ),
    ),
    product_line(
        "cumprod",
        along_axis,
        examples=(
            example("lax.cumprod(x, 1)", x=real(2, 5)),
            example("lax.cumprod(x, 0, reverse=True)", x=real(5, 2)),
            example("lax.cumprod(x, 0)", x=whole(5)),
        ),
    ),
    Line(
        "cumlogsumexp",
        form=along_axis,
        neutral=-np.inf,
        value=_log_sum,
        slopes=lambda x, y: np.exp(x - np.where(np.isfinite(y), y, 0.0)[..., None]),
        moved=_log_sum_moved,
        # JAX adds pairwise, log₂ n deep: each step rounds an exponent, an exponential, a logarithm and a sum.
        rounds=lambda n: 4.0 * (1.0 + np.ceil(np.log2(max(n, 1)))),
        size=_log_sum_size,
        slope_size=lambda x, y, c: c * _log_sum_size(x, y)[..., None],
        largest=lambda x: _finite(x).max(axis=-1),
        examples=(
            example("lax.cumlogsumexp(x, 1)", x=real(2, 5)),
            example("lax.cumlogsumexp(x, 0, reverse=True)", x=real(5, 2)),
        ),
    ),
)
