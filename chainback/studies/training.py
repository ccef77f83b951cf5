"""Training a chain by gradient descent with any engine: every update of a run inside one jitted program.

An update is p ← p − s g, where g is the mean gradient of ½‖y − ŷ‖² over the points of a batch: one point (stochastic
descent), some (mini-batch), or all of them (batch descent).
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax, random

from chainback.engines import networks
from chainback.engines.engine import Engine, Gradient
from chainback.engines.networks import Array
from chainback.engines.registry import engine_named
from chainback.errors import EngineError, UsageError
from chainback.operations.activations import ACTIVATIONS
from chainback.problems.chain import Chain
from chainback.processes.watch import Progress

__all__ = ["ORDERS", "Training", "initialise", "predictions", "train"]

Parameters = tuple[Array, Array]

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
    return np.asarray(_predict(chain.weights, chain.biases, networks.codes(chain.activations), points))


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
    if key is None and order != "given":  # to make one takes a fiftieth of what all of Example 1 takes
        key = random.PRNGKey(1)
    if order == "fixed":
        visits = np.asarray(random.permutation(cast(Any, key), len(x)))
        x, y = x[visits], y[visits]
    share = math.ceil(epochs / (1 if progress is None else _CALLS))
    room = 1 << (share - 1).bit_length()  # so that runs of nearly the same length share a program
    program = _program(method, chain.activations, tuple(ACTIVATIONS), size, order == "reshuffled", trace, room)
    parameters, parts, every = (chain.weights, chain.biases), [], math.ceil(len(x) / size)
    alive, done = True, 0
    while alive and done < epochs:
        count = min(share, epochs - done)
        passes = count + (done + count == epochs)
        parameters, alive, seen, *kept = program(parameters, x, y, key, step, done, count, passes, every)
        seen = int(seen)
        parts.append([np.asarray(part)[:seen] for part in kept])
        done += count if alive else seen - 1
        if progress is not None:
            progress(done, epochs, f"training by {engine}")
    updates = done * every
    if not alive:
        parameters, more = _to_the_last_finite(
            lambda number: program(parameters, x, y, key, step, done, 1, 1, number), parameters, every
        )
        updates += more
    losses, *path = (np.concatenate(part) for part in zip(*parts, strict=True))
    return Training(
        chain=Chain(parameters[0], parameters[1], chain.activations),
        losses=losses,
        path=Chain(path[0], path[1], chain.activations) if trace else None,
        engine=engine,
        updates=updates,
        stopped="" if alive else _stopped(engine, updates + 1, every, epochs, step),
    )


def _to_the_last_finite(run: Callable[[int], Any], parameters: Parameters, every: int) -> tuple[Parameters, int]:
    """Return what the longest finite part of an epoch comes to, and of how many updates it is; the whole is not finite.

    Where a parameter is not finite it stays so, whatever is subtracted from it: halving finds where that began.
    """
    low, high = 0, every
    while high - low > 1:
        middle = (low + high) // 2
        reached, alive, *_ = run(middle)
        low, high, parameters = (middle, high, reached) if alive else (low, middle, parameters)
    return parameters, low


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
    if not (np.isfinite(chain.weights).all() and np.isfinite(chain.biases).all()):
        raise UsageError("`chain` must be finite: remove NaN and infinity from its weights and biases")
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
    return jax.vmap(lambda x: networks.scanned(weights, biases, codes, x))(inputs)


@functools.cache
def _program(
    method: Engine, names: tuple[str, ...], known: tuple[str, ...], size: int, again: bool, trace: bool, room: int
) -> Any:
    """Return the jitted run of up to `room` epochs; `known` keys the cache, since registering an activation adds a code.

    It takes the parameters; the points and their targets, in the order of their visits (`again`: to be shuffled anew in
    each epoch); the key, the step; how many epochs were done before, how many are to be done now, in how many passes, and
    of how many updates. A pass takes the loss of the parameters that it finds while it makes an epoch of new ones, which
    costs nothing beside the updates, each of which waits for the one before; one pass too many takes the last loss.

    It returns the parameters after the last finite epoch, whether that was the last of all, the number of passes, and for
    each of them the loss, and the parameters, where they are traced.
    """
    look = _look(method.gradient, names, size)

    def run(
        start: Parameters,
        x: Array,
        y: Array,
        key: Array,
        step: Array,
        first: Array,
        count: Array,
        passes: Array,
        every: Array,
    ) -> Any:
        step = jnp.asarray(step, start[0].dtype)

        def epoch(place: Array, before: Parameters) -> tuple[Parameters, Array]:
            order = random.permutation(random.fold_in(key, first + place), len(x)) if again else None
            points = (x, y) if order is None else (x[order], y[order])

            def update(i: Array, carry: tuple[Parameters, Array]) -> tuple[Parameters, Array]:
                parameters, loss = carry
                gradients, squares = look(parameters, before, points, i)
                moved = jax.tree_util.tree_map(lambda p, g: p - step * g, parameters, gradients)
                return moved, loss + squares

            return lax.fori_loop(0, every, update, (before, jnp.zeros((), start[0].dtype)))

        def body(state: Any) -> Any:
            place, _, before, curve, path = state
            after, loss = epoch(place, before)
            curve = curve.at[place].set(loss / len(x))
            if trace:
                path = tuple(kept.at[place].set(_stacked(p)) for kept, p in zip(path, before, strict=True))
            return place + 1, before, after, curve, path

        parameters = tuple(tuple(part) for part in start) if method.layered else start
        curve = jnp.zeros(room + 1, start[0].dtype)
        path = tuple(jnp.zeros((room + 1 if trace else 0, *p.shape), p.dtype) for p in start)
        place, before, after, curve, path = lax.while_loop(
            lambda state: (state[0] < passes) & _finite(state[2]), body, (0, parameters, parameters, curve, path)
        )
        finite = _finite(after)
        whole = finite & (place <= count)  # else the last pass was one too many, or led to no numbers
        parameters = tuple(jnp.where(whole, _stacked(p), _stacked(q)) for p, q in zip(after, before, strict=True))
        return parameters, finite | (place > count), place, curve, *path

    return jax.jit(run)


def _stacked(layers: Any) -> Array:
    return jnp.stack(layers) if isinstance(layers, tuple) else layers


def _finite(parameters: Any) -> Array:
    return jnp.stack([jnp.isfinite(part).all() for part in jax.tree_util.tree_leaves(parameters)]).all()


def _look(gradient: Gradient, names: tuple[str, ...], size: int) -> Callable[..., tuple[Parameters, Array]]:
    """Return what takes the i-th batch of the points: the mean gradient of one chain, the summed squares of another.

    The last batch may be smaller than the others: it is filled up by points that then do not count.
    """

    def squares(parameters: Parameters, x: Array, y: Array) -> Array:
        one_by_one = isinstance(parameters[0], tuple) or len(names) <= _QUICKLY_UNROLLED
        answer = networks.unrolled if one_by_one else networks.scanned
        return jnp.square(answer(*parameters, names, x) - y).sum()

    def one(parameters: Parameters, other: Parameters, points: tuple[Array, Array], i: Array) -> tuple[Any, Array]:
        x, y = (part[i] for part in points)
        return gradient(*parameters, names, x, y), squares(other, x, y)

    def many(parameters: Parameters, other: Parameters, points: tuple[Array, Array], i: Array) -> tuple[Any, Array]:
        places = i * size + jnp.arange(size)
        counts = places < len(points[0])
        x, y = (part[jnp.where(counts, places, 0)] for part in points)
        gradients, missed = jax.vmap(lambda x, y: (gradient(*parameters, names, x, y), squares(other, x, y)))(x, y)

        def total(part: Array) -> Array:
            return jnp.where(counts.reshape(-1, *(1,) * (part.ndim - 1)), part, 0).sum(axis=0)

        return jax.tree_util.tree_map(lambda part: total(part) / counts.sum(), gradients), total(missed)

    return one if size == 1 else many
