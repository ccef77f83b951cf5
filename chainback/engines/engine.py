"""Engine: a way to compute the gradients of a batch of chains, its limits and its compiled form."""

from __future__ import annotations

import functools
import math
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from chainback.engines import networks
from chainback.engines.networks import Activations, Array
from chainback.errors import EngineError
from chainback.operations.activations import ACTIVATIONS

__all__ = [
    "TRACING",
    "Compiled",
    "Engine",
    "Gradient",
    "Limit",
    "few_layers",
    "few_tangents",
    "first_reason",
    "no_limit",
    "small_matrix",
    "small_products",
]

#: Threads may compile side by side, but JAX before 0.5 leaks tracers where two of them trace the same function at once.
TRACING = threading.Lock()
#: (weights, biases, activations, inputs, targets) of one chain to (dweights, dbiases).
Gradient = Callable[[Array, Array, Activations, Array, Array], tuple[Array, Array]]
#: (depth, width, batch) to the reason for which an engine cannot take such a batch, or "" if it can.
Limit = Callable[[int, int, int], str]


#: The most layers of an unrolled program, bytes of a batch, and floating-point operations of a batch.
_LAYERS, _MEMORY, _WORK = 64, 2.0**31, 2.0**34


def no_limit(depth: int, width: int, batch: int) -> str:
    """Decline nothing: the time and memory of the engine grow with the chain alone."""
    return ""


def _gigabytes(size: float) -> str:
    return f"{size / 1e9:.3g} GB"


def first_reason(*limits: Limit) -> Limit:
    """Return the limit that holds where all of these do."""
    return lambda depth, width, batch: next(filter(None, (limit(depth, width, batch) for limit in limits)), "")


def few_layers(depth: int, width: int, batch: int) -> str:
    """An unrolled program is traced and compiled layer by layer."""
    return f"an unrolled program of {depth} layers would take too long to compile (limit {_LAYERS})" * (depth > _LAYERS)


def few_tangents(depth: int, width: int, batch: int) -> str:
    """Forward mode carries a tangent for every parameter through every layer: work N²(n² + n)n², memory N(n² + n)n."""
    tangents = depth * (width**2 + width)
    memory, work = 16.0 * batch * tangents * width, float(batch) * tangents * depth * width**2
    if memory > _MEMORY:
        return (
            f"forward mode would carry {tangents} tangents a case, {_gigabytes(memory)} (limit {_gigabytes(_MEMORY)})"
        )
    if work > _WORK:
        return f"forward mode would take {work:.1e} operations, {tangents} tangents a case (limit {_WORK:.1e})"
    return ""


def small_matrix(depth: int, width: int, batch: int) -> str:
    """The dense solver stores I − L, of order N n."""
    memory = 4.0 * batch * (depth * width) ** 2
    return f"the dense matrix would take {_gigabytes(memory)} (limit {_gigabytes(_MEMORY)})" * (memory > _MEMORY)


def small_products(depth: int, width: int, batch: int) -> str:
    """The parallel solver stores the partial products of the couplings, at every level of its tree."""
    memory = 12.0 * batch * depth * width**2
    return f"the partial products would take {_gigabytes(memory)} (limit {_gigabytes(_MEMORY)})" * (memory > _MEMORY)


@dataclass(frozen=True)
class Compiled:
    """An engine compiled for one shape of batch. It is called as an engine is, with any activations.

    Attributes:
        program: The executable.
        placement: The device that takes its arguments, or the sharding of each of them.
        rows: Cases in a batch.
        filler: Rows that repeat the last case, so that each device has as many as the others.
        visible: Whether the program also returns the system that it solved.
    """

    program: Callable[..., Any]
    placement: Any
    rows: int
    filler: int = 0
    visible: bool = False

    def __call__(
        self, weights: Array, biases: Array, activations: tuple[str, ...], inputs: Array, targets: Array
    ) -> tuple[Array, Array]:
        """Return (dweights, dbiases) of the batch, computed, on the devices."""
        return self.gradients(self.place(weights, biases, activations, inputs, targets))

    def place(self, weights: Array, biases: Array, activations: tuple[str, ...], inputs: Array, targets: Array) -> Any:
        """Return a batch on the devices, in the form that `run`, `gradients` and `solved` take."""
        weights, biases, inputs, targets = map(self._filled_up, (weights, biases, inputs, targets))
        return jax.device_put((weights, biases, networks.codes(activations), inputs, targets), self.placement)

    def _filled_up(self, array: Array) -> Array:
        return np.concatenate([array, np.repeat(array[-1:], self.filler, axis=0)]) if self.filler else array

    def gradients(self, placed: Any) -> tuple[Array, Array]:
        """Return (dweights, dbiases) of a batch on the devices, computed."""
        found = self.run(placed)
        return self._cut(found[0] if self.visible else found)

    def solved(self, placed: Any) -> tuple[tuple[Array, Array], Any]:
        """Return the gradients and the system that was solved for them; None where it is not visible."""
        found = self._cut(self.run(placed))
        return found if self.visible else (found, None)

    def _cut(self, found: Any) -> Any:
        return jax.tree_util.tree_map(lambda a: np.asarray(a)[: self.rows], found) if self.filler else found

    def run(self, placed: Any) -> Any:
        """Return what the program returns, filler rows included: the gradients, and the system where it is visible."""
        return jax.block_until_ready(self.program(*placed))


@dataclass(frozen=True)
class Engine:
    """A built-in engine: a name, a formula for one case, and its limit.

    Calling it follows the protocol of every engine, those of users included:
    `gradients(weights, biases, activations, inputs, targets) -> (dweights, dbiases)` on float32 arrays with a leading
    batch axis: (batch, depth, width, width), (batch, depth, width), names, (batch, width), (batch, width).

    Attributes:
        name: In `ENGINES`, commands and reports.
        gradient: The same for one case, as a pure JAX function; activations are names or codes.
        limit: (depth, width, batch) to the reason for which the engine cannot take such a batch, or "".
        steps: The same as `gradient`, returning also the `ExtendedJacobian` that was solved; None if no system is visible.
        layered: Whether `gradient` also takes weights and biases as tuples of one array a layer, returns its gradients
            so, and is quicker that way.
    """

    name: str
    gradient: Gradient
    limit: Limit = no_limit
    steps: Callable[..., Any] | None = None
    layered: bool = False

    def __call__(
        self, weights: Array, biases: Array, activations: tuple[str, ...], inputs: Array, targets: Array
    ) -> tuple[Array, Array]:
        """Return (dweights, dbiases) of a batch, jitted.

        Raises:
            EngineError: The batch is beyond the engine's limit.
        """
        batch, depth, width = np.shape(biases)
        reason = self.limit(depth, width, batch)
        if reason:
            raise EngineError(f"engine {self.name} cannot take this batch: {reason}")
        return _batched(self.gradient, tuple(ACTIVATIONS))(
            weights, biases, networks.codes(activations), inputs, targets
        )

    def compile(self, depth: int, width: int, batch: int, *devices: Any) -> Compiled:
        """Compile the engine for batches of one shape, split over devices (default: JAX's first).

        Each takes as many rows as the others; where their number does not divide the batch, the last case is repeated.
        """
        used = (devices or jax.local_devices()[:1])[:batch]
        rows = math.ceil(batch / len(used)) * len(used)
        if len(used) == 1:
            split = whole = jax.sharding.SingleDeviceSharding(used[0])
        else:
            mesh = Mesh(np.array(used), ("batch",))
            split, whole = NamedSharding(mesh, PartitionSpec("batch")), NamedSharding(mesh, PartitionSpec())

        def shape(*dimensions: int, dtype: Any = np.float32, sharding: Any = split) -> jax.ShapeDtypeStruct:
            return jax.ShapeDtypeStruct(dimensions, dtype, sharding=sharding)

        arguments = (
            shape(rows, depth, width, width),
            shape(rows, depth, width),
            shape(depth, dtype=np.int32, sharding=whole),
            shape(rows, width),
            shape(rows, width),
        )
        with TRACING:
            lowered = _batched(self.steps or self.gradient, tuple(ACTIVATIONS)).lower(*arguments)
        placement = used[0] if len(used) == 1 else tuple(argument.sharding for argument in arguments)
        return Compiled(lowered.compile(), placement, batch, rows - batch, visible=self.steps is not None)


@functools.cache
def _batched(gradient: Callable[..., Any], known: tuple[str, ...]) -> Any:
    """Return the jitted, batched form. `known` is there for the cache: registering an activation adds a code."""
    return jax.jit(jax.vmap(gradient, in_axes=(0, 0, None, 0, 0)))
