"""The lecture from which chainback grew, start to end, beside the figures that it prints.

Its subject is a chain of width 1: sigmoid layers, an identity layer at the end, the loss ½(y − ŷ)². It writes the
derivatives of all layers as (I − L) dx = D dp, solves that triangular system, and trains by what comes out.

The right form of what it misprints (its code has it right, and so has this module):

* D holds δ_i x_i and δ_i; printed is δ_i w_i in the place of the first.
* L holds δ_i w_i; printed is w_i.
* The total differential of a layer ends in db_i; printed is b_i.
* dL/dŷ is ŷ − y; printed is its negative.
* The composition's second affine map is l_{N−1}; printed is l_1 once more.
* Its text speaks of 300 epochs in Example 1; its code runs 500. Its loop splits a key that it then does not use, so that
  every epoch visits the points in the same order.

When two figures agree: both are right answers of float32 arithmetic, so each lies within the bound that `bounds` derives
for it, and |ours − printed| <= 2 × bound + half a unit of the last printed place. What is the same digit for digit is
marked so besides. After 100,000 updates no useful bound is left; those figures are printed to 4 or 5 decimals, and agree
within one unit of the last of them: half of it for the printing, half for the drift by rounding alone, which came to a
quarter of a unit at most (eight engines, JAX 0.4.30, 0.10.2 and 0.12, both random streams, on CPUs).

Source: QuantEcon, *Introduction to Artificial Neural Networks*, whose triangular form is credited there to A. Edelman.
"""

from __future__ import annotations

import functools
import math
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
from jax import random
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from chainback import engines, oracle
from chainback.bounds import Envelope, envelope
from chainback.case import Case, Chain
from chainback.device import arithmetic_of, device_of
from chainback.engines import ENGINES
from chainback.engines.triangular import ExtendedJacobian, extended_jacobian
from chainback.errors import UsageError
from chainback.judgement import judge
from chainback.programs import function, loss, unrolled
from chainback.report import writable_folder, write_csv
from chainback.rounding import FLOAT32, gamma
from chainback.training import Training, initialise, predictions, train

__all__ = ["FILES", "PRINTED", "STREAMS", "Lecture", "Row", "example_one_timing", "lecture"]

Array = Any
Progress = Callable[[int, int, str], None]

#: What a run writes.
FILES = ("lecture.csv", "drift.csv", "depth.csv", "layers.csv", "approximations.csv")
#: JAX's two random streams, by the release that changed the default, and their `jax_threefry_partitionable`.
STREAMS = {"since 0.5": True, "before 0.5": False}
#: What the figures are, by random stream. Of the older stream only the first entry of δ∘x is the lecture's own; the others
#: were computed by this module under JAX 0.4.30, 0.10.2 and 0.12, which agreed in every digit that stands here.
PRINTED: dict[str, dict[str, tuple[str, ...]]] = {
    "since 0.5": {
        "δ∘x": ("1.0165801", "0.06087969", "0.09382247"),
        "δ": ("0.20331602", "0.08501981", "1.0"),
        "jacfwd − solve": ("0.0",),
        "reverse − solve": ("5.9604645e-08",),
        "update, triangular: w": ("-0.00826643", "-2.0638916", "1.6248171"),
        "update, triangular: b": ("0.94700736", "-0.7872697", "1.5765371"),
        "update, reverse: w": ("-0.00826644", "-2.0638916", "1.6248171"),
        "update, reverse: b": ("0.94700736", "-0.7872697", "1.5765371"),
        "Example 1: w": ("-0.7773", "-6.3812", "-11.3325"),
        "Example 1: b": ("1.1702", "2.8372", "2.1674"),
        "Example 1: largest error": ("0.3326",),
        "Example 1: mean squared error": ("0.02357",),
    },
    "before 0.5": {
        "δ∘x": ("8.5726520e-03", "4.0850646e-04", "6.1021698e-01"),
        "δ": ("0.00171453", "0.23785222", "1.0"),
        "jacfwd − solve": ("0.0",),
        "reverse − solve": ("1.4901161e-08",),
        "update, triangular: w": ("-1.3489482", "-0.00782906", "0.22937916"),
        "update, triangular: b": ("0.37956238", "0.44972023", "-0.04793657"),
        "update, reverse: w": ("-1.3489482", "-0.00782906", "0.22937916"),
        "update, reverse: b": ("0.37956238", "0.44972023", "-0.04793657"),
        "Example 1: w": ("-0.7574", "-6.3834", "-11.2941"),
        "Example 1: b": ("1.1322", "2.7973", "2.1634"),
        "Example 1: largest error": ("0.3839",),
        "Example 1: mean squared error": ("0.01681",),
    },
}
#: The lecture's own solver; the one that takes any depth; and the engine that is quickest at the lecture's depths.
_ITS_ENGINE, _QUICK, _FASTEST = "triangular-dense", "triangular-substitution", "reverse-unrolled"
_STEP, _EPOCHS, _POINTS = 0.01, 500, 200
_DEPTHS = (*range(1, 11), 20)
_STEPS = (0.001, 0.01, 0.1, 1.0)


@dataclass(frozen=True)
class Row:
    """One figure of the lecture beside ours.

    Attributes:
        what: Which figure.
        printed: As it is printed; empty where the lecture claims something but prints no figure.
        ours: As computed now.
        agrees: Whether the two agree.
        same: Whether every printed digit is the same.
        allowed: By how much the figures may differ, and still agree; the largest of several.
    """

    what: str
    printed: tuple[str, ...]
    ours: tuple[float, ...]
    agrees: bool
    same: bool
    allowed: float


@dataclass(frozen=True)
class Timing:
    """How long Example 1 takes, measured side by side.

    Attributes:
        loop_updates: Updates that were run in the lecture's way: a Python loop around one jitted update.
        loop_s: Seconds that these took, warm.
        program_s: Seconds that all updates took as one program, warm: the quickest of five runs.
        updates: How many these are.
    """

    loop_updates: int
    loop_s: float
    program_s: float
    updates: int

    @property
    def ratio(self) -> float:
        """How many times faster the one program is, for each update."""
        return (self.loop_s / self.loop_updates) / (self.program_s / self.updates)


@dataclass(frozen=True, eq=False)
class Lecture:
    """What the lecture comes to on this JAX and device.

    Attributes:
        jax: JAX's version.
        platform: Where it ran.
        stream: The random stream, one of `STREAMS`.
        rows: Every figure, and whether it agrees.
        drift: How far each engine's parameters were from those of float64, in the largest component, after each epoch of
            Example 1: engine, updates, distance.
        depth: Depth and step size against the final mean squared error on Example 1's problem, and where it stopped.
        layers: Depth and layer against the norm of the gradient in that layer at the start, root mean square over points.
        approximations: The examples' targets and predictions at every point.
        timing: How long Example 1 took.
        seconds: How long everything took, compilation included.
    """

    jax: str
    platform: str
    stream: str
    rows: tuple[Row, ...]
    drift: pd.DataFrame
    depth: pd.DataFrame
    layers: pd.DataFrame
    approximations: pd.DataFrame
    timing: Timing
    seconds: float

    @property
    def agrees(self) -> bool:
        """Whether every figure agrees."""
        return bool(self.rows) and all(row.agrees for row in self.rows)

    @property
    def exit_code(self) -> int:
        """0 where every figure agrees, else 1."""
        return 0 if self.agrees else 1

    @property
    def apart(self) -> float:
        """The largest distance between the parameters of two engines at the end of Example 1, in any component."""
        return float(self.drift.attrs["apart"])

    def to_frame(self) -> pd.DataFrame:
        """Return the figures as a table."""
        return pd.DataFrame(
            [
                {
                    "figure": row.what,
                    "printed": " ".join(row.printed),
                    "ours": " ".join(_shown(number) for number in row.ours),
                    "agrees": row.agrees,
                    "same_digits": row.same,
                    "allowed": row.allowed,
                }
                for row in self.rows
            ]
        )

    def write(self, folder: str | os.PathLike[str]) -> None:
        """Write every table as CSV.

        Raises:
            UsageError: The folder cannot be written.
        """
        place = writable_folder(folder, FILES)
        tables = (self.to_frame(), self.drift, self.depth, self.layers, self.approximations)
        for name, table in zip(FILES, tables, strict=True):
            write_csv(table, place / name)

    def print(self, console: Console | None = None) -> None:
        """Print the figures, the study of depth, and the times."""
        console = console or Console()
        console.print(f"jax {self.jax}, {self.platform}, random stream {self.stream}")
        console.print(_figures(self.rows), _study(self.depth, self.layers))
        for line in self.sentences():
            console.print(line)

    def sentences(self) -> list[str]:
        """Return what the tables do not say."""
        timing, wrong = self.timing, [row.what for row in self.rows if not row.agrees]
        whole = timing.loop_s * timing.updates / timing.loop_updates
        scaled = f"{timing.loop_updates:,} updates took {timing.loop_s:.2f} s; scaled" * (whole != timing.loop_s)
        verdict = f"DISAGREES in {len(wrong)} of {len(self.rows)}: {'; '.join(wrong)}"
        return [
            f"Rounding alone: after {timing.updates:,} updates the engines' parameters are at most {self.apart:.2g} apart, "
            f"and at most {self.drift['distance'].max():.2g} from float64's at any time.",
            f"Example 1, {timing.updates:,} updates: the lecture's way {whole:.1f} s ({scaled or 'all of them'}), one "
            f"program {1e3 * timing.program_s:.1f} ms, {timing.ratio:,.0f} times faster.",
            f"{verdict if wrong else f'AGREES in all {len(self.rows)} figures'}, in {self.seconds:.1f} s",
        ]


def lecture(
    *,
    output: str | os.PathLike[str] | None = None,
    stream: str = "since 0.5",
    loop_updates: int = 10_000,
    progress: Progress | None = None,
) -> Lecture:
    """Run the lecture, on its own figures, and compare.

    Args:
        output: Folder for the tables; none are written without one.
        stream: One of `STREAMS`, whichever JAX is installed.
        loop_updates: How many updates to run in the lecture's own way, for its time; a multiple of its 200 points.
        progress: Told (parts done, parts in all, what is being done).

    Raises:
        UsageError: The stream is unknown, the updates are no multiple of 200, or the folder cannot be written.
    """
    if stream not in STREAMS:
        raise UsageError(f"`stream` must be one of {', '.join(STREAMS)}, got {stream!r}")
    if not 0 < loop_updates <= _EPOCHS * _POINTS or loop_updates % _POINTS:
        raise UsageError(
            f"`loop_updates` must be a multiple of {_POINTS} up to {_EPOCHS * _POINTS}, got {loop_updates!r}"
        )
    if output is not None:
        writable_folder(output, FILES)
    started, say = time.perf_counter(), progress or (lambda done, total, what: None)
    parts = len(ENGINES) + len(_DEPTHS) + 2
    say(0, parts, "the check")
    rows, runs = _check(stream), {}
    for name in ENGINES:
        say(len(runs), parts, f"Example 1 by {name}")
        runs[name] = _first_example(stream, name)
    say(len(runs), parts, "the lecture's own loop")
    timing, looped = example_one_timing(stream, loop_updates)
    rows += [*_example_rows(stream, runs), _loop_row(looped, runs[_ITS_ENGINE], loop_updates)]
    depth, layers = _depth_study(stream, lambda done, what: say(len(runs) + 1 + done, parts, what))
    rows.append(_one_layer_is_best(depth))
    found, second = _approximations(stream, runs[_QUICK].chain)
    drift = _drift(stream, runs)
    other = next(name for name in STREAMS if name != stream)
    rows += second + [replace(row, what=f"{row.what} ({other})") for row in _check(other)]
    seconds = time.perf_counter() - started
    platform = device_of(None).platform
    lectured = Lecture(jax.__version__, platform, stream, tuple(rows), drift, depth, layers, found, timing, seconds)
    if output is not None:
        lectured.write(output)
    return lectured


def _drawn(stream: str, seed: int, depth: int) -> Chain:
    """Draw the lecture's chain. Only the draws know the stream: under another setting JAX would compile all else anew."""
    with jax.threefry_partitionable(STREAMS[stream]):
        return initialise(random.PRNGKey(seed), [1] * (depth + 1))


def _order(stream: str) -> np.ndarray:
    """Return the lecture's order of the points, the same in every epoch."""
    with jax.threefry_partitionable(STREAMS[stream]):
        return np.asarray(random.permutation(random.PRNGKey(1), _POINTS))


# The check: one chain of three layers, x = 5, y = 3.


def _check(stream: str) -> list[Row]:
    chain = _drawn(stream, 1, 3)
    x, y = jnp.array([5.0], jnp.float32), jnp.array([3.0], jnp.float32)
    case = Case(
        Chain(np.asarray(chain.weights), np.asarray(chain.biases), chain.activations), np.asarray(x), np.asarray(y)
    )
    within = envelope(case, arithmetic_of(device_of(None)))
    system = _by_derivatives_of_jax(chain, x)
    return [
        *_linearisation_rows(stream, system, within),
        _system_row(system, extended_jacobian(chain, x), within),
        *_solution_rows(stream, chain, x, y, system),
        *_update_rows(stream, chain, x, y, system, within),
        *(_engine_row(name, chain, case, within) for name in ENGINES),
    ]


def _by_derivatives_of_jax(chain: Chain, x: Array) -> ExtendedJacobian:
    """Return the system as the lecture has it: one operation after the other, slopes by `jax.grad`."""
    states, slopes = [x], []
    for weight, bias, name in zip(chain.weights, chain.biases, chain.activations, strict=True):
        z = weight @ states[-1] + bias
        states.append(function(name)(z))
        slopes.append(jax.vmap(jax.grad(function(name)))(z))
    slopes = jnp.stack(slopes)
    return ExtendedJacobian(slopes[:, :, None] * chain.weights, slopes, jnp.stack(states))


def _errors(within: Envelope) -> tuple[np.ndarray, np.ndarray]:
    """Return how far a right δ∘x, and a right δ, may be from the truth."""
    spread, truth = within.spread, within.truth
    moved, slopes, states = spread.slopes[:, 0, 0], truth.slopes[:, 0, 0], truth.states[:-1, 0, 0]
    shifted = spread.states[:-1, 0, 0]
    products = np.abs(slopes) * shifted + moved * (np.abs(states) + shifted)
    return products + FLOAT32.unit_roundoff * np.abs(slopes * states) * (1 + 1e-3), moved


def _linearisation_rows(stream: str, system: ExtendedJacobian, within: Envelope) -> list[Row]:
    products, slopes = _errors(within)
    return [
        _row(stream, "δ∘x", system.slopes * system.states[:-1], 2 * products),
        _row(stream, "δ", system.slopes, 2 * slopes),
    ]


def _system_row(system: ExtendedJacobian, ours: ExtendedJacobian, within: Envelope) -> Row:
    """Compare D and L of our closed forms with the definitions, filled with the slopes of JAX."""
    (dx, d), (products, slopes) = ((system.slopes * system.states[:-1])[:, 0], system.slopes[:, 0]), _errors(within)
    weights = np.abs(within.truth.weights[:, 0, 0, 0])
    couplings = weights * slopes + FLOAT32.unit_roundoff * weights * np.abs(np.asarray(d))
    D, L = np.zeros((3, 6)), np.zeros((3, 3))
    for i in range(3):
        D[i, 2 * i : 2 * i + 2] = dx[i], d[i]
        L[i, i - 1] = system.couplings[i, 0, 0] if i else 0.0
    got = np.concatenate([np.asarray(ours.rhs())[:, 0], np.eye(3) - np.asarray(ours.matrix())], axis=1)
    apart = np.abs(got - np.concatenate([D, L], axis=1))
    share = [apart[i, 2 * i] / (2 * products[i]) for i in range(3)]
    share += [apart[i, 2 * i + 1] / (2 * slopes[i]) if slopes[i] else float(apart[i, 2 * i + 1] > 0) for i in range(3)]
    share += [apart[i, 6 + i - 1] / (2 * couplings[i]) for i in (1, 2)]
    elsewhere = (apart[(D == 0).nonzero()[0], (D == 0).nonzero()[1]] == 0).all()
    return Row(
        "D and L as defined: distance / allowed", (), (max(share),), bool(max(share) <= 1 and elsewhere), False, 1.0
    )


def _solution_rows(stream: str, chain: Chain, x: Array, y: Array, system: ExtendedJacobian) -> list[Row]:
    """Compare the solve with both modes of AD. They multiply the same slopes, weights and states in another order.

    An entry of the Jacobian is one product of at most 2 N factors, an entry of the gradient of 2 N + 1: two right
    answers differ by 2 γ of the products in them.
    """

    def later(weights: Array, biases: Array) -> Array:
        return _by_derivatives_of_jax(Chain(weights, biases, chain.activations), x).states[1:, 0]

    def lost(weights: Array, biases: Array) -> Array:
        return loss(unrolled(weights, biases, chain.activations, x), y)

    depth = chain.depth
    solved = np.asarray(system.solve(solver="dense"))[:, 0]
    forward = _stacked(jax.jacfwd(later, argnums=(0, 1))(chain.weights, chain.biases), depth)
    reverse = _stacked(jax.grad(lost, argnums=(0, 1))(chain.weights, chain.biases), depth)
    by_solve = np.asarray(system.states[-1] - y) * solved[-1]
    rows = []
    for what, one, other, factors in (
        ("jacfwd − solve", forward, solved, 2 * depth),
        ("reverse − solve", reverse, by_solve, 2 * depth + 1),
    ):
        apart = float(np.abs(one - other).max())
        allowed = 2 * gamma(factors, FLOAT32.unit_roundoff) * float(np.abs(other).max())
        printed = PRINTED[stream][what]
        rows.append(Row(what, printed, (apart,), bool(apart <= allowed), _same(printed, [apart]), allowed))
    return rows


def _stacked(parts: Any, depth: int) -> np.ndarray:
    """Put derivatives in the order w_1, b_1, w_2, b_2, …"""
    w, b = (np.asarray(part).reshape(-1, depth) for part in parts)
    return np.stack([w, b], axis=-1).reshape(len(w), -1).squeeze()


def _update_rows(
    stream: str, chain: Chain, x: Array, y: Array, system: ExtendedJacobian, within: Envelope
) -> list[Row]:
    def lost(weights: Array, biases: Array) -> Array:
        return loss(unrolled(weights, biases, chain.activations, x), y)

    solved = ((system.states[-1] - y) * system.solve(solver="dense")[-1, 0]).reshape(-1, 2)
    found = {
        "triangular": (solved[:, 0], solved[:, 1]),
        "reverse": tuple(part.reshape(-1) for part in jax.grad(lost, argnums=(0, 1))(chain.weights, chain.biases)),
    }
    rows = []
    for name, gradients in found.items():
        bounds = (within.spread.weight_gradients, within.spread.bias_gradients)
        for letter, old, gradient, bound in zip("wb", (chain.weights, chain.biases), gradients, bounds, strict=True):
            new = old.reshape(-1) - _STEP * gradient
            rows.append(
                _row(stream, f"update, {name}: {letter}", new, 2 * _update_error(new, gradient, bound.reshape(-1)))
            )
    return rows


def _update_error(new: Array, gradient: Array, bound: np.ndarray) -> np.ndarray:
    """Return how far a right p − s g may be from the truth: the step, the product and the difference round once each."""
    u = FLOAT32.unit_roundoff
    return _STEP * bound + gamma(3, u) * (np.abs(_STEP * np.asarray(gradient)) + np.abs(np.asarray(new)))


def _engine_row(name: str, chain: Chain, case: Case, within: Envelope) -> Row:
    """Judge the gradient of one engine, and so its update, as `verify` does: error / bound, at most 1."""
    gradient = _jitted(engines.engine(name).gradient, chain.activations)
    dweights, dbiases = gradient(chain.weights, chain.biases, case.inputs, case.targets)
    found = Chain(dweights, dbiases, chain.activations)
    judged = judge(case, found, arithmetic=within.arithmetic)
    worst = judged.worst()
    return Row(
        f"update by {name}: error / bound", (), (worst.margin if worst else math.nan,), judged.accepted, False, 1.0
    )


@functools.cache
def _jitted(gradient: Callable[..., Any], names: tuple[str, ...]) -> Any:
    return jax.jit(lambda weights, biases, x, y: gradient(weights, biases, names, x, y))


def _row(stream: str, what: str, ours: Any, allowed: np.ndarray) -> Row:
    """Compare figures that are printed in full: NumPy prints eight decimals, or as many as tell a float32 from the next."""
    printed = PRINTED[stream][what]
    numbers, figures = np.asarray(ours, np.float64).reshape(-1), np.array([float(figure) for figure in printed])
    allowed = allowed + np.array([_half_a_unit(figure) for figure in printed])
    agrees = bool((np.abs(numbers - figures) <= allowed).all())
    return Row(what, printed, tuple(map(float, numbers)), agrees, _same(printed, numbers), float(allowed.max()))


def _half_a_unit(figure: str) -> float:
    """Return half a unit of the last place that NumPy prints; a float32 that it cuts short is off by half an ulp at most."""
    exponent = int(figure.partition("e")[2] or 0)
    return max(0.5e-8 * 10.0**exponent, FLOAT32.unit_roundoff * abs(float(figure)))


def _same(printed: Sequence[str], ours: Any) -> bool:
    """Whether NumPy prints ours as it prints these."""
    return str(np.array([float(figure) for figure in printed], np.float32)) == str(np.asarray(ours, np.float32))


# Example 1: −3 x + 2.


def _grid() -> Array:
    return jnp.linspace(0.5, 3.0, _POINTS)


def _first_target(x: Array) -> Array:
    return -3 * x + 2


def _first_problem(stream: str) -> tuple[Chain, np.ndarray, np.ndarray]:
    order = _order(stream)
    return _drawn(stream, 0, 3), np.asarray(_grid())[order], np.asarray(_first_target(_grid()))[order]


def _first_example(stream: str, engine: str) -> Training:
    return _run_first(_first_problem(stream), engine)


def _run_first(problem: tuple[Chain, np.ndarray, np.ndarray], engine: str, trace: bool = True) -> Training:
    chain, x, y = problem
    return train(chain, x, y, engine=engine, step=_STEP, epochs=_EPOCHS, order="given", trace=trace)


def _figures_of(chain: Chain) -> dict[str, np.ndarray]:
    error = predictions(chain, _grid())[:, 0].astype(np.float64) - np.asarray(_first_target(_grid()))
    return {
        "Example 1: w": np.asarray(chain.weights).reshape(-1),
        "Example 1: b": np.asarray(chain.biases).reshape(-1),
        "Example 1: largest error": np.abs(error).max(keepdims=True),
        "Example 1: mean squared error": np.square(error).mean(keepdims=True),
    }


def _example_rows(stream: str, runs: dict[str, Training]) -> list[Row]:
    rows, furthest = [], {}
    for name, run in runs.items():
        found = [_rounded_row(stream, what, ours) for what, ours in _figures_of(run.chain).items()]
        rows += found if name == _ITS_ENGINE else []
        units = [
            abs(ours - float(figure)) / _unit(figure)
            for row in found
            for figure, ours in zip(row.printed, row.ours, strict=True)
        ]
        furthest[name] = float(max(units)) if run.finished else math.nan
    for name, units in furthest.items():
        agrees = units <= 1.0 and runs[name].finished
        rows.append(Row(f"Example 1 by {name}: distance in units", (), (units,), agrees, False, 1.0))
    return rows


def _rounded_row(stream: str, what: str, ours: np.ndarray) -> Row:
    printed = PRINTED[stream][what]
    same = [f"{number:.{_decimals(figure)}f}" == figure for figure, number in zip(printed, ours, strict=True)]
    near = [abs(number - float(figure)) <= _unit(figure) for figure, number in zip(printed, ours, strict=True)]
    return Row(what, printed, tuple(map(float, ours)), all(near), all(same), max(map(_unit, printed)))


def _decimals(figure: str) -> int:
    return len(figure.partition(".")[2])


def _unit(figure: str) -> float:
    return 10.0 ** -_decimals(figure)


def example_one_timing(stream: str, loop_updates: int) -> tuple[Timing, Chain]:
    """Time the lecture's way of training and the one program, warm, and return what the former came to.

    Args:
        stream: One of `STREAMS`.
        loop_updates: How many updates to run in the lecture's way: a multiple of its 200 points.
    """
    _lecture_loop(stream, _POINTS)
    started = time.perf_counter()
    looped = _lecture_loop(stream, loop_updates)
    loop_s = time.perf_counter() - started
    runs, problem = [], _first_problem(stream)
    run = _run_first(problem, _FASTEST, trace=False)
    for _ in range(5):
        started = time.perf_counter()
        run = _run_first(problem, _FASTEST, trace=False)
        runs.append(time.perf_counter() - started)
    return Timing(loop_updates, loop_s, min(runs), run.updates or 1), looped


@jax.jit
def _one_update(layers: list[tuple[Array, Array]], x: Array, y: Array) -> list[tuple[Array, Array]]:
    """Solve (I − L) dx = D dp for the Jacobian of all states, by a dense solver, and take a step by its last row."""
    weights, biases = (jnp.stack(parts) for parts in zip(*layers, strict=True))
    names = ("sigmoid",) * (len(layers) - 1) + ("identity",)
    system = _by_derivatives_of_jax(Chain(weights, biases, names), x[None])
    gradient = ((system.states[-1] - y) * system.solve(solver="dense")[-1, 0]).reshape(-1, 2)
    return [(w - _STEP * dw, b - _STEP * db) for (w, b), (dw, db) in zip(layers, gradient, strict=True)]


def _lecture_loop(stream: str, updates: int) -> Chain:
    """Train in the lecture's way: a pair of arrays a layer, and one call of a jitted update for each point."""
    chain, x = _drawn(stream, 0, 3), _grid()
    y, layers = _first_target(x), list(zip(chain.weights, chain.biases, strict=True))
    for _ in range(updates // _POINTS):
        order = _order(stream)
        for point, target in zip(x[order], y[order], strict=True):
            layers = _one_update(layers, point, target)
    weights, biases = (jnp.stack(parts) for parts in zip(*jax.block_until_ready(layers), strict=True))
    return Chain(weights, biases, chain.activations)


def _loop_row(looped: Chain, run: Training, updates: int) -> Row:
    """Compare the loop's parameters with the one program's at the same update: one unit of 4 decimals, as above."""
    what, path, epoch = f"the loop − the program, after {updates:,} updates", run.path, updates // _POINTS
    if path is None or len(path.weights) <= epoch:
        return Row(what, (), (math.nan,), False, False, 1e-4)
    parts = ((looped.weights, path.weights), (looped.biases, path.biases))
    apart = max(float(np.abs(np.asarray(one) - kept[epoch]).max()) for one, kept in parts)
    return Row(what, (), (apart,), apart <= 1e-4, False, 1e-4)


# How far rounding alone drives descent apart.


def _drift(stream: str, runs: dict[str, Training]) -> pd.DataFrame:
    truth = _in_doubles(_drawn(stream, 0, 3), _order(stream))
    rows, ends = [], []
    for name, run in runs.items():
        kept = _parameters(run)
        distances = np.abs(kept - truth[: len(kept)]).max(axis=1)
        ends.append(kept[-1])
        rows.append(pd.DataFrame({"engine": name, "updates": _POINTS * np.arange(len(kept)), "distance": distances}))
    drift = pd.concat(rows, ignore_index=True)
    drift.attrs["apart"] = float(np.ptp(np.stack(ends), axis=0).max())
    return drift


def _parameters(run: Training) -> np.ndarray:
    """Return the parameters of a run after each epoch, (epochs + 1, 2 N), in float64."""
    path = run.path
    if path is None:
        raise UsageError("a run must have been traced to be compared")
    return np.concatenate(
        [path.weights.reshape(len(path.weights), -1), path.biases.reshape(len(path.biases), -1)], axis=1
    ).astype(np.float64)


def _in_doubles(chain: Chain, order: np.ndarray) -> np.ndarray:
    """Train by Example 1's rule in float64 and plain Python: nothing of JAX, nothing of the engines."""
    w, b = (np.asarray(part, np.float64).reshape(-1).tolist() for part in (chain.weights, chain.biases))
    x, y = (np.asarray(part, np.float64)[order].tolist() for part in (_grid(), _first_target(_grid())))
    step, last, exp = float(np.float32(_STEP)), len(w) - 1, math.exp
    kept = [w + b]
    for _ in range(_EPOCHS):
        for state, target in zip(x, y, strict=True):
            states = [state]
            for i in range(last):
                states.append(1.0 / (1.0 + exp(-(w[i] * states[i] + b[i]))))
            adjoint = w[last] * states[last] + b[last] - target
            for i in range(last, -1, -1):
                slope = 1.0 if i == last else states[i + 1] * (1.0 - states[i + 1])
                gradient, adjoint = slope * adjoint, slope * adjoint * w[i]
                w[i] -= step * gradient * states[i]
                b[i] -= step * gradient
        kept.append(w + b)
    return np.array(kept)


# How deep?


def _depth_study(stream: str, say: Callable[[int, str], None]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Train Example 1's problem at every depth and step size; and look at the gradient of each layer before."""
    x, y, runs, layers, order = np.asarray(_grid()), np.asarray(_first_target(_grid())), [], [], _order(stream)
    for place, depth in enumerate(_DEPTHS):
        say(place, f"depth {depth}")
        chain, norms = _drawn(stream, 0, depth), _norms(_drawn(stream, 0, depth), x, y)
        layers += [{"depth": depth, "layer": i + 1, "gradient_norm": norm} for i, norm in enumerate(norms)]
        for step in _STEPS:
            engine = _FASTEST if depth <= 10 else _QUICK
            run = train(chain, x[order], y[order], engine=engine, step=step, epochs=_EPOCHS, order="given")
            error = float(run.losses[-1]) if run.finished else math.nan
            runs.append({"depth": depth, "step": step, "mean_squared_error": error, "stopped": run.stopped})
    return pd.DataFrame(runs), pd.DataFrame(layers)


def _norms(chain: Chain, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return the norm of the gradient in (w_i, b_i) for each layer, root mean square over the points, in float64."""
    many = [np.repeat(np.asarray(part)[None], len(x), axis=0) for part in (chain.weights, chain.biases)]
    truth = oracle.solve(Case(Chain(many[0], many[1], chain.activations), x[:, None], y[:, None]))
    squares = np.square(truth.weight_gradients[:, 0, 0]) + np.square(truth.bias_gradients[:, 0])
    return np.sqrt(squares.mean(axis=1))


def _one_layer_is_best(depth: pd.DataFrame) -> Row:
    """The lecture expects one identity layer to do best on a linear target: its error over the least of the deeper ones."""
    errors: Any = depth.groupby("depth")["mean_squared_error"].min()
    share = float(errors[1] / errors.drop(1).min())
    return Row("one identity layer is best for a linear f: error / next best", (), (share,), share < 1.0, False, 1.0)


# Example 2: log x.


def _approximations(stream: str, first: Chain) -> tuple[pd.DataFrame, list[Row]]:
    """Return what the examples' chains answer at every point, and check that Example 2's runs came to an end."""
    x, rows, order = _grid(), [], _order(stream)
    log = jnp.log(x)
    tables = [_table_of("-3x + 2", first, x, _first_target(x))]
    for depth in (1, 2, 3):
        chain = _drawn(stream, 0, depth)
        run = train(chain, x[order], log[order], engine=_FASTEST, step=_STEP, epochs=300, order="given")
        tables.append(_table_of("log x", run.chain, x, log))
        before, after = float(run.losses[0]), float(run.losses[-1])
        better = run.finished and after < before
        rows.append(
            Row(
                f"Example 2, N = {depth}: mean squared error, falls from {before:.3g}",
                (),
                (after,),
                better,
                False,
                before,
            )
        )
    return pd.concat(tables, ignore_index=True), rows


def _table_of(target: str, chain: Chain, x: Array, y: Array) -> pd.DataFrame:
    answers = predictions(chain, x)[:, 0]
    columns = {"x": np.asarray(x), "wanted": np.asarray(y), "predicted": answers}
    return pd.DataFrame({"target": target, "depth": chain.depth, **columns})


# What is printed.


def _shown(number: float) -> str:
    return f"{number:.8g}"


def _figures(rows: Sequence[Row]) -> Table:
    table = Table(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    for column, side in (
        ("figure", "left"),
        ("the lecture", "right"),
        ("here", "right"),
        ("allowed", "right"),
        ("", "left"),
    ):
        table.add_column(column, justify=side)  # pyright: ignore[reportArgumentType]
    for row in rows:
        mark = "✓ same digits" if row.same and row.agrees else "✓" if row.agrees else "✗"
        digits = 8 if row.printed else 3
        here = "\n".join(f"{number:.{digits}g}" for number in row.ours)
        table.add_row(row.what, "\n".join(row.printed), here, f"{row.allowed:.1e}", mark)
    return table


def _study(depth: pd.DataFrame, layers: pd.DataFrame) -> Table:
    table = Table(
        title="How deep? Mean squared error by step size", box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0)
    )
    for column in ("N", *(f"{step:g}" for step in _STEPS), "|g_1|", "|g_N|", "|g_1| / |g_N|"):
        table.add_column(column, justify="right")
    for number, runs in depth.groupby("depth"):
        norms = layers[layers["depth"] == number]["gradient_norm"].tolist()
        errors = [
            "stopped" if row["stopped"] else f"{row['mean_squared_error']:.3g}" for row in runs.to_dict("records")
        ]
        table.add_row(str(number), *errors, *(f"{norm:.2g}" for norm in (norms[0], norms[-1], norms[0] / norms[-1])))
    return table
