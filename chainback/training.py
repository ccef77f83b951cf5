"""Training a chain by gradient descent with any engine: every update of a run inside one jitted program.

An update is p ← p − s g, where g is the mean gradient of ½‖y − ŷ‖² over the points of a batch: one point (stochastic
descent), some (mini-batch), or all of them (batch descent).
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax, random

from chainback import programs
from chainback.activations import ACTIVATIONS
from chainback.case import Chain
from chainback.engines import engine as engine_named
from chainback.engines.engine import Gradient
from chainback.errors import EngineError, UsageError

__all__ = ["ORDERS", "Training", "initialise", "predictions", "train"]

Array = Any
Parameters = tuple[Array, Array]
Progress = Callable[[int, int, str], None]

#: In which order an epoch visits the points: as they come; in one random order, the same in every epoch, as the lecture
#: does; or in a new one each epoch.
ORDERS = ("given", "fixed", "reshuffled")
#: A run that shows its progress is cut into so many calls of the same program.
_CALLS = 20
#: Up to here a chain compiles faster layer by layer than as a scan that switches between all activations.
_QUICKLY_UNROLLED = 10


@dataclass(frozen=True, eq=False)
class Training:
    """What a run of training left.

    Attributes:
        chain: The parameters after the last update; where the run stopped early, after the last one that was finite.
        losses: Mean of ‖y − ŷ‖² over all points: before the first update, then after each epoch.
        path: The parameters at the same moments, as a batch of chains; None unless it was asked for.
        engine: What computed the gradients.
        updates: How many updates there were.
        stopped: Why the run stopped early, a sentence that names the update; "" if it did not.
    """

    chain: Chain
    losses: np.ndarray
    path: Chain | None
    engine: str
    updates: int
    stopped: str

    @property
    def finished(self) -> bool:
        """Whether every update was done."""
        return not self.stopped


def initialise(key: Array, sizes: Sequence[int], scale: float = 1.0, activations: Sequence[str] | None = None) -> Chain:
    """Draw a chain as the lecture does, number for number, under either random stream of JAX.

    The key is split into one for each entry of `sizes` (the last is left over); a layer splits its own in two and draws
    its weights by the first and its biases by the second, standard normal numbers times `scale`.

    Args:
        key: A key of `jax.random`.
        sizes: The length of every state, x_0 … x_N: all the same, since a chain has one width.
        scale: Standard deviation of every parameter.
        activations: One name a layer; default sigmoid, and identity for the last.

    Raises:
        UsageError: The sizes differ, are fewer than two or not positive; or the activations do not fit.
    """
    sizes = tuple(sizes)
    if len(sizes) < 2 or len(set(sizes)) != 1 or sizes[0] < 1:
        raise UsageError(f"`sizes` must be one width, at least 1, for each of N + 1 >= 2 states, got {sizes!r:.60}")
    names = ("sigmoid",) * (len(sizes) - 2) + ("identity",) if activations is None else tuple(activations)
    width, pairs = sizes[0], [random.split(own) for own in random.split(key, len(sizes))[:-1]]
    weights = jnp.stack([scale * random.normal(pair[0], (width, width)) for pair in pairs])
    return Chain(weights, jnp.stack([scale * random.normal(pair[1], (width,)) for pair in pairs]), names)


def predictions(chain: Chain, inputs: Any) -> np.ndarray:
    """Return ŷ for each of many inputs, (points, width); a plain sequence of numbers will do at width 1.

    Raises:
        UsageError: The inputs do not fit the chain.
    """
    points = _points("inputs", inputs, chain)
    return np.asarray(_predict(chain.weights, chain.biases, programs.codes(chain.activations), points))


def train(
    chain: Chain,
    inputs: Any,
    targets: Any,
    *,
    engine: str = "triangular-substitution",
    step: float = 0.01,
    epochs: int = 500,
    batch: int | None = 1,
    order: str = "fixed",
    key: Array | None = None,
    trace: bool = False,
    progress: Progress | None = None,
) -> Training:
    """Train a chain by gradient descent; the run is one jitted program, which stops at the first NaN or infinity.

    Args:
        chain: Where to start: one chain, of any depth, width and activations, in float32.
        inputs: The points, (points, width); a plain sequence of numbers will do at width 1. Any grid.
        targets: What the chain should answer there, likewise.
        engine: A name of `ENGINES`.
        step: s, the step size.
        epochs: How often every point is visited.
        batch: Points for each update: 1 is stochastic descent, None batch descent, between them mini-batch. Where they do
            not divide the points, the last batch of each epoch is smaller.
        order: One of `ORDERS`.
        key: Key of the random order; default `PRNGKey(1)`, the lecture's.
        trace: Keep the parameters after every epoch.
        progress: Told (epochs done, epochs in all, what is being done), about twenty times.

    Returns:
        The trained chain, and its learning curve.

    Raises:
        UsageError: An argument is out of range, unknown, or does not fit the chain.
        EngineError: The engine cannot take such a batch.
    """
    x, y = _points("inputs", inputs, chain), _points("targets", targets, chain)
    size = _checked(chain, x, y, step, epochs, batch, order)
    method = engine_named(engine)
    reason = method.limit(chain.depth, chain.width, size)
    if reason:
        raise EngineError(f"engine {engine} cannot train with such batches: {reason}")
    calls = 1 if progress is None else _CALLS
    share = math.ceil(epochs / calls)
    room = 1 << (share - 1).bit_length()  # so that runs of nearly the same length share a program
    program = _program(method.gradient, chain.activations, tuple(ACTIVATIONS), size, order, trace, room)
    key = random.PRNGKey(1) if key is None else key
    parameters = jnp.asarray(chain.weights), jnp.asarray(chain.biases)
    losses, path, updates, alive = [], [[np.asarray(p)[None] for p in parameters]], 0, True
    every, fixed = math.ceil(len(x) / size), _visits(order, key, len(x))
    for first in range(0, epochs, share):
        count = min(share, epochs - first)
        parameters, alive, done, before, curve, places = program(parameters, x, y, fixed, key, step, first, count)
        updates += int(done)
        whole = count if alive else int(done) // every
        losses += [*([] if first else [[before]]), np.asarray(curve)[:whole]]
        path.append([np.asarray(p)[:whole] for p in places])
        if progress is not None:
            progress(first + whole, epochs, f"training by {engine}")
        if not alive:
            break
    return Training(
        chain=Chain(parameters[0], parameters[1], chain.activations),
        losses=np.concatenate(losses),
        path=_joined(path, chain.activations) if trace else None,
        engine=engine,
        updates=updates,
        stopped="" if alive else _stopped(engine, updates + 1, every, epochs, step),
    )


def _joined(path: list[list[np.ndarray]], names: tuple[str, ...]) -> Chain:
    return Chain(np.concatenate([part[0] for part in path]), np.concatenate([part[1] for part in path]), names)


def _stopped(engine: str, update: int, every: int, epochs: int, step: float) -> str:
    return (
        f"training by {engine} stopped at update {update:,} of {every * epochs:,} (epoch {(update - 1) // every + 1}): "
        f"it would have made a parameter NaN or infinite; take a step smaller than {step:g}"
    )


def _points(name: str, values: Any, chain: Chain) -> np.ndarray:
    if not isinstance(chain, Chain) or chain.is_batch:
        raise UsageError("`chain` must be one chain, without a batch axis")
    try:
        array = np.asarray(values, np.float32)
    except (TypeError, ValueError):
        raise UsageError(f"`{name}` must be numbers, got {type(values).__name__}: {values!r:.60}") from None
    array = array[:, None] if array.ndim == 1 and chain.width == 1 else array
    if array.ndim != 2 or array.shape[1] != chain.width or not len(array):
        raise UsageError(f"`{name}` must have shape (points, {chain.width}) to fit the chain, got {array.shape}")
    if not np.isfinite(array).all():
        raise UsageError(f"`{name}` must be finite: remove NaN and infinity")
    return array


def _checked(
    chain: Chain, x: np.ndarray, y: np.ndarray, step: float, epochs: int, batch: int | None, order: str
) -> int:
    """Return the points of a batch, once every argument is found to be in range."""
    if np.dtype(chain.weights.dtype) != np.float32:
        raise UsageError(f"`chain` must be of float32 to be trained, got {chain.weights.dtype}")
    if len(x) != len(y):
        raise UsageError(f"`inputs` and `targets` must be as many, got {len(x)} and {len(y)}")
    if not (math.isfinite(step) and step > 0):
        raise UsageError(f"`step` must be a positive number, got {step!r}")
    if epochs < 1 or epochs != int(epochs):
        raise UsageError(f"`epochs` must be a whole number from 1 on, got {epochs!r}")
    if batch is not None and (batch < 1 or batch != int(batch)):
        raise UsageError(f"`batch` must be a whole number from 1 on, or None for all points, got {batch!r}")
    if order not in ORDERS:
        raise UsageError(f"`order` must be one of {', '.join(ORDERS)}, got {order!r}")
    return len(x) if batch is None else min(batch, len(x))


@jax.jit
def _predict(weights: Array, biases: Array, codes: Array, inputs: Array) -> Array:
    return jax.vmap(lambda x: programs.scanned(weights, biases, codes, x))(inputs)


@functools.cache
def _program(
    gradient: Gradient, names: tuple[str, ...], known: tuple[str, ...], size: int, order: str, trace: bool, room: int
) -> Any:
    """Return the jitted run of up to `room` epochs; `known` keys the cache, since registering an activation adds a code."""
    mean = _mean_gradient(gradient, names, size)
    answer = programs.unrolled if len(names) <= _QUICKLY_UNROLLED else programs.scanned

    def run(
        start: Parameters, x: Array, y: Array, visits: Array, key: Array, step: Array, first: Array, count: Array
    ) -> Any:
        fixed = _batches(visits, size)

        def update(carry: Any, visited: tuple[Array, Array]) -> tuple[Any, None]:
            parameters, alive, done = carry
            moved = jax.tree_util.tree_map(
                lambda p, g: p - jnp.asarray(step, p.dtype) * g, parameters, mean(parameters, x, y, *visited)
            )
            alive &= jnp.isfinite(moved[0]).all() & jnp.isfinite(moved[1]).all()
            kept = jax.tree_util.tree_map(lambda new, old: jnp.where(alive, new, old), moved, parameters)
            return (kept, alive, done + alive), None

        def loss(parameters: Parameters) -> Array:
            predicted = jax.vmap(lambda point: answer(*parameters, names, point))(x)
            return jnp.square(predicted - y).sum(axis=1).mean()

        def epoch(state: Any) -> Any:
            place, carry, curve, path = state
            again = order == "reshuffled"
            visits = _batches(_visits(order, random.fold_in(key, first + place), len(x)), size) if again else fixed
            carry, _ = lax.scan(update, carry, visits)
            curve = curve.at[place].set(loss(carry[0]))
            path = tuple(kept.at[place].set(p) for kept, p in zip(path, carry[0], strict=True)) if trace else path
            return place + 1, carry, curve, path

        curve = jnp.zeros(room, start[0].dtype)
        path = tuple(jnp.zeros((room if trace else 0, *p.shape), p.dtype) for p in start)
        state = (0, (start, True, 0), curve, path)
        _, (parameters, alive, done), curve, path = lax.while_loop(lambda s: (s[0] < count) & s[1][1], epoch, state)
        return parameters, alive, done, loss(start), curve, path

    return jax.jit(run)


def _visits(order: str, key: Array, points: int) -> Array:
    return jnp.arange(points) if order == "given" else random.permutation(key, points)


def _batches(visits: Array, size: int) -> tuple[Array, Array]:
    """Cut an order into batches: the places, and which of them count, since the last batch may be filled up."""
    missing = -len(visits) % size
    counts = jnp.concatenate([jnp.ones(len(visits), bool), jnp.zeros(missing, bool)])
    return jnp.concatenate([visits, visits[:missing]]).reshape(-1, size), counts.reshape(-1, size)


def _mean_gradient(gradient: Gradient, names: tuple[str, ...], size: int) -> Callable[..., Parameters]:
    """Return the mean gradient over the points of a batch that count."""

    def one(parameters: Parameters, x: Array, y: Array, places: Array, counts: Array) -> Parameters:
        return gradient(*parameters, names, x[places[0]], y[places[0]])

    def many(parameters: Parameters, x: Array, y: Array, places: Array, counts: Array) -> Parameters:
        each = jax.vmap(gradient, in_axes=(None, None, None, 0, 0))
        found = each(*parameters, programs.codes(names), x[places], y[places])

        def mean(part: Array) -> Array:
            counted = counts.reshape(-1, *(1,) * (part.ndim - 1))
            return jnp.where(counted, part, 0).sum(axis=0) / counts.sum()

        return mean(found[0]), mean(found[1])

    return one if size == 1 else many
