"""The sweep of activations: each alone, its value and its slope on a fixed grid, judged by the float64 reference.

What changes between JAX versions is mostly single functions, and inside a chain they are compiled differently. Here each is
run by itself: value, slope by forward and by reverse mode, and our own closed forms, jitted and op by op.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from chainback.engines.closed_forms import value_and_slope
from chainback.engines.networks import Array, function
from chainback.judging.judgement import Verdict
from chainback.judging.pointwise import CURVE, Expected, judge_points
from chainback.operations.activations import ACTIVATIONS
from chainback.operations.arithmetic import Arithmetic
from chainback.operations.elementwise import Activation

__all__ = ["ActivationSweep", "activation_sweeps", "grid"]

#: A curve's bins: as fine as the grid's dense points allow near 0, wider by the same factor each beyond |z| = 1.
_EDGES = np.sinh(np.linspace(-np.arcsinh(104.0), np.arcsinh(104.0), 97))


def grid() -> np.ndarray:
    """Return the points of the sweep, float32: [−104, 104] densely, both signs of 2⁻¹²⁶ … 2¹³ and some special points."""
    dense = np.arange(-104 * 64, 104 * 64 + 1, dtype=np.float32) / np.float32(64.0)
    sizes = np.ldexp(np.array([1.0, 1.25, 1.6], np.float32), np.arange(-126, 13)[:, None]).ravel().astype(np.float32)
    near_one = np.array([1.0, 1.0 + 2.0**-23, 1.0 - 2.0**-24], np.float32)
    return np.concatenate([dense, sizes, -sizes, near_one, -near_one, np.array([0.0, -0.0], np.float32)])


def _ways(name: str) -> Iterator[tuple[str, str, Callable[[Array], Array]]]:
    """Yield (quantity, method, function on the whole grid) of one activation."""
    h = function(name)
    yield "value", "primal", h
    yield "slope", "forward", lambda z: jax.jvp(h, (z,), (jnp.ones_like(z),))[1]
    yield "slope", "reverse", lambda z: jax.vjp(h, z)[1](jnp.ones_like(z))[0]
    yield "value", "closed form", lambda z: value_and_slope(name, z)[0]
    yield "slope", "closed form", lambda z: value_and_slope(name, z)[1]


@dataclass(frozen=True)
class ActivationSweep:
    """One activation over the grid, in one way.

    Attributes:
        activation: Its name.
        quantity: "value" or "slope".
        method: By which the quantity is computed.
        execution: "jitted" or "eager".
        called: The JAX function, of the grid.
        arithmetic: Its unit roundoff and smallest normal number; elementary functions know no matrix products.
        device: Where to run.
    """

    activation: str
    quantity: str
    method: str
    execution: str
    called: Callable[[Any], Any]
    arithmetic: Arithmetic
    device: Any

    def __str__(self) -> str:
        return f"{self.activation}: {self.quantity} by {self.method}, {self.execution}"

    #: The column that names what is swept.
    subject = "activation"

    def rows(self) -> list[dict[str, Any]]:
        """Run and judge: a row of `activations.csv`, and under `CURVE` its row of `curves.csv`."""
        points = grid()
        z = jax.device_put(points, self.device)
        if self.execution == "jitted":
            got = np.asarray(jax.jit(self.called)(z))
        else:
            with jax.disable_jit(), jax.default_device(self.device):
                got = np.asarray(self.called(z))
        return [self._identity() | _judge(ACTIVATIONS[self.activation], self.quantity, points, got, self.arithmetic)]

    def failed(self, reason: str) -> list[dict[str, Any]]:
        """Return the row of a sweep that gave nothing to judge."""
        points = grid().size
        counts = {"points": points, "accepted": 0, "rejected": points, "verdict": str(Verdict.REJECTED)}
        return [self._identity() | counts | {"note": reason}]

    def _identity(self) -> dict[str, str]:
        return {name: getattr(self, name) for name in ("activation", "quantity", "method", "execution")}


def activation_sweeps(arithmetic: Arithmetic, device: Any) -> Iterator[ActivationSweep]:
    """Return how every registered activation is swept: by each method, jitted and un-jitted."""
    for name in list(ACTIVATIONS):
        for quantity, method, called in _ways(name):
            for execution in ("jitted", "eager"):
                yield ActivationSweep(name, quantity, method, execution, called, arithmetic, device)


def _judge(
    model: Activation, quantity: str, points: np.ndarray, got: np.ndarray, arithmetic: Arithmetic
) -> dict[str, Any]:
    """Judge one sweep: the bound is the rounding model's, c u σ(z), plus what an underflow may lose.

    No matrix product enters it, so it is sharp where a float32 one is, whatever the arithmetic of products.
    """
    u, tiny = arithmetic.unit_roundoff, arithmetic.smallest_normal
    z = points.astype(np.float64)
    row = ("value", "slope").index(quantity)
    with np.errstate(all="ignore"):
        truth, rounding = (model.value, model.slope)[row](z), model.roundings[row]
        bound = u * (rounding.units * rounding.sigma(z, reference=truth)) + tiny * (1.0 + np.abs(z))
        if quantity == "slope":
            low, high = model.slope_range
            for kink in model.kinks:
                near = (np.abs(z - kink) < tiny) & ((z != kink) | (not model.settled))
                bound = np.where(near, high - low, bound)
    swept = judge_points(got, [Expected(truth, bound)], arithmetic)
    return swept.counts | {
        "worst_z": float(points[swept.worst]),
        "error_u_max_z": float(points[swept.furthest]),
        "note": "",
        CURVE: _curve(points, swept.in_u),
    }


def _curve(points: np.ndarray, in_u: np.ndarray) -> dict[str, float]:
    """Return the largest error in u in each bin of z, by the bin's middle, to three digits.

    The outermost bins hold all that lies beyond them. A bin in which no reference is normal has NaN.
    """
    places = np.clip(np.searchsorted(_EDGES, points, side="right") - 1, 0, _EDGES.size - 2)
    largest = np.full(_EDGES.size - 1, np.nan)
    np.fmax.at(largest, places, in_u)
    middles = np.sinh((np.arcsinh(_EDGES[1:]) + np.arcsinh(_EDGES[:-1])) / 2.0)
    return {f"{z:.4g}": float(f"{error:.3g}") for z, error in zip(middles, largest, strict=True)}
