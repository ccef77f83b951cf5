"""A function traced: from a function and its arguments to a program, and the programs of its derivatives."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from chainback.engines.networks import Array
from chainback.errors import UsageError, sentence
from chainback.problems.program import Program
from chainback.truth.interpreter import read
from chainback.truth.program_system import ProgramSystem

__all__ = ["Traced", "program", "trace"]


@dataclass(frozen=True)
class Traced:
    """A program, and the function of which it is the trace.

    Attributes:
        program: The program.
        flat: The function, from its flat inputs to its flat outputs.
        values: The flat inputs as JAX has them.
    """

    program: Program
    flat: Callable[..., list[Array]]
    values: tuple[Array, ...]

    def of_judged(self) -> Callable[..., list[Array]]:
        """Return the function of the judged inputs alone, to the float outputs that have a seed."""
        places, seeded = self.program.judged, list(self.program.cotangents)

        def function(*judged: Array) -> list[Array]:
            whole = list(self.values)
            for place, value in zip(places, judged, strict=True):
                whole[place] = value
            results = self.flat(*whole)
            return [results[k] for k in seeded]

        return function

    def judged_values(self) -> tuple[Array, ...]:
        """Return the judged inputs."""
        return tuple(self.values[place] for place in self.program.judged)

    def seeds(self) -> list[Array]:
        """Return the seeds of the outputs that have one."""
        return [jnp.asarray(seed) for seed in self.program.cotangents.values()]


def trace(
    f: Callable[..., Any], *args: Any, argnums: int | Sequence[int] | None = None, cotangent: Any = None, seed: int = 0
) -> Traced:
    """Trace a function.

    Args:
        f: Any function of pytrees of arrays and numbers.
        args: Its arguments.
        argnums: Which of them are differentiated; default: all that hold floats.
        cotangent: The seed of the derivative, a pytree like the result; default: 1 for a scalar float result, otherwise
            standard normal numbers.
        seed: Decides those.

    Raises:
        UsageError: The function cannot be traced, or there is nothing to differentiate.
    """
    if not callable(f):
        raise UsageError(f"`f` must be a function, got a {type(f).__name__}")
    chosen = range(len(args)) if argnums is None else [argnums] if isinstance(argnums, int) else list(argnums)
    if any(not -len(args) <= k < len(args) for k in chosen):
        raise UsageError(f"`argnums` must name some of the {len(args)} arguments, from 0, got {argnums!r:.40}")
    chosen = {k % len(args) for k in chosen}
    keyed, tree = jax.tree_util.tree_flatten_with_path(args)
    names = _names(f, len(args))
    inputs = tuple(names[path[0].idx] + jax.tree_util.keystr(path[1:]) for path, _ in keyed)
    belongs = [path[0].idx for path, _ in keyed]
    try:
        values = tuple(leaf if _is_key(leaf) else jnp.asarray(leaf) for _, leaf in keyed)
    except (TypeError, ValueError) as error:
        raise UsageError(f"an argument is neither an array nor a number: {sentence(error)}") from None
    out_tree: list[Any] = []

    def flat(*leaves: Array) -> list[Array]:
        results, structure = jax.tree_util.tree_flatten(f(*jax.tree_util.tree_unflatten(tree, leaves)))
        out_tree[:] = [structure]
        return results

    try:
        jaxpr = jax.make_jaxpr(flat)(*values)
    except Exception as error:
        raise UsageError(f"{_called(f)} does not trace: {sentence(error)}") from error
    paths = jax.tree_util.tree_flatten_with_path(
        jax.tree_util.tree_unflatten(out_tree[0], range(len(jaxpr.out_avals)))
    )[0]
    outputs = tuple("result" + jax.tree_util.keystr(path) for path, _ in paths)
    judged = tuple(k for k, v in enumerate(values) if belongs[k] in chosen and jnp.issubdtype(v.dtype, jnp.floating))
    floats = [k for k, aval in enumerate(jaxpr.out_avals) if jnp.issubdtype(aval.dtype, jnp.floating)]
    if not judged:
        raise UsageError("there is nothing to differentiate: no argument asked for holds a float")
    if not floats:
        raise UsageError(f"{_called(f)} returns no float: it has no derivative")
    cotangents = _seeds(jaxpr, floats, cotangent, out_tree[0], seed)
    arguments = tuple(_read_only(jax.random.key_data(v) if _is_key(v) else v) for v in values)
    program = Program(_called(f), jaxpr, arguments, inputs, outputs, judged, cotangents)
    return Traced(program, flat, values)


def program(f: Callable[..., Any], *args: Any) -> ProgramSystem:
    """Return the extended Jacobian of a traced function at its arguments: (I − L) dv = D dx, in float64.

    Args:
        f: Any function of pytrees of arrays and numbers.
        args: Its arguments.

    Raises:
        UsageError: It does not trace.
        MissingRuleError: A primitive has no record.
    """
    traced = trace(f, *args).program
    return ProgramSystem(read(traced.jaxpr, traced.arguments), traced.inputs, traced.outputs)


def _is_key(leaf: Any) -> bool:
    return isinstance(leaf, jax.Array) and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _read_only(value: Array) -> np.ndarray:
    found = np.array(value)
    found.flags.writeable = False
    return found


def _called(f: Any) -> str:
    return getattr(f, "__name__", type(f).__name__)


def _names(f: Callable[..., Any], count: int) -> list[str]:
    """Return what the arguments are called in the function's signature."""
    try:
        parameters = list(inspect.signature(f).parameters.values())
    except (TypeError, ValueError):
        parameters = []
    named = [p.name for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)][:count]
    rest = next((p.name for p in parameters if p.kind is p.VAR_POSITIONAL), "args")
    return named + [f"{rest}[{k}]" for k in range(count - len(named))]


def _seeds(jaxpr: Any, floats: Sequence[int], cotangent: Any, tree: Any, seed: int) -> dict[int, np.ndarray]:
    if cotangent is not None:
        leaves, structure = jax.tree_util.tree_flatten(cotangent)
        if structure != tree:
            raise UsageError(f"`cotangent` must have the structure of the result, {tree}, got {structure}")
        for k in floats:
            if np.shape(leaves[k]) != tuple(jaxpr.out_avals[k].shape):
                raise UsageError(
                    "`cotangent` must have the shapes of the result: "
                    f"{tuple(jaxpr.out_avals[k].shape)}, got {np.shape(leaves[k])}"
                )
        return {k: np.asarray(jnp.asarray(leaves[k], jaxpr.out_avals[k].dtype)) for k in floats}
    only = len(floats) == 1 and jaxpr.out_avals[floats[0]].shape == ()
    rng = np.random.default_rng([seed, 0x5EED])
    drawn: Mapping[int, np.ndarray] = {
        k: np.ones(()) if only else rng.standard_normal(jaxpr.out_avals[k].shape) for k in floats
    }
    return {k: np.asarray(jnp.asarray(value, jaxpr.out_avals[k].dtype)) for k, value in drawn.items()}
