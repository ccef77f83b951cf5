"""Harness of the properties: runs engines on cases padded to one depth, so that each engine compiles once a width."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from hypothesis import assume

from chainback import ENGINES, Case, Chain
from chainback.engines.devices import arithmetic_of
from chainback.engines.networks import codes
from chainback.engines.triangular import ExtendedJacobian, linearise
from chainback.operations.arithmetic import FLOAT32
from chainback.truth.chain_bound import Derived, envelope
from chainback.truth.envelope import components_of

DEPTH = 8
ALL = list(ENGINES)
ARITHMETIC = arithmetic_of(jax.devices()[0])


@functools.cache
def compiled(engine: str, width: int, rows: int = 1) -> Callable[..., Any]:
    """Return an engine compiled for chains of `DEPTH` layers."""
    return ENGINES[engine].compile(DEPTH, width, rows)


def padded(case: Case) -> Case:
    """Return the same case with exact identity layers behind it."""
    return Case(case.chain.padded(DEPTH), case.inputs, case.targets)


def run(engine: str, case: Case) -> tuple[np.ndarray, np.ndarray]:
    """Return an engine's gradients of a padded batch."""
    chain = case.chain
    program = compiled(engine, chain.width, len(case))
    dweights, dbiases = program(chain.weights, chain.biases, chain.activations, case.inputs, case.targets)
    return np.asarray(dweights), np.asarray(dbiases)


def components(engine: str, case: Case) -> np.ndarray:
    """Return an engine's gradient of one case as a row of components."""
    return components_of(*run(engine, padded(case).as_batch()))[0]


def decided(case: Case) -> Derived:
    """Return the envelope of a padded case; discard the example where overflow leaves it undecided."""
    bounds = envelope(padded(case), ARITHMETIC)
    assume(bool(bounds.decided.all()))
    return bounds


@functools.cache
def _linearise(width: int) -> Callable[..., ExtendedJacobian]:
    return jax.jit(linearise)


def system_of(case: Case) -> ExtendedJacobian:
    """Return the extended Jacobian of a padded case, its arrays NumPy's."""
    chain = padded(case).chain
    system = _linearise(chain.width)(chain.weights, chain.biases, codes(chain.activations), case.inputs)
    return jax.tree_util.tree_map(np.asarray, system)


@functools.cache
def _solver(which: str, solver: str) -> Callable[..., Any]:
    return jax.jit(lambda system, rhs: getattr(system, which)(rhs, solver))


def solve(system: ExtendedJacobian, rhs: np.ndarray, solver: str, *, transposed: bool = False) -> np.ndarray:
    """Solve (I − L) dx = rhs, or its transpose, by one of the solvers."""
    return np.asarray(_solver("solve_transposed" if transposed else "solve", solver)(system, rhs))


def substitution_bound(system: ExtendedJacobian, rhs: np.ndarray, *, transposed: bool = False) -> np.ndarray:
    """Bound |computed − exact| of a substitution on the *computed* matrix: γ_k times the solve with |L|, in float64.

    Each path from rhs to a component meets at most n + 1 roundings a layer (Higham 2002, theorem 8.5); products of up to
    2 N n partial terms may underflow by η each.
    """
    couplings = np.abs(system.couplings.astype(np.float64))
    depth, width, _ = couplings.shape
    if transposed:
        couplings = np.swapaxes(np.roll(couplings, -1, axis=0), 1, 2)[::-1]
        rhs = rhs[::-1]
    size = np.zeros((width, rhs.shape[2]))
    sizes, growth, largest = [], 1.0, 1.0
    for coupling, right in zip(couplings, np.abs(rhs.astype(np.float64)), strict=True):
        size = (coupling @ size if sizes else 0.0) + right
        sizes.append(size)
        growth *= max(1.0, np.abs(coupling).sum(axis=1).max(), np.abs(coupling).sum(axis=0).max())
        largest = max(largest, float(size.max()))
    operations = (width + 2) * depth * FLOAT32.unit_roundoff
    bound = np.stack(sizes) * operations / (1 - operations)
    bound += 8 * depth * width**2 * FLOAT32.smallest_normal * growth * max(1.0, float(np.abs(rhs).max()))
    assume(growth * largest < 1e30)
    return bound[::-1] if transposed else bound


def joined(first: Chain, second: Chain) -> Chain:
    """Return the chain that runs the first, then the second."""
    return Chain(
        np.concatenate([first.weights, second.weights]),
        np.concatenate([first.biases, second.biases]),
        first.activations + second.activations,
    )
