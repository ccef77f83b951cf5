"""The named faults of an audit: engines that are right but for one thing, planted where real bugs sit."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import jax.numpy as jnp
import numpy as np

from chainback.engines.engine import Gradient
from chainback.engines.networks import Array
from chainback.engines.registry import Engine
from chainback.studies import faulty_gradients as faulty

__all__ = ["EVERYWHERE", "FAULTS", "Fault"]

#: The families on which an audit looks for a fault, unless the fault names others.
EVERYWHERE = ("lecture", "mixed", "alive")


@dataclass(frozen=True)
class Fault:
    """One way of being wrong.

    Attributes:
        name: In tables and files.
        what: Where a real bug of this kind sits.
        engine: An engine that has it.
        size: The relative error that it makes where it strikes; infinite where the result is none.
        ensembles: Where it can show.
        depths: Depths at which it can show.
        widths: Widths at which it can show.
        cases: How many times an audit's cases it takes to meet it.
    """

    name: str
    what: str
    engine: Engine | Callable[..., Any]
    size: float
    ensembles: tuple[str, ...] = EVERYWHERE
    depths: tuple[int, ...] = (8,)
    widths: tuple[int, ...] = (1,)
    cases: int = 1


def _fault(name: str, what: str, gradient: Gradient, size: float = 1.0, **where: Any) -> Fault:
    return Fault(name, what, Engine(f"fault:{name}", gradient), size, **where)


def _wide(width: int) -> dict[str, Any]:
    return {"ensembles": ("wide",), "depths": (4,), "widths": (width,)}


_LECTURE: dict[str, Any] = {"ensembles": ("lecture",)}
_KINKS: dict[str, Any] = {"ensembles": ("kinks",), "depths": (4,)}


def _first(array: Array) -> Any:
    """Return the layer that every path to the loss passes last, to be updated."""
    return array.at[0]


def _of_layers() -> Iterator[Fault]:
    """Yield faults in which gradients of layers are lost, doubled or exchanged."""
    in_result, in_system = faulty.in_result, faulty.in_system
    flipped = faulty.in_slopes(lambda d, z, _: _first(d).multiply(-1.0))
    yield _fault("sign-flip", "the slope of the first layer", flipped, 2.0)
    dropped = in_result(lambda w, b: (w, _first(b).set(0.0)))
    yield _fault("dropped-layer", "the gradient of the first layer is 0", dropped)
    doubled = in_result(lambda w, b: (_first(w).multiply(2.0), b))
    yield _fault("doubled-layer", "the first layer counts twice", doubled)
    halved = in_result(lambda w, b: (w.at[: len(w) // 2].set(0.0), b.at[: len(b) // 2].set(0.0)))
    yield _fault("first-half-missing", "the gradient of the first half of the layers is 0", halved)
    swapped = in_result(lambda w, b: (w, b[jnp.array([1, 0, *range(2, 8)])]))
    yield _fault("swapped-layers", "layers 1 and 2 exchanged", swapped)
    shifted = in_result(lambda w, b: (jnp.roll(w, 1, axis=0), b))
    yield _fault("shifted-layers", "every layer gets its neighbour's", shifted)
    transposed = in_system(lambda s: replace(s, couplings=jnp.swapaxes(s.couplings, 1, 2)))
    yield _fault("transposed-coupling", "C in place of its transpose on the way back", transposed, **_wide(3))
    lower = in_system(lambda s: replace(s, couplings=jnp.roll(s.couplings, 1, axis=0)))
    yield _fault("off-by-one-subdiagonal", "each coupling one block too low", lower)
    stale = faulty.stale_residual
    yield _fault("stale-residual", "the loss is taken one layer early", stale, ensembles=("lecture", "alive"))
    exchanged = in_result(lambda w, b: (jnp.broadcast_to(b[:, :, None], w.shape), w.sum(axis=2)))
    yield _fault("exchanged-gradients", "weights and biases exchange their gradients", exchanged)


def _of_derivatives() -> Iterator[Fault]:
    """Yield faults in derivative rules: at another point, at a kink, off by a factor."""
    yield _fault("slope-at-the-state", "h' is taken at x instead of at z", faulty.slope_at_the_state)
    one = faulty.relu_slope(lambda z, d: jnp.where(z == 0.0, 1.0, d))
    yield _fault("relu-slope-1-at-0", "ReLU'(0) = 1", one, **_KINKS)
    half = faulty.relu_slope(lambda z, d: jnp.where(z == 0.0, 0.5, d))
    yield _fault("relu-slope-half-at-0", "ReLU'(0) = 1/2", half, 0.5, **_KINKS)
    signed = faulty.relu_slope(lambda z, d: jnp.where(jnp.signbit(z), 0.0, 1.0))
    yield _fault("negative-zero", "ReLU asks for the sign bit of z, and takes +0 for positive", signed, **_KINKS)
    for rule in ("jvp", "vjp"):
        wrong = faulty.wrong_rule(rule, 1 + 2.0**-12)
        yield _fault(f"wrong-{rule}-rule", f"a custom_{rule} off by 2^-12", wrong, 2.0**-12, **_LECTURE)


def _of_arithmetic() -> Iterator[Fault]:
    """Yield faults of precision and range, and faults that strike under a condition only."""
    yield _fault("tf32-products", "products of 11 bits", faulty.short_products(11), 2.0**-11, **_wide(4))
    yield _fault("bfloat16-products", "products of 8 bits", faulty.short_products(8), 2.0**-8, **_wide(4))
    flushed = faulty.in_result(lambda w, b: (w, jnp.where(jnp.abs(b) < 1e-20, 0.0, b)))
    tiny: dict[str, Any] = {"ensembles": ("lecture", "tiny"), "depths": (24,)}
    yield _fault("small-gradients-flushed", "gradients below 1e-20 become 0", flushed, **tiny)
    saturated = faulty.where_argument(lambda z: z < -20.0, 1 + 2.0**-10)
    where: dict[str, Any] = {"ensembles": ("saturated",), "depths": (2,)}
    yield _fault("wrong-in-saturation", "slopes off by 2^-10 where z < -20", saturated, 2.0**-10, **where)
    near = faulty.where_argument(lambda z: jnp.abs(z) < 0.0625, 1 + 2.0**-12)
    yield _fault("wrong-near-zero", "slopes off by 2^-12 where |z| < 1/16", near, 2.0**-12)
    beyond = faulty.in_slopes(lambda d, z, _: d.at[17:].multiply(1 + 2.0**-10))
    yield _fault("wrong-beyond-layer-17", "slopes off by 2^-10 beyond layer 17", beyond, 2.0**-10, depths=(24,))
    mean = faulty.in_result(lambda w, b: (w / w.shape[-1], b / w.shape[-1]))
    yield _fault("mean-for-sum", "the loss averages over outputs", mean, 0.75, **_wide(4))
    rare = faulty.one_in_a_thousand
    yield _fault("one-case-in-a-thousand", "off by 1e-3, rarely", rare, 1e-3, **_LECTURE, cases=10)


def _of_results() -> Iterator[Fault]:
    """Yield faults in what is returned: bits that change, NaN, a wrong dtype or shape, nothing."""

    def written(array: np.ndarray, value: float) -> np.ndarray:
        array[0, 0] = value
        return array

    behind = faulty.behind
    yield Fault("unsteady", "another last bit on every other call", faulty.Unsteady(), 2.0**-23, **_LECTURE)
    yield Fault("nan", "one component is NaN", behind(lambda w, b: (w, written(b, np.nan))), np.inf)
    yield Fault("infinity", "one component is infinite", behind(lambda w, b: (w, written(b, np.inf))), np.inf)
    yield Fault("wrong-dtype", "float64 in place of float32", behind(lambda w, b: (w.astype(float), b)), np.inf)
    yield Fault("wrong-shape", "a layer is missing", behind(lambda w, b: (w[:, 1:], b[:, 1:])), np.inf)
    yield Fault("empty", "an answer without cases", behind(lambda w, b: (w[:0], b[:0])), np.inf)
    yield Fault("nothing", "no answer at all", behind(lambda w, b: None), np.inf)


#: Every named fault of an audit.
FAULTS: dict[str, Fault] = {
    fault.name: fault for faults in (_of_layers, _of_derivatives, _of_arithmetic, _of_results) for fault in faults()
}
