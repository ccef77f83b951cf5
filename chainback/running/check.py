"""check: is the gradient of this JAX function right? Four questions, each with its own comparison.

* *value*: does the compiled function compute its program? f(x) as run, against the program read in float64.
* *rule*: is the derivative program right that AD wrote? Its jaxpr, read in float64 by the same interpreter, against the
  triangular truth: what a rule gets wrong shows to float64's own rounding, however deep the network.
* *execution*: does the machine run that program right? The gradients as run, against the truth.
* *program*: is the derivative of the program that of the function? One-sided differences of the program's values.

The truth is the program's own triangular system (I − L) dv = D dx, solved in float64: no rule of JAX's takes part.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from chainback.engines.devices import arithmetic_of
from chainback.errors import UsageError, sentence
from chainback.judging.blocks import Block, judge_block
from chainback.judging.judgement import Verdict
from chainback.operations.primitives.record import Precision
from chainback.reporting.checks import Check, Row
from chainback.running.culprits import culprit
from chainback.running.tracing import Traced, trace
from chainback.truth.differences import one_sided
from chainback.truth.interpreter import MissingRuleError, read
from chainback.truth.sampled_bound import allowance
from chainback.truth.solved_program import Solved, solve_program

__all__ = ["QUESTIONS", "TRANSFORMS", "check", "check_grads"]

QUESTIONS = ("value", "rule", "execution", "program")
#: (transform, execution): what is run of the derivative by default.
TRANSFORMS = (("reverse", "jitted"), ("reverse", "un-jitted"), ("reverse", "vmapped"), ("forward", "jitted"))


def check(
    f: Callable[..., Any],
    *args: Any,
    argnums: int | Sequence[int] | None = None,
    cotangent: Any = None,
    questions: Sequence[str] = QUESTIONS,
    transforms: Iterable[tuple[str, str]] = TRANSFORMS,
    reference: Callable[..., Any] | None = None,
    false_alarm: float = 1e-9,
    samples: int = 16,
    seed: int = 0,
) -> Check:
    """Judge every component of the gradient of a JAX function against a float64 truth, within a bound derived for it.

    Args:
        f: Any function of pytrees of arrays and numbers; its result holds floats.
        args: Its arguments: where the gradient is judged.
        argnums: Which arguments are judged; default: every float in all of them.
        cotangent: The seed of the derivative, a pytree like the result; default: 1 for a scalar, otherwise drawn.
        questions: Of `QUESTIONS`.
        transforms: (transform, execution): forward or reverse; jitted, un-jitted or vmapped.
        reference: A function with the same signature whose program is the truth, such as plain attention for a kernel.
        false_alarm: The probability that sampled bounds reject anything right, over the whole check.
        samples: K, the runs behind the sampled bound; 0 for none.
        seed: Decides drawn cotangents, tangents and samples.

    Returns:
        The check: print it, or call `assert_accepted()`.

    Raises:
        UsageError: The function does not trace, or an argument cannot be used.
    """
    if wrong := [name for name in questions if name not in QUESTIONS]:
        raise UsageError(f"`questions` are {', '.join(QUESTIONS)}, got {wrong[0]!r:.40}")
    traced = trace(f, *args, argnums=argnums, cotangent=cotangent, seed=seed)
    truth = traced if reference is None else trace(reference, *args, argnums=argnums, cotangent=cotangent, seed=seed)
    if [a.shape for a in truth.program.jaxpr.out_avals] != [a.shape for a in traced.program.jaxpr.out_avals]:
        raise UsageError("`reference` returns a result of another shape or structure")
    product = arithmetic_of(jax.devices()[0]).product_roundoff
    try:
        solved = solve_program(truth.program, Precision(product=product), runs=samples, seed=seed)
    except MissingRuleError as error:
        return Check(traced.program.name, (), str(error))
    asked = _Check(traced, solved, false_alarm, seed)
    rows: list[Row] = []
    for question in questions:
        if question == "execution":
            for transform, execution in transforms:
                rows += asked.execution(transform, execution)
        elif question != "rule" or reference is None:
            rows += getattr(asked, question)()
    return Check(traced.program.name, tuple(rows), solved.undecided, false_alarm)


def check_grads(
    f: Callable[..., Any],
    args: Sequence[Any],
    order: int = 1,
    modes: Sequence[str] = ("fwd", "rev"),
    atol: float | None = None,
    rtol: float | None = None,
    eps: float | None = None,
) -> None:
    """Take the place of `jax.test_util.check_grads`: same arguments, a derived bound in place of tolerances.

    Args:
        f: The function.
        args: Its arguments, as a sequence.
        order: 1, or 2 for the derivative of the derivative as well.
        modes: "fwd", "rev", or both.
        atol: Not needed.
        rtol: Not needed.
        eps: Not needed.

    Raises:
        AssertionError: A component is wrong, or nothing could be decided; the message says what.
        UsageError: An argument cannot be used.
    """
    if order not in (1, 2):
        raise UsageError(f"`order` must be 1 or 2, got {order!r:.20}")
    if not modes or any(mode not in ("fwd", "rev") for mode in modes):
        raise UsageError(f"`modes` holds fwd, rev or both, got {modes!r:.40}")
    names = {"fwd": "forward", "rev": "reverse"}
    chosen = [(names[mode], execution) for mode in modes for execution in ("jitted", "un-jitted")]
    questions = ["rule", "execution"] if "rev" in modes else ["execution"]
    check(f, *args, questions=questions, transforms=chosen).assert_accepted()
    if order == 2:
        check(_gradient_of(f, args), *args, questions=questions, transforms=chosen).assert_accepted()


def _gradient_of(f: Callable[..., Any], args: Sequence[Any]) -> Callable[..., Any]:
    """Return the gradient of Σ seed · f as a function of the same arguments."""
    traced = trace(f, *args)
    function, seeds = traced.of_judged(), traced.seeds()
    judged = traced.program.judged

    def gradient(*values: Any) -> Any:
        flat = jax.tree_util.tree_leaves(values)
        return jax.vjp(function, *(jnp.asarray(flat[k]) for k in judged))[1](seeds)

    gradient.__name__ = f"the gradient of {traced.program.name}"
    return gradient


class _Check:
    def __init__(self, traced: Traced, solved: Solved, false_alarm: float, seed: int) -> None:
        self.traced, self.asked, self.solved, self.seed = traced, traced.program, solved, seed
        components = sum(int(np.size(self.asked.arguments[k])) for k in self.asked.judged)
        components += sum(int(np.size(solved.tape.values[k])) for k in solved.tape.outputs)
        self.σs = allowance(solved.sampled.runs, components * 6, false_alarm) if solved.sampled else 0.0

    def _ran(self, run: Callable[[], Any]) -> Any:
        try:
            return run(), ""
        except Exception as error:
            return None, f"it raised {sentence(error)}"

    def value(self) -> list[Row]:
        """Judge what the function returns, jitted and not."""
        rows = []
        tape = self.solved.tape
        for execution, run in (("jitted", jax.jit(self.traced.flat)), ("un-jitted", self.traced.flat)):
            results, failure = self._ran(lambda run=run: [np.asarray(r) for r in run(*self.traced.values)])
            for place in self.asked.cotangents:
                k = tape.outputs[place]
                if failure:
                    rows.append(
                        Row("value", "", execution, self.asked.outputs[place], _failed(tape.values[k], failure))
                    )
                    continue
                sampled = self.solved.sampled.variables[k] * self.σs if self.solved.sampled else None
                block = judge_block(
                    results[place],
                    tape.values[k],
                    self.solved.errors.variables[k],
                    sampled=sampled,
                    dtype=tape.dtypes[k],
                    undecided=self.solved.undecided,
                )
                rows.append(Row("value", "", execution, self.asked.outputs[place], block))
        return rows

    def _blocks(
        self,
        question: str,
        transform: str,
        execution: str,
        gradient: Sequence[Any],
        failure: str,
        bounds: Any,
        sampled: Any,
        dtypes: bool,
    ) -> list[Row]:
        rows = []
        for place, k in enumerate(self.asked.judged):
            truth = self.solved.gradient(k)
            if failure:
                block = _failed(truth, failure)
            else:
                dtype = str(self.asked.arguments[k].dtype) if dtypes else ""
                block = judge_block(
                    gradient[place],
                    truth,
                    bounds[k],
                    sampled=None if sampled is None else sampled[k],
                    choices=self.solved.choices(k),
                    magnitude=self.solved.magnitude(k),
                    dtype=dtype,
                    undecided=self.solved.undecided,
                )
            rows.append(Row(question, transform, execution, self.asked.inputs[k], block))
        return rows

    def _sampled(self, scale: float = 1.0) -> list[Any] | None:
        found = self.solved.sampled
        return None if found is None else [scale * self.σs * σ for σ in found.gradients]

    def execution(self, transform: str, execution: str) -> list[Row]:
        """Judge the gradient as JAX runs it."""
        if transform == "forward":
            return self._forward(execution)
        run = self._vjp()
        if execution == "jitted":
            run = jax.jit(run)
        elif execution == "vmapped":
            run = _vmapped(jax.jit(jax.vmap(run)))
        gradient, failure = self._ran(lambda: [np.asarray(g) for g in run(*self.traced.judged_values())])
        return self._blocks(
            "execution", transform, execution, gradient, failure, self.solved.bounds, self._sampled(), dtypes=True
        )

    def _vjp(self) -> Callable[..., Any]:
        function, seeds = self.traced.of_judged(), self.traced.seeds()

        def gradient(*judged: Any) -> Any:
            return jax.vjp(function, *judged)[1](seeds)

        return gradient

    def _tangents(self) -> list[np.ndarray]:
        rng = np.random.default_rng([self.seed, 0xD1])
        return [np.asarray(jnp.asarray(rng.standard_normal(np.shape(v)), v.dtype)) for v in self.traced.judged_values()]

    def _forward(self, execution: str) -> list[Row]:
        """Judge one directional derivative in forward mode: Σ seed · J dx, against the same sum by the truth."""
        function, seeds, tangents = self.traced.of_judged(), self.traced.seeds(), self._tangents()

        def derivative(*judged: Any) -> Any:
            return jax.jvp(function, judged, tuple(map(jnp.asarray, tangents)))[1]

        run = jax.jit(derivative) if execution == "jitted" else derivative
        found, failure = self._ran(lambda: [np.asarray(t, np.float64) for t in run(*self.traced.judged_values())])
        pairs = [
            (self.solved.gradient(k), t.astype(float), k) for k, t in zip(self.asked.judged, tangents, strict=True)
        ]
        truth = np.asarray(sum(float(np.sum(g * t)) for g, t, _ in pairs))
        if "custom_vjp" in failure:  # such a function has no forward mode, and does not claim one
            return []
        if failure:
            return [Row("execution", "forward", execution, "one direction", _failed(truth, failure))]
        with np.errstate(all="ignore"):
            got = np.asarray(sum(float(np.sum(np.asarray(s, float) * t)) for s, t in zip(seeds, found, strict=True)))
            bound = np.asarray(sum(float(np.sum(self.solved.bounds[k] * np.abs(t))) for _, t, k in pairs))
            choices = np.asarray(sum(float(np.sum(self.solved.choices(k) * np.abs(t))) for _, t, k in pairs))
            Λ = sum(float(np.sum(self.solved.magnitude(k) * np.abs(t))) for _, t, k in pairs)
            sampled = self._sampled()
            σ = None if sampled is None else np.asarray(sum(float(np.sum(sampled[k] * np.abs(t))) for _, t, k in pairs))
        block = judge_block(
            got, truth, bound, sampled=σ, choices=choices, magnitude=np.asarray(Λ), undecided=self.solved.undecided
        )
        return [Row("execution", "forward", execution, "one direction", block)]

    def rule(self) -> list[Row]:
        """Judge the derivative program that reverse-mode AD wrote, read in float64."""
        function = self._vjp()
        try:
            jaxpr = jax.make_jaxpr(function)(*self.traced.judged_values())
            arguments = [self.asked.arguments[k] for k in self.asked.judged]
            tape = read(jaxpr, arguments)
        except MissingRuleError as error:
            return [
                Row(
                    "rule",
                    "reverse",
                    "read in float64",
                    self.asked.inputs[k],
                    Block(np.size(self.asked.arguments[k]), 0, 0, 0, 0, float("nan"), Verdict.UNDECIDED, str(error)),
                )
                for k in self.asked.judged
            ]
        except Exception as error:
            return self._blocks(
                "rule", "reverse", "read in float64", [], f"it raised {sentence(error)}", [], None, dtypes=False
            )
        gradient = [tape.values[k] for k in tape.outputs]
        slack = self.solved.reading_errors(tape)
        bounds = {k: self.solved.bounds64[k] + slack[place] for place, k in enumerate(self.asked.judged)}
        sampled = self._sampled(2.0**-29)
        if sampled is not None:
            constants = self.solved.moved_constants(jaxpr, arguments, tape, self.seed)
            for place, k in enumerate(self.asked.judged):
                sampled[k] = sampled[k] + constants[place]
        rows = self._blocks("rule", "reverse", "read in float64", gradient, "", bounds, sampled, dtypes=False)
        if any(row.block.verdict is Verdict.REJECTED for row in rows):
            where = culprit(self.solved.tape, self.seed)
            rows = [row.blamed(where) if row.block.verdict is Verdict.REJECTED else row for row in rows]
        return rows

    def program(self) -> list[Row]:
        """Judge the truth itself against one-sided differences of the program's values, along two directions."""
        program, rows = self.solved.program, []
        gradient = {k: self.solved.gradient(k) for k in program.judged}
        if self.solved.bits:  # the tape has no derivative there: JAX's own is compared
            found, failure = self._ran(
                lambda: [np.asarray(g, float) for g in jax.jit(self._vjp())(*self.traced.judged_values())]
            )
            if failure:
                return []
            gradient = dict(zip(program.judged, found, strict=True))
        for number in range(2):
            rng = np.random.default_rng([self.seed, 0xD1FF, number])
            direction = {}
            for k in program.judged:
                size = np.abs(np.asarray(program.arguments[k], float))
                step = np.maximum(size, float(size.max(initial=0.0)) * 2.0**-6 or 1.0)
                direction[k] = np.asarray(rng.standard_normal(size.shape) * step)
            rounding = 2.0**-24 if self.solved.bits else 2.0**-53
            slope = one_sided(program.jaxpr, program.arguments, direction, program.cotangents, rounding)
            truth = float(sum(np.sum(gradient[k] * d) for k, d in direction.items()))
            low, high = sorted((slope.left, slope.right))
            choices = float(sum(np.sum(self.solved.choices(k) * np.abs(d)) for k, d in direction.items()))
            middle, half = 0.5 * (low + high), 0.5 * (high - low)
            scale = float(sum(np.sum(np.abs(self.solved.gradient(k) * d)) for k, d in direction.items()))
            allowed = half + choices + 100.0 * slope.error + 2.0**-30 * scale
            if not np.isfinite(middle + allowed) or allowed > 0.1 * max(scale, abs(middle)):
                block = Block(
                    1,
                    0,
                    0,
                    0,
                    0,
                    float("nan"),
                    Verdict.ACCEPTED if np.isfinite(allowed) and abs(truth - middle) <= allowed else Verdict.UNDECIDED,
                    "the differences do not settle",
                )
            else:
                block = judge_block(np.asarray(truth), np.asarray(middle), np.asarray(allowed))
            rows.append(Row("program", "one-sided", "differences", f"direction {number + 1}", block))
        return rows


def _vmapped(run: Callable[..., Any]) -> Callable[..., Any]:
    """Return the first of two rows, the same inputs in both."""

    def one(*values: Any) -> Any:
        return [g[0] for g in run(*(jnp.stack([v, v]) for v in values))]

    return one


def _failed(truth: Any, failure: str) -> Block:
    return Block(int(np.size(truth)), 0, 0, 0, 0, float("inf"), Verdict.REJECTED, failure)
