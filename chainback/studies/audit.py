"""The gate put to the test: named faults, planted in engines where real bugs sit, and what the gate catches.

Each fault is an engine that is right but for one thing. An audit runs all of them through the same `verify` as any other
engine; the honest engines must stay accepted beside them.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from statistics import NormalDist
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
from jax import lax
from rich.box import SIMPLE_HEAD
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from chainback.engines.closed_forms import value_and_slope
from chainback.engines.engine import Gradient
from chainback.engines.networks import Activations, Array, activate, codes, loss
from chainback.engines.registry import ENGINES, Engine
from chainback.engines.triangular import ExtendedJacobian, linearise
from chainback.judging.judgement import Verdict, judge
from chainback.judging.measurement import Measured, Units
from chainback.judging.statistics import FALSE_ALARM
from chainback.judging.tally import RowKey, Tally
from chainback.operations.activations import ACTIVATIONS
from chainback.problems.ensembles import draw, draw_unpadded
from chainback.reporting.report import SCHEMA, Report, writable_folder, write_csv
from chainback.running.campaign import Progress, verify
from chainback.truth.chain_bound import envelope

__all__ = ["FAULTS", "Audit", "Fault", "audit", "detection_limits", "visible_biases"]

Pair = tuple[Array, Array]
#: What an audit writes.
AUDIT_FILES = ("audit.csv", "detection.csv", "bias.csv")
_BIAS_BATCH = 5000
_OF_THE_HONEST = ("margin_mean", "margin_mean_se", "error_u_mean", "error_u_mean_se", "error_u_rms", "bound_u_p50")
_RIGHT = ENGINES["triangular-substitution"].gradient
#: The families on which an audit looks for a fault, unless the fault names others.
_EVERYWHERE = ("lecture", "mixed", "alive")


@dataclass(frozen=True)
class Fault:
    """One way of being wrong.

    Attributes:
        name: In tables and files.
        what: Where a real bug of this kind sits.
        engine: An engine that has it.
        size: The relative error that it makes where it strikes; infinite where the answer is none.
        ensembles: Where it can show.
        depths: Depths at which it can show.
        widths: Widths at which it can show.
        cases: How many times an audit's cases it takes to meet it.
    """

    name: str
    what: str
    engine: Engine | Callable[..., Any]
    size: float
    ensembles: tuple[str, ...] = _EVERYWHERE
    depths: tuple[int, ...] = (8,)
    widths: tuple[int, ...] = (1,)
    cases: int = 1


def _solved(system: ExtendedJacobian, residual: Array) -> Pair:
    """Back substitution on whatever system and residual a fault leaves."""
    seed = jnp.zeros_like(system.slopes).at[-1].set(residual)
    dbiases = system.slopes * system.solve_transposed(seed[:, :, None])[:, :, 0]
    return dbiases[:, :, None] * system.states[:-1, None, :], dbiases


def _in_system(change: Callable[[ExtendedJacobian, Array], ExtendedJacobian]) -> Gradient:
    """Plant a fault in the linearisation: `change` maps (system, weights) to the faulty system."""

    def gradient(weights: Array, biases: Array, activations: Activations, x: Array, y: Array) -> Pair:
        system = linearise(weights, biases, activations, x)
        return _solved(change(system, weights), system.states[-1] - y)

    return gradient


def _with_slopes(change: Callable[[Array], Array]) -> Gradient:
    """Plant a fault in the slopes; the couplings follow."""

    def changed(system: ExtendedJacobian, weights: Array) -> ExtendedJacobian:
        slopes = change(system.slopes)
        return replace(system, slopes=slopes, couplings=slopes[:, :, None] * weights)

    return _in_system(changed)


def _in_answer(change: Callable[[Array, Array], Any]) -> Gradient:
    """Plant a fault behind the right answer."""

    def gradient(weights: Array, biases: Array, activations: Activations, x: Array, y: Array) -> Any:
        return change(*_RIGHT(weights, biases, activations, x, y))

    return gradient


def _slope_at_the_state(weights: Array, biases: Array, activations: Activations, x: Array, y: Array) -> Pair:
    system = linearise(weights, biases, activations, x)
    slopes = lax.map(lambda pair: value_and_slope(pair[0], pair[1])[1], (codes(activations), system.states[:-1]))
    wrong = replace(system, slopes=slopes, couplings=slopes[:, :, None] * weights)
    return _solved(wrong, system.states[-1] - y)


def _stale_residual(weights: Array, biases: Array, activations: Activations, x: Array, y: Array) -> Pair:
    system = linearise(weights, biases, activations, x)
    return _solved(system, system.states[-2] - y)


def _where_argument(wrong: Callable[[Array], Array], factor: float) -> Gradient:
    """Plant a wrong slope only where the argument is of a certain kind."""

    def gradient(weights: Array, biases: Array, activations: Activations, x: Array, y: Array) -> Pair:
        system = linearise(weights, biases, activations, x)
        arguments = jnp.einsum("lij,lj->li", weights, system.states[:-1]) + biases
        slopes = jnp.where(wrong(arguments), factor, 1.0).astype(x.dtype) * system.slopes
        changed = replace(system, slopes=slopes, couplings=slopes[:, :, None] * weights)
        return _solved(changed, system.states[-1] - y)

    return gradient


def _relu_slope(slope: Callable[[Array, Array], Array]) -> Gradient:
    """Plant another slope of ReLU: `slope` maps (arguments, right slopes) to the wrong ones."""

    def gradient(weights: Array, biases: Array, activations: Activations, x: Array, y: Array) -> Pair:
        system = linearise(weights, biases, activations, x)
        arguments = jnp.einsum("lij,lj->li", weights, system.states[:-1]) + biases
        relu = codes(activations)[:, None] == list(ACTIVATIONS).index("relu")
        slopes = jnp.where(relu, slope(arguments, system.slopes), system.slopes).astype(x.dtype)
        changed = replace(system, slopes=slopes, couplings=slopes[:, :, None] * weights)
        return _solved(changed, system.states[-1] - y)

    return gradient


def _shortened(bits: int) -> Callable[[Array], Array]:
    """Round float32 numbers to so many significant bits, as an accelerator rounds the factors of a product."""
    drop = 24 - bits

    def rounded(a: Array) -> Array:
        integer = lax.bitcast_convert_type(a, jnp.int32)
        half = jnp.int32(1 << (drop - 1)) - 1 + ((integer >> drop) & 1)
        return lax.bitcast_convert_type((integer + half) & jnp.int32(-(1 << drop)), jnp.float32)

    return rounded


def _short_products(bits: int) -> Gradient:
    """Reverse mode of a network whose matrix products round both factors."""
    short = _shortened(bits)

    @jax.custom_vjp
    def product(weight: Array, x: Array) -> Array:
        return short(weight) @ short(x)

    product.defvjp(
        lambda weight, x: (product(weight, x), (weight, x)),
        lambda kept, g: (jnp.outer(short(g), short(kept[1])), short(kept[0]).T @ short(g)),
    )

    def gradient(weights: Array, biases: Array, activations: Activations, x: Array, y: Array) -> Pair:
        def step(x: Array, layer: tuple[Array, Array, Array]) -> tuple[Array, None]:
            return activate(layer[2], product(layer[0], x) + layer[1]), None

        def predicted(w: Array, b: Array) -> Array:
            return loss(lax.scan(step, x, (w, b, codes(activations)))[0], y)

        return jax.grad(predicted, argnums=(0, 1))(weights, biases)

    return gradient


def _wrong_rule(rule: str, factor: float) -> Gradient:
    """AD of a network whose activations carry a derivative rule of their own, off by a factor."""
    if rule == "jvp":
        h = jax.custom_jvp(activate, nondiff_argnums=(0,))

        @h.defjvp
        def _(which: Any, primals: Any, tangents: Any) -> Any:
            value, slope = value_and_slope(which, primals[0])
            return value, slope * jnp.float32(factor) * tangents[0]
    else:
        h = jax.custom_vjp(activate, nondiff_argnums=(0,))
        h.defvjp(
            lambda which, z: value_and_slope(which, z),
            lambda which, slope, g: (slope * jnp.float32(factor) * g,),
        )

    def gradient(weights: Array, biases: Array, activations: Activations, x: Array, y: Array) -> Pair:
        def step(x: Array, layer: tuple[Array, Array, Array]) -> tuple[Array, None]:
            z = layer[0] @ x + layer[1]
            branches = [lambda z, name=name: h(name, z) for name in ACTIVATIONS]
            return lax.switch(layer[2], branches, z), None

        def predicted(w: Array, b: Array) -> Array:
            return loss(lax.scan(step, x, (w, b, codes(activations)))[0], y)

        return jax.grad(predicted, argnums=(0, 1))(weights, biases)

    return gradient


def _behind(change: Callable[[Array, Array], Any]) -> Callable[..., Any]:
    """Plant a fault in what an engine hands over: `change` gets writable NumPy arrays with a batch axis."""
    honest = ENGINES["reverse-scan"]

    def gradients(*arguments: Any) -> Any:
        dweights, dbiases = (np.array(part) for part in honest(*arguments))
        return change(dweights, dbiases)

    return gradients


class _Unsteady:
    """Other bits on every other call, as an unordered reduction gives."""

    def __init__(self) -> None:
        self._calls = 0

    def __call__(self, *arguments: Any) -> Any:
        self._calls += 1
        dweights, dbiases = (np.array(part) for part in ENGINES["reverse-scan"](*arguments))
        return dweights, np.nextafter(dbiases, np.float32(np.inf)) if self._calls % 2 else dbiases


def _one_in_a_thousand(weights: Array, biases: Array, activations: Activations, x: Array, y: Array) -> Pair:
    dweights, dbiases = _RIGHT(weights, biases, activations, x, y)
    chosen = lax.bitcast_convert_type(y[0], jnp.int32) % 1000 == 0
    return dweights, dbiases * jnp.where(chosen, jnp.float32(1.001), jnp.float32(1.0))


def _written(array: Array, value: float) -> Array:
    array[0, 0] = value
    return array


def _faults() -> Iterable[Fault]:
    def planted(name: str, what: str, gradient: Gradient, size: float = 1.0, **where: Any) -> Fault:
        return Fault(name, what, Engine(f"fault:{name}", gradient), size, **where)

    def first(array: Array) -> Any:
        """The layer that every path to the loss passes last, to be updated."""
        return array.at[0]

    yield planted(
        "sign-flip", "the slope of the first layer", _with_slopes(lambda d: first(d).multiply(-1.0)), size=2.0
    )
    yield planted(
        "dropped-layer", "the gradient of the first layer is 0", _in_answer(lambda w, b: (w, first(b).set(0.0)))
    )
    yield planted("doubled-layer", "the first layer counts twice", _in_answer(lambda w, b: (first(w).multiply(2.0), b)))
    yield planted(
        "first-half-missing",
        "the gradient of the first half of the layers is 0",
        _in_answer(lambda w, b: (w.at[: len(w) // 2].set(0.0), b.at[: len(b) // 2].set(0.0))),
    )
    yield planted(
        "swapped-layers", "layers 1 and 2 exchanged", _in_answer(lambda w, b: (w, b[jnp.array([1, 0, *range(2, 8)])]))
    )
    yield planted(
        "shifted-layers", "every layer gets its neighbour's", _in_answer(lambda w, b: (jnp.roll(w, 1, axis=0), b))
    )
    yield planted(
        "transposed-coupling",
        "C in place of its transpose on the way back",
        _in_system(lambda s, w: replace(s, couplings=jnp.swapaxes(s.couplings, 1, 2))),
        ensembles=("wide",),
        depths=(4,),
        widths=(3,),
    )
    yield planted(
        "off-by-one-subdiagonal",
        "each coupling one block too low",
        _in_system(lambda s, w: replace(s, couplings=jnp.roll(s.couplings, 1, axis=0))),
    )
    yield planted(
        "stale-residual", "the loss is taken one layer early", _stale_residual, ensembles=("lecture", "alive")
    )
    yield planted(
        "exchanged-gradients",
        "weights and biases exchange their gradients",
        _in_answer(lambda w, b: (jnp.broadcast_to(b[:, :, None], w.shape), w.sum(axis=2))),
    )
    yield planted("slope-at-the-state", "h' is taken at x instead of at z", _slope_at_the_state)
    kinks: Any = {"ensembles": ("kinks",), "depths": (4,)}
    yield planted("relu-slope-1-at-0", "ReLU'(0) = 1", _relu_slope(lambda z, d: jnp.where(z == 0.0, 1.0, d)), **kinks)
    yield planted(
        "relu-slope-half-at-0",
        "ReLU'(0) = 1/2",
        _relu_slope(lambda z, d: jnp.where(z == 0.0, 0.5, d)),
        **kinks,
        size=0.5,
    )
    yield planted(
        "negative-zero",
        "ReLU asks for the sign bit of z, and takes +0 for positive",
        _relu_slope(lambda z, d: jnp.where(jnp.signbit(z), 0.0, 1.0)),
        **kinks,
    )
    yield planted(
        "wrong-jvp-rule",
        "a custom_jvp off by 2^-12",
        _wrong_rule("jvp", 1 + 2.0**-12),
        ensembles=("lecture",),
        size=2.0**-12,
    )
    yield planted(
        "wrong-vjp-rule",
        "a custom_vjp off by 2^-12",
        _wrong_rule("vjp", 1 + 2.0**-12),
        ensembles=("lecture",),
        size=2.0**-12,
    )
    yield planted(
        "tf32-products",
        "products of 11 bits",
        _short_products(11),
        ensembles=("wide",),
        depths=(4,),
        widths=(4,),
        size=2.0**-11,
    )
    yield planted(
        "bfloat16-products",
        "products of 8 bits",
        _short_products(8),
        ensembles=("wide",),
        depths=(4,),
        widths=(4,),
        size=2.0**-8,
    )
    yield planted(
        "small-gradients-flushed",
        "gradients below 1e-20 become 0",
        _in_answer(lambda w, b: (w, jnp.where(jnp.abs(b) < 1e-20, 0.0, b))),
        ensembles=("lecture", "tiny"),
        depths=(24,),
    )
    yield planted(
        "wrong-in-saturation",
        "slopes off by 2^-10 where z < -20",
        _where_argument(lambda z: z < -20.0, 1 + 2.0**-10),
        ensembles=("saturated",),
        depths=(2,),
        size=2.0**-10,
    )
    yield planted(
        "wrong-near-zero",
        "slopes off by 2^-12 where |z| < 1/16",
        _where_argument(lambda z: jnp.abs(z) < 0.0625, 1 + 2.0**-12),
        size=2.0**-12,
    )
    yield planted(
        "wrong-beyond-layer-17",
        "slopes off by 2^-10 beyond layer 17",
        _with_slopes(lambda d: d.at[17:].multiply(1 + 2.0**-10)),
        depths=(24,),
        size=2.0**-10,
    )
    mean = _in_answer(lambda w, b: (w / w.shape[-1], b / w.shape[-1]))
    yield planted(
        "mean-for-sum", "the loss averages over outputs", mean, ensembles=("wide",), depths=(4,), widths=(4,), size=0.75
    )
    yield planted(
        "one-case-in-a-thousand", "off by 1e-3, rarely", _one_in_a_thousand, ensembles=("lecture",), cases=10, size=1e-3
    )
    yield Fault("unsteady", "another last bit on every other call", _Unsteady(), 2.0**-23, ensembles=("lecture",))
    yield Fault("nan", "one component is NaN", _behind(lambda w, b: (w, _written(b, np.nan))), np.inf)
    yield Fault("infinity", "one component is infinite", _behind(lambda w, b: (w, _written(b, np.inf))), np.inf)
    yield Fault("wrong-dtype", "float64 in place of float32", _behind(lambda w, b: (w.astype(float), b)), np.inf)
    yield Fault("wrong-shape", "a layer is missing", _behind(lambda w, b: (w[:, 1:], b[:, 1:])), np.inf)
    yield Fault("empty", "an answer without cases", _behind(lambda w, b: (w[:0], b[:0])), np.inf)
    yield Fault("nothing", "no answer at all", _behind(lambda w, b: None), np.inf)


#: Every named fault of an audit.
FAULTS: dict[str, Fault] = {fault.name: fault for fault in _faults()}


@dataclass(frozen=True)
class Audit:
    """What the gate caught.

    Attributes:
        faults: A row for each fault: name, what it is, caught or escaped, share of cases rejected, first rejection.
        limits: The detection limit: for each family and depth the smallest relative fault in one slope that was caught.
        biases: The smallest mean error that stands out from chance, far below the bound of any one component.
        honest: Verdict of the honest engines on the same cases.
    """

    faults: pd.DataFrame
    limits: pd.DataFrame
    biases: pd.DataFrame
    honest: Report

    @property
    def escaped(self) -> tuple[str, ...]:
        """The faults that were not caught."""
        return tuple(row["fault"] for row in self.faults.to_dict("records") if row["verdict"] != "caught")

    @property
    def exit_code(self) -> int:
        """0 if every fault was caught and every honest engine accepted; 4 if a fault escaped, 1 if an honest one fell."""
        return 4 if self.escaped else self.honest.exit_code

    def __rich__(self) -> RenderableType:
        table = Table(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
        for column in ("fault", "planted in", "size", "cases rejected", ""):
            table.add_column(column, justify="right" if column in ("size", "cases rejected") else "left")
        for row in self.faults.to_dict("records"):
            word = Text("caught", style="green") if row["verdict"] == "caught" else Text("ESCAPED", style="bold red")
            size = "–" if np.isinf(row["size"]) else f"{row['size']:.2g}"
            table.add_row(row["fault"], row["what"], size, f"{row['share_rejected']:.1%}", word)
        limits = Table(title="Smallest relative fault in one slope that was caught", box=SIMPLE_HEAD, pad_edge=False)
        for column in ("ensemble", "depth", "limit", "in u", "cases"):
            limits.add_column(column, justify="left" if column == "ensemble" else "right")
        for row in self.limits.to_dict("records"):
            limit, share = f"2^{row['log2']}", f"{row['share']:.1%}"
            limits.add_row(row["ensemble"], str(row["depth"]), limit, f"{row['limit_u']:,.0f}", share)
        honest = Text(
            f"honest engines: {self.honest.verdict}; {len(self.faults) - len(self.escaped)} of {len(self.faults)} caught"
        )
        biases = Table(
            title=f"Smallest bias that shows in the mean (false alarm {FALSE_ALARM:.0e})",
            box=SIMPLE_HEAD,
            pad_edge=False,
        )
        for column in ("ensemble", "depth", "cases", "bias, u", "one ulp in", "median bound, u"):
            biases.add_column(column, justify="left" if column == "ensemble" else "right")
        for row in self.biases.to_dict("records"):
            found = f"{row['bias_u']:.3f}", f"{row['one_in']:,}", f"{row['bound_u_p50']:,.0f}"
            biases.add_row(row["ensemble"], str(row["depth"]), f"{row['cases']:,}", *found)
        return Group(table, limits, biases, honest)

    def write(self, folder: str | os.PathLike[str]) -> None:
        """Write `audit.csv`, `detection.csv` and `bias.csv` to a folder.

        Raises:
            UsageError: The folder cannot be written.
        """
        target = writable_folder(folder, AUDIT_FILES)
        write_csv(self.faults, target / "audit.csv")
        write_csv(self.limits, target / "detection.csv")
        write_csv(self.biases, target / "bias.csv")

    def print(self, console: Console | None = None) -> None:
        """Print both tables and the verdict."""
        (console or Console()).print(self)


def audit(
    *,
    cases: int = 1000,
    seed: int = 0,
    platform: str | None = None,
    output: str | os.PathLike[str] | None = None,
    progress: Progress | None = None,
) -> Audit:
    """Plant every fault, run the gate on each, and see what it catches; then find how small a fault it still sees.

    Args:
        cases: How many chains each faulty engine is given.
        seed: Decides which.
        platform: As for `verify`.
        output: Folder for `audit.csv`, `detection.csv` and `bias.csv`; found to be writable before the audit starts.
        progress: Called as the audit goes on.

    Returns:
        What was caught, the detection limits, the smallest visible biases, and the report on the honest engines.

    Raises:
        UsageError: As `verify` does.
    """
    tell = progress or (lambda done, total, what: None)
    if output is not None:
        writable_folder(output, AUDIT_FILES)
    rows = []
    for done, fault in enumerate(FAULTS.values()):
        tell(done, len(FAULTS), fault.name)
        report = verify(
            engines=[fault.engine],
            ensembles=fault.ensembles,
            cases=cases * fault.cases,
            seed=seed,
            depths=fault.depths,
            widths=fault.widths,
            platform=platform,
            activations=False,
            samples=False,
        )
        table = report.tolerance
        rows.append(
            {
                "schema": SCHEMA,
                "fault": fault.name,
                "what": fault.what,
                "size": fault.size,
                "verdict": "caught" if report.verdict is Verdict.REJECTED else "escaped",
                "share_rejected": float(sum(table["rejected"]) / sum(table["cases"])),
                "first": str(report.rejections[0]) if report.rejections else "",
            }
        )
    tell(len(FAULTS), len(FAULTS), "honest engines")
    honest = verify(cases=cases, seed=seed, depths=(8,), platform=platform, activations=False, samples=False)
    tell(len(FAULTS), len(FAULTS), "biases")
    biases = visible_biases(seed=seed, cases=100 * cases)
    found = Audit(pd.DataFrame(rows), detection_limits(seed=seed, rows=cases), biases, honest)
    if output is not None:
        found.write(output)
    return found


def detection_limits(
    *, ensembles: Sequence[str] = _EVERYWHERE, depths: Sequence[int] = (1, 8, 32), seed: int = 0, rows: int = 1000
) -> pd.DataFrame:
    """Return the smallest 2^-k by which one slope may be off before the gate sees it.

    Args:
        ensembles: Families to look at.
        depths: Depths to look at; the chains are as deep, without padding.
        seed: Decides the chains.
        rows: How many chains of each family and depth.

    Returns:
        Rows (ensemble, depth, log2, limit_u, share): the exponent, the same in units of u, and the share of the chains on
        which a fault of that size was caught.
    """

    def scaled(weights: Array, biases: Array, which: Array, x: Array, y: Array, factor: Array) -> Pair:
        system = linearise(weights, biases, which, x)
        slopes = system.slopes.at[0].multiply(factor)
        wrong = replace(system, slopes=slopes, couplings=slopes[:, :, None] * weights)
        return _solved(wrong, system.states[-1] - y)

    program = jax.jit(jax.vmap(scaled, in_axes=(0, 0, None, 0, 0, None)))
    found = []
    for name in ensembles:
        for depth in depths:
            (case,) = draw_unpadded(name, seed=seed, depth=depth, width=1, rows=rows)
            bounds = envelope(case)
            chain, least, share = case.chain, 0, 0.0
            for k in range(1, 24):
                factor = np.float32(1 + 2.0**-k)
                gradients = program(
                    chain.weights, chain.biases, codes(chain.activations), case.inputs, case.targets, factor
                )
                rejected = judge(case, gradients, within=bounds).rejected_cases.mean()
                if rejected > 0:
                    least, share = k, float(rejected)
            limit = {"log2": -least, "limit_u": 2.0 ** (24 - least), "share": share}
            found.append({"schema": SCHEMA, "ensemble": name, "depth": depth, **limit})
    return pd.DataFrame(found)


def visible_biases(
    *, ensembles: Sequence[str] = _EVERYWHERE, depth: int = 8, seed: int = 0, cases: int = 100_000
) -> pd.DataFrame:
    """Return the smallest bias that stands out from chance in the mean error of so many cases.

    One in 2ʲ components is moved away from zero by one ulp, which no bound can see. It shows where the means of the moved
    and of the unmoved answers, taken as two independent runs, differ by more than chance allows with probability
    `FALSE_ALARM`. The mean is that of the signed margin, error / bound: it lies within ±1, so that no single case sways it
    as it would a mean of relative errors.

    Args:
        ensembles: Families to look at.
        depth: Of their chains.
        seed: Decides the chains.
        cases: How many of each family.

    Returns:
        Rows (ensemble, depth, cases, one_in, bias_u, …): the rarest ulp that shows, and the bias in the mean error that it
        makes; then the columns of `tolerance.csv` for the unmoved answers, signed means and median bound.
    """
    engine, least = ENGINES["reverse-scan"], NormalDist().inv_cdf(1.0 - FALSE_ALARM / 2.0)
    found = []
    for name in ensembles:
        key = RowKey(engine.name, "batched", name, depth, 1)
        honest, moved = Tally(key), {2**j: Tally(key) for j in range(16)}
        for batch, start in enumerate(range(0, cases, _BIAS_BATCH)):
            rows = min(_BIAS_BATCH, cases - start)
            case = draw(name, seed=seed, depth=depth, width=1, batch=batch, rows=_BIAS_BATCH)
            bounds = envelope(case)
            units, chain = Units(bounds, rows), case.chain
            answer = engine(chain.weights, chain.biases, chain.activations, case.inputs, case.targets)
            right = judge(case, answer, within=bounds)
            honest.add(Measured(right, case.ids, units))
            away = np.nextafter(right.got, np.copysign(np.float32(np.inf), right.got))
            place = np.random.default_rng([seed, batch]).permuted(np.arange(right.got.size)).reshape(right.got.shape)
            for one_in, tally in moved.items():
                got = np.where(place % one_in == 0, away, right.got)
                off = replace(right, got=got, deviation=got - bounds.reference)
                tally.add(Measured(off, case.ids, units))
        visible = {"one_in": 0, "bias_u": float("inf")}
        for one_in, tally in moved.items():
            rise = tally.mean_margin.mean - honest.mean_margin.mean
            if rise > least * np.hypot(tally.mean_margin.standard_error, honest.mean_margin.standard_error):
                visible = {"one_in": one_in, "bias_u": tally.mean_error.mean - honest.mean_error.mean}
        row = {"schema": SCHEMA, "ensemble": name, "depth": depth, "cases": cases} | visible
        found.append(row | {column: honest.row()[column] for column in _OF_THE_HONEST})
    return pd.DataFrame(found)
