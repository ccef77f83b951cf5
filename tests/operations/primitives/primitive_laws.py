"""What must hold of a primitive's record, as functions of the record's name and one of its examples.

Each law evaluates the example by JAX, reads its jaxpr in float64, and raises an AssertionError where the two disagree by
more than the record allows. `broken` records take the place of the right one: the laws must reject them.
"""

from __future__ import annotations

import contextlib
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.ad_checkpoint
import jax.extend.random
import jax.numpy as jnp
import numpy as np
from jax import lax

from chainback.operations.primitives.calls import Precision, is_float
from chainback.operations.primitives.examples import Example
from chainback.operations.primitives.record import Primitive
from chainback.operations.primitives.table import TABLE
from chainback.truth.interpreter import read
from chainback.truth.tape import Tape
from chainback.truth.tape_bound import adjoints, forward_errors

SCALES = (1e-3, 0.1, 1.0, 10.0, 100.0)
OWN = Precision()


def version(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(".")[:3] if part.isdigit())


def is_here(since: str, until: str = "") -> bool:
    """Whether this JAX lies between two versions."""
    now = version(jax.__version__)
    return version(since or "0") <= now and not (until and now >= version(until))


def examples_of(record: Primitive) -> list[Example]:
    """Return the examples of a record that this JAX traces so."""
    if not is_here(record.since, record.until):
        return []
    return [e for e in record.examples if is_here(e.since, e.until)]


def enable_x64() -> Any:
    if hasattr(jax, "enable_x64"):
        return jax.enable_x64(True)
    from jax.experimental import enable_x64

    return enable_x64()


@contextlib.contextmanager
def broken(record: Primitive) -> Iterator[None]:
    """Put a record in the place of the one of its name."""
    right = TABLE[record.name]
    TABLE[record.name] = record
    try:
        yield
    finally:
        TABLE[record.name] = right


@dataclass
class Seen:
    """What was seen of an example.

    Attributes:
        margin: The largest error / bound.
        sharp: Of each component judged, bound / |truth|.
        undecided: How many components, or whole draws, had no bound.
        judged: How many components had one.
    """

    margin: float = 0.0
    sharp: list[float] = field(default_factory=list)
    undecided: int = 0
    judged: int = 0


class Trial:
    """An example, traced once, in one dtype.

    Attributes:
        name: Of the primitive.
        example: Its example.
        dtype: Of its float operands.
    """

    def __init__(self, name: str, example: Example, dtype: str) -> None:
        self.name, self.example, self.dtype = name, example, dtype
        names = {"jax": jax, "jnp": jnp, "lax": lax, "np": np, "random": jax.random}
        self.function: Callable[..., Any] = eval(f"lambda {', '.join(example.operands)}: ({example.call})", names)
        self.order = list(example.operands)
        self.judged = [self.order.index(k) for k in example.floats]
        self.closed = jax.make_jaxpr(self.flat)(*self.typed(self.draw(1.0, 0)))
        self.outs = [str(aval.dtype) for aval in self.closed.out_avals]
        self.float_outs = [k for k, d in enumerate(self.outs) if is_float(d)]
        self.derives = bool(self.judged and self.float_outs)

    def flat(self, *arrays: Any) -> list[Any]:
        return jax.tree_util.tree_leaves(self.function(*arrays))

    def rng(self, *more: int) -> np.random.Generator:
        return np.random.default_rng([zlib.crc32(f"{self.name} {self.example.call}".encode()), *more])

    def draw(self, scale: float, seed: int) -> list[np.ndarray]:
        rng = self.rng(seed, int(scale * 1000))
        return [np.asarray(o.draw(rng, scale)) for o in self.example.operands.values()]

    def ugly(self, seed: int) -> list[np.ndarray]:
        rng = self.rng(seed, 99)
        return [np.asarray(o.ugly(rng)) for o in self.example.operands.values()]

    def typed(self, arrays: Sequence[np.ndarray]) -> list[Any]:
        operands = self.example.operands.values()
        return [
            jnp.asarray(np.asarray(a).astype(jnp.dtype(self.dtype) if o.kind == "float" else o.kind))
            for a, o in zip(arrays, operands, strict=True)
        ]

    def read(self, arrays: Sequence[Any]) -> Tape:
        """Return the tape at operands in the program's dtypes."""
        tape = read(self.closed, [np.asarray(a) for a in arrays])
        assert any(e.name == self.name for e in tape.equations), f"{self.example.call} has no {self.name}"
        return tape

    def seeds(self, tape: Tape, seed: int) -> list[np.ndarray]:
        rng = self.rng(seed, 5)
        shapes = [np.shape(tape.values[tape.outputs[k]]) for k in self.float_outs]
        return [
            rng.standard_normal(s).astype(jnp.dtype(self.outs[k])) for s, k in zip(shapes, self.float_outs, strict=True)
        ]

    def tangents(self, arrays: Sequence[Any], seed: int) -> list[np.ndarray]:
        rng = self.rng(seed, 6)
        return [rng.standard_normal(np.shape(arrays[k])).astype(arrays[k].dtype) for k in self.judged]

    def of_judged(self, arrays: Sequence[Any]) -> Callable[..., list[Any]]:
        def function(*judged: Any) -> list[Any]:
            whole = list(arrays)
            for k, value in zip(self.judged, judged, strict=True):
                whole[k] = value
            found = self.flat(*whole)
            return [found[k] for k in self.float_outs]

        return function

    def vjp(self, arrays: Sequence[Any], seeds: Sequence[Any]) -> list[Any]:
        return list(jax.vjp(self.of_judged(arrays), *(arrays[k] for k in self.judged))[1](list(seeds)))

    def jvp(self, arrays: Sequence[Any], tangents: Sequence[Any]) -> list[Any]:
        return list(jax.jvp(self.of_judged(arrays), tuple(arrays[k] for k in self.judged), tuple(tangents))[1])


def flushed(tape: Tape, how: Precision = OWN) -> dict[int, np.ndarray]:
    """Return the errors of inputs that are subnormal, and may be read as 0."""
    found = {}
    for k in (*tape.inputs, *(k for k, _ in tape.literals)):
        if is_float(tape.dtypes[k]):
            size = np.abs(tape.values[k])
            found[k] = np.where(size < how.tiny(tape.dtypes[k]), size, 0.0)
    return found


def judge(seen: Seen, got: Any, truth: Any, bound: Any, largest: float, what: str) -> None:
    """Hold a result to the truth within a bound; what has no bound, or is out of range, is not judged."""
    got, truth, bound = (np.broadcast_to(np.asarray(v, float), np.shape(truth)) for v in (got, truth, bound))
    with np.errstate(all="ignore"):
        decided = np.isfinite(bound) & np.isfinite(truth) & (np.abs(truth) + bound < largest)
        error = np.abs(got - truth)
        wrong = decided & ~(error <= bound)
        margin = np.where(decided & (error > 0), error / bound, 0.0)
        sharp = np.where(truth != 0, bound / np.abs(truth), np.where(bound > 0, np.inf, 0.0))
    seen.undecided += int((~decided).sum())
    seen.judged += int(decided.sum())
    seen.sharp += list(sharp[decided].ravel())
    seen.margin = max(seen.margin, float(np.max(margin, initial=0.0)))
    if wrong.any():
        place = tuple(int(i) for i in np.argwhere(wrong)[0])
        raise AssertionError(
            f"{what}{list(place)}: got {got[place]!r}, should be {truth[place]!r} ± {bound[place]:.3g}"
            f" (margin {margin[place]:.3g}; {int(wrong.sum())} of {wrong.size})"
        )


def judge_call(
    trial: Trial, seen: Seen, arrays: Sequence[Any], runs: Sequence[Callable[..., Any]], seed: int, factor: float = 1.0
) -> None:
    """Hold values and gradients of runs to the tape's within `factor` times its bounds."""
    tape = trial.read(arrays)
    inexact = flushed(tape)
    errors = forward_errors(tape, OWN, inexact)
    # What overflows in the result itself is left out component by component.
    if errors.undecided and ("overflow" not in errors.undecided or len(tape.equations) > 1):
        seen.undecided += 1
        return
    seeds = trial.seeds(tape, seed) if trial.derives else []
    of = {tape.outputs[k]: s.astype(float) for k, s in zip(trial.float_outs, seeds, strict=True)} if seeds else {}
    found = adjoints(tape, errors, of, OWN) if trial.derives else None
    place = f"{trial.name}: {trial.example.call} at {[np.asarray(a).ravel()[:6].tolist() for a in arrays]}: "
    for run in runs:
        values, gradient = run(arrays, seeds)
        for k, value in enumerate(values):
            variable, dtype = tape.outputs[k], trial.outs[k]
            truth, E = tape.values[variable], errors.variables[variable]
            if is_float(dtype):
                judge(seen, value, truth, factor * E, OWN.largest(dtype), f"{place}value {k}")
            else:
                sure = ~np.broadcast_to(np.asarray(E, bool), np.shape(truth))
                assert np.array_equal(np.asarray(value)[sure], truth[sure]), f"{place}value {k}: {value} for {truth}"
        for k, g in zip(trial.judged, gradient, strict=True) if found else ():
            truth, bound = (
                np.zeros(np.shape(arrays[k])) if v[k] is None else v[k] for v in (found.gradient, found.bound)
            )
            judge(seen, g, truth, factor * np.asarray(bound), OWN.largest(trial.dtype), f"{place}gradient {k}")


def runs_of(trial: Trial, *, eager: bool) -> list[Callable[..., Any]]:
    """Return what evaluates an example and its gradient: jitted, and not."""

    def run(arrays: Sequence[Any], seeds: Sequence[Any]) -> tuple[list[Any], list[Any]]:
        return trial.flat(*arrays), trial.vjp(arrays, seeds) if trial.derives else []

    compiled = jax.jit(run)
    return [compiled, run] if eager else [compiled]


def law_of_bounds(trial: Trial, *, draws: int = 2, ugly: int = 6, eager: bool = True) -> Seen:
    """Runs lie within the bounds, at any scale and at ugly places."""
    seen = Seen()
    runs = runs_of(trial, eager=eager)
    for scale in SCALES:
        for seed in range(draws):
            judge_call(trial, seen, trial.typed(trial.draw(scale, seed)), runs[: 1 + (seed == 0)], seed)
    for seed in range(ugly):
        judge_call(trial, seen, trial.typed(trial.ugly(seed)), runs[:1], seed)
    return seen


def law_of_float64(trial: Trial) -> Seen:
    """Under 64 bits JAX's values and both derivatives agree with the tape's to float64's own rounding."""
    seen = Seen()
    runs = runs_of(trial, eager=False)
    push = jax.jit(trial.jvp)
    for seed, scale in enumerate((1.0, 0.3, 3.0)):
        arrays = trial.typed(trial.draw(scale, seed))
        judge_call(trial, seen, arrays, runs, seed, factor=2.0)
        if not trial.derives:
            continue
        tape, tangents = trial.read(arrays), trial.tangents(arrays, seed)
        of = {tape.inputs[k]: t for k, t in zip(trial.judged, tangents, strict=True)}
        pushed = tape.push(of)
        for k, theirs in zip(trial.float_outs, push(arrays, tangents), strict=True):
            ours = pushed[tape.outputs[k]]
            ours = np.zeros(np.shape(theirs)) if ours is None else np.asarray(ours)
            u = max(roughness(tape), OWN.u(trial.outs[k]))
            size = np.maximum(np.abs(ours), np.max(np.abs(ours), initial=0.0) * 2.0**-10)
            bound = max(2.0**-30, 16.0 * u) * size
            judge(seen, theirs, ours, bound, np.inf, f"{trial.name}: {trial.example.call}: tangent {k}")
    return seen


def roughness(tape: Tape) -> float:
    """Return the unit roundoff of the coarsest dtype, or reduction of precision, in a program."""
    coarse = [2.0 ** -(e.call.params["mantissa_bits"] + 1.0) for e in tape.equations if e.name == "reduce_precision"]
    return max([OWN.u(d) for d in tape.dtypes if is_float(d)] + coarse)


def law_of_transposition(trial: Trial) -> int:
    """⟨push dx, dy⟩ = ⟨dx, pull dy⟩ for every block, and push and pull are linear in the coefficients."""
    count = 0
    for seed in range(2):
        tape = trial.read(trial.typed(trial.draw(1.0, seed)))
        rng = trial.rng(seed, 7)
        for equation in tape.equations:
            for edge in equation.edges:
                dx = rng.standard_normal(np.shape(tape.values[equation.ins[edge.operand]]))
                dy = rng.standard_normal(np.shape(tape.values[equation.outs[edge.result]]))
                pushed, pulled = edge.map.push(edge.c, dx), edge.map.pull(edge.c, dy)
                assert pushed.shape == dy.shape, (equation.name, pushed.shape, dy.shape)
                assert pulled.shape == dx.shape, (equation.name, pulled.shape, dx.shape)
                if edge.c is not None and not np.isfinite(edge.c).all():
                    continue
                one, other = float(np.sum(pushed * dy)), float(np.sum(dx * pulled))
                size = float(np.sum(np.abs(pushed * dy))) + float(np.sum(np.abs(dx * pulled)))
                assert abs(one - other) <= 1e-12 * size + 1e-300, f"{equation.name}: {one} and {other}"
                count += 1
    return count


def law_of_carried_errors(trial: Trial, *, ugly: int = 4) -> Seen:
    """The values and gradients of any operands within x ± E lie within the bounds for E: read in float64, without JAX."""
    seen = Seen()
    reach = [1e-6, 1e-3, 0.1, 1.0]
    cases = [(trial.draw(scale, 3), e) for scale in SCALES for e in reach] + [
        (trial.ugly(seed), reach[seed % 4]) for seed in range(ugly)
    ]
    for number, (drawn, size) in enumerate(cases):
        arrays = trial.typed(drawn)
        tape, rng = trial.read(arrays), trial.rng(number, 8)
        E = {
            k: size * rng.choice([0.0, 1.0, 1.0], np.shape(a)) * (np.abs(a) + rng.choice([0.0, 1e-3]))
            for k, a in enumerate(arrays)
            if trial.order[k] in trial.example.operands and self_moves(trial, k)
        }
        inexact = {tape.inputs[k]: e for k, e in E.items()}
        errors = forward_errors(tape, OWN, inexact)
        if errors.undecided:
            seen.undecided += 1
            continue
        seeds = trial.seeds(tape, number)
        found = adjoints(
            tape, errors, {tape.outputs[k]: s.astype(float) for k, s in zip(trial.float_outs, seeds, strict=True)}, OWN
        )
        for _ in range(3):
            moved = list(arrays)
            for k, e in E.items():
                step = rng.choice([-1.0, 1.0, 0.0, rng.uniform(-1, 1)], np.shape(e)) * e
                moved[k] = np.where(step == 0, arrays[k], np.asarray(arrays[k], float) + step)
            there = read(trial.closed, moved)
            at = f"{trial.name}: {trial.example.call} moved by {size}: "
            for k, variable in enumerate(tape.outputs):
                E_k, truth = errors.variables[variable], tape.values[variable]
                if is_float(trial.outs[k]):
                    judge(seen, there.values[there.outputs[k]], truth, widened(E_k, truth), np.inf, f"{at}value {k}")
                else:
                    sure = ~np.broadcast_to(np.asarray(E_k, bool), np.shape(truth))
                    assert np.array_equal(there.values[there.outputs[k]][sure], truth[sure]), f"{at}value {k}"
            pulled = there.pull(
                {there.outputs[k]: s.astype(float) for k, s in zip(trial.float_outs, seeds, strict=True)}
            )
            for k in trial.judged:
                truth, bound = (
                    np.zeros(np.shape(arrays[k])) if v[k] is None else v[k] for v in (found.gradient, found.bound)
                )
                g = pulled[there.inputs[k]]
                judge(seen, 0.0 if g is None else g, truth, widened(bound, truth), np.inf, f"{at}gradient {k}")
    return seen


def widened(bound: Any, truth: Any) -> Any:
    """Return a bound with what float64 itself rounds."""
    return np.asarray(bound) * (1.0 + 2.0**-40) + 2.0**-48 * np.abs(truth)


def self_moves(trial: Trial, k: int) -> bool:
    operand = trial.example.operands[trial.order[k]]
    return operand.kind == "float" and not operand.only
