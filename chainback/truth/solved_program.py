"""A program solved: its tape, its gradient, and every bound that a judge needs.

The derived bound is made first. Where it is sharp for every component nothing else is needed; where it is not, rounding
errors are sampled, and what they say of each variable also says which kinks, branches and overflows are within reach.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from chainback.operations.arithmetic import Array
from chainback.operations.primitives.record import Precision, is_float
from chainback.problems.program import Program
from chainback.truth.interpreter import read
from chainback.truth.sampled_bound import Sampled, sample
from chainback.truth.tape import Tape
from chainback.truth.tape_bound import Adjoints, ForwardErrors, adjoints, forward_errors

__all__ = ["Solved", "solve_program"]

#: A bound above this share of the reference is not sharp.
_SHARP = 1e-3
#: How many σ̂ a variable may be off when it is asked whether a kink, a branch or an overflow is within its reach.
_REACH = 8.0


@dataclass(frozen=True)
class Solved:
    """A program, its truth, and the bounds of a run in its own dtypes.

    Attributes:
        program: The program.
        tape: Read in float64.
        errors: How far each variable of a run may lie from it.
        adjoints: The gradient and its derived bound.
        adjoints64: The same for a run in float64.
        errors64: Likewise.
        sampled: Sampled deviations; None where every bound is sharp.
        of_choices: What other choices at kinks and ties may change, alone; None likewise.
        undecided: Why nothing can be decided, or "".
        bits: Whether the value passes through the bits of a float, which have no derivative: then only differences tell.
    """

    program: Program
    tape: Tape
    errors: ForwardErrors
    adjoints: Adjoints
    adjoints64: Adjoints
    errors64: ForwardErrors
    sampled: Sampled | None
    of_choices: Adjoints
    undecided: str
    bits: bool = False

    def _of(self, found: list[Array | None], k: int) -> Array:
        value = found[k]
        return np.zeros(np.shape(self.program.arguments[k])) if value is None else np.asarray(value)

    def gradient(self, k: int) -> Array:
        """The truth of the gradient with respect to input k."""
        return self._of(self.adjoints.gradient, k)

    def magnitude(self, k: int) -> Array:
        """Λ: the magnitude of the terms of which it is the sum."""
        return self._of(self.adjoints.magnitude, k)

    def choices(self, k: int) -> Array:
        """What other choices at kinks and ties may change of it."""
        return self._of(self.of_choices.bound, k)

    @property
    def bounds(self) -> list[Array]:
        """The derived bound of each input's gradient."""
        return [self._of(self.adjoints.bound, k) for k in range(len(self.tape.inputs))]

    @property
    def bounds64(self) -> list[Array]:
        """The derived bound of a run in float64, both of the truth and of what is read beside it."""
        return [np.asarray(2.0 * self._of(self.adjoints64.bound, k)) for k in range(len(self.tape.inputs))]

    def moved_constants(self, closed: Any, arguments: Sequence[Array], derivative: Tape, seed: int) -> list[Array]:
        """Return how far a derivative program's results move with its constants, where a bound by magnitudes says nothing.

        The program is read again with each constant that may stand for another number moved by u |c| up or down, at random:
        eight times the largest deviation of four readings.
        """
        ours = self._written()
        found = [np.zeros(np.shape(derivative.values[k])) for k in derivative.outputs]
        for run in range(4):
            rng = np.random.default_rng([seed, 0xC0, run])

            def meant(custom: bool, value: float, dtype: str, rng: np.random.Generator = rng) -> float:
                if (not custom and value in ours) or _short(value):
                    return value
                return value * (1.0 + Precision().u(dtype) * float(rng.choice((-1.0, 1.0))))

            moved = read(closed, arguments, constant=meant)
            with np.errstate(all="ignore"):
                for total, there, here in zip(found, moved.outputs, derivative.outputs, strict=True):
                    off = np.abs(moved.values[there] - derivative.values[here])
                    np.maximum(total, np.where(np.isfinite(off), off, 0.0), out=total)
        return [np.asarray(8.0 * total) for total in found]

    def _written(self) -> set[float]:
        """Return the constants of the program itself, outside of custom calls."""
        return {
            float(self.tape.values[k])
            for k, custom in self.tape.literals
            if not custom and np.ndim(self.tape.values[k]) == 0 and is_float(self.tape.dtypes[k])
        }

    def reading_errors(self, derivative: Tape) -> list[Array]:
        """Return how far the results of a derivative program, read in float64, may lie from what it means.

        Its own roundings in float64; and constants of its own: JAX writes those of its rules in float32, so that a literal
        that is no short dyadic number, and none of the program outside of custom calls, enters with an error of u |c|.
        """
        ours = self._written()
        inexact = _rounded_constants(derivative, lambda custom, value: custom or value not in ours)
        found = forward_errors(derivative, Precision("float64"), inexact)
        return [found.variables[k] for k in derivative.outputs]


def _rounded_constants(tape: Tape, whether: Callable[[bool, float], bool]) -> dict[int, Array]:
    """Return the errors of constants that stand for other numbers: JAX writes √½ in float32 in a rule and its function.

    Args:
        tape: The program.
        whether: Maps (in a custom call, value) to whether it may be such a constant; short dyadic numbers never are.
    """
    found = {}
    for k, custom in tape.literals:
        dtype, value = tape.dtypes[k], tape.values[k]
        if is_float(dtype) and np.ndim(value) == 0 and whether(custom, float(value)) and not _short(float(value)):
            found[k] = np.asarray(abs(float(value)) * Precision().u(dtype))
    return found


def _short(value: float) -> bool:
    """Whether a number has at most 12 significant bits: written as meant."""
    if not np.isfinite(value) or value == 0.0:
        return True
    mantissa = np.frexp(value)[0] * 2.0**12
    return bool(mantissa == np.trunc(mantissa))


def solve_program(program: Program, how: Precision, *, runs: int, seed: int) -> Solved:
    """Solve a program in float64, and bound what rounding may do to it.

    Args:
        program: The program.
        how: The arithmetic of the runs that will be judged.
        runs: K, samples of rounding errors where the derived bound is not sharp; 0 for none.
        seed: Decides them.

    Raises:
        MissingRuleError: A primitive has no record.
    """
    tape = read(program.jaxpr, program.arguments)
    seeds = {tape.outputs[k]: value.astype(np.float64) for k, value in program.cotangents.items()}
    written = _rounded_constants(tape, lambda custom, value: custom)
    errors = forward_errors(tape, how, written)
    found = adjoints(tape, errors, seeds, how)
    exactly = Precision("float64")
    errors64 = forward_errors(tape, exactly, written)
    found64 = adjoints(tape, errors64, seeds, exactly)
    sampled, undecided, near = None, errors.undecided, errors
    if runs and not _sharp(program, found, errors):
        sampled = sample(program.jaxpr, program.arguments, tape, found.gradient, seeds, how, runs=runs, seed=seed)
        if sampled.parted:
            undecided = "its course depends on rounding: a loop ends sooner or later, or a branch is another"
        else:
            near = forward_errors(tape, how, written, limits=[np.asarray(_REACH * σ) for σ in sampled.variables])
            undecided = near.undecided
    bits = _through_bits(tape)
    undecided = undecided or bits
    choices = adjoints(tape, near, seeds, how, choices_only=True)
    return Solved(program, tape, errors, found, found64, errors64, sampled, choices, undecided, bool(bits))


def _through_bits(tape: Tape) -> str:
    """Say where the result depends on the bits of a value that depends on an input."""
    moved = set(tape.inputs)
    found: dict[int, str] = {}
    for equation in tape.equations:
        reads = [found[k] for k in equation.ins if k in found]
        if (
            equation.name == "bitcast_convert_type"
            and is_float(tape.dtypes[equation.ins[0]])
            and equation.ins[0] in moved
        ):
            reads.append(f"{equation}: the bits of a float have no derivative; name its definition with `reference`")
        if moved.intersection(equation.ins):
            moved.update(equation.outs)
        if reads:
            found.update(dict.fromkeys(equation.outs, reads[0]))
    return next((found[k] for k in tape.outputs if k in found), "")


def _sharp(program: Program, found: Adjoints, errors: ForwardErrors) -> bool:
    """Whether every bound is sharp."""
    if errors.undecided:
        return False
    for k in program.judged:
        reference, bound = found.gradient[k], found.bound[k]
        if reference is None or bound is None:
            continue
        sharp = (bound <= _SHARP * np.abs(reference)) | ((reference == 0.0) & (bound == 0.0))
        if not np.all(sharp):
            return False
    return True
