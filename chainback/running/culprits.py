"""Which rule is wrong: JAX's own derivative of each single custom call, read in float64, against ours."""

from __future__ import annotations

from typing import Any

import jax
import jax.extend as jex
import jax.extend.core
import numpy as np

from chainback.operations.primitives.record import is_float
from chainback.truth.interpreter import read
from chainback.truth.tape import Tape

__all__ = ["culprit"]


def culprit(tape: Tape, seed: int) -> str:
    """Return a sentence that names the custom rule, or the equation, whose derivative is wrong; "" where none is alone.

    Args:
        tape: The program, with the calls that it entered.
        seed: Decides the cotangents.
    """
    worst, name = 0.0, ""
    for eqn, ins, outs, source in tape.calls:
        inputs = [tape.values[k] for k in ins]
        floats = [k for k, var in enumerate(eqn.invars) if is_float(var.aval.dtype)]
        if not floats or not all(is_float(tape.dtypes[k]) for k in outs):
            continue
        rng = np.random.default_rng(seed)
        seeds = [rng.standard_normal(np.shape(tape.values[k])) for k in outs]
        try:
            off = _off(eqn, inputs, floats, seeds)
        except Exception:  # a rule that cannot be read alone is not named
            continue
        if not off <= worst:
            place = f"{source.file.rpartition('/')[2]}:{source.line}"
            kind = _kind(eqn.primitive.name)
            worst, name = off, f"the rule of {source.scope[-1]} ({kind}, {place}) is off by {off:.1e}"
    return name if worst > 1e-12 or worst != worst else ""


def _alone(eqn: Any) -> Any:
    """Return one equation as a function of its operands."""
    operands = [v for v in eqn.invars if not hasattr(v, "val")]
    jaxpr = jex.core.Jaxpr((), operands, eqn.outvars, [eqn], eqn.effects)
    return jex.core.jaxpr_as_fun(jex.core.ClosedJaxpr(jaxpr, ()))


def _kind(name: str) -> str:
    return "custom_jvp" if "jvp" in name else "custom_vjp" if "vjp" in name else name


def _off(eqn: Any, inputs: list[Any], floats: list[int], seeds: list[Any]) -> float:
    """Return how far JAX's derivative of one equation is from ours, relative to ours."""
    alone = _alone(eqn)

    def function(*judged: Any) -> Any:
        whole = [jax.numpy.asarray(x, v.aval.dtype) for x, v in zip(inputs, eqn.invars, strict=True)]
        for k, value in zip(floats, judged, strict=True):
            whole[k] = value
        return alone(*(value for value, v in zip(whole, eqn.invars, strict=True) if not hasattr(v, "val")))

    def gradient(*judged: Any) -> Any:
        return jax.vjp(function, *judged)[1](
            [jax.numpy.asarray(s, v.aval.dtype) for s, v in zip(seeds, eqn.outvars, strict=True)]
        )

    arguments = [jax.numpy.asarray(inputs[k], eqn.invars[k].aval.dtype) for k in floats]
    rounded = [np.asarray(a) for a in arguments]
    theirs = read(jax.make_jaxpr(gradient)(*arguments), rounded)
    ours = read(jax.make_jaxpr(function)(*arguments), rounded)
    adjoints = ours.pull(
        {
            k: np.asarray(jax.numpy.asarray(s, v.aval.dtype), float)
            for k, s, v in zip(ours.outputs, seeds, eqn.outvars, strict=True)
        }
    )
    off = 0.0
    for got, k in zip(theirs.outputs, ours.inputs, strict=True):
        true = adjoints[k]
        true = np.zeros(np.shape(ours.values[k])) if true is None else true
        size = float(np.max(np.abs(true), initial=0.0)) or 1.0
        off = (
            max(off, float(np.max(np.abs(theirs.values[got] - true), initial=0.0)) / size)
            if np.all(np.isfinite(theirs.values[got]))
            else float("nan")
        )
    return off
