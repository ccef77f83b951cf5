"""Reference gradients and bounds computed on a device, by the NumPy code of `truth/`, lifted; checked by NumPy.

The code is compiled by the very compiler that is under test, so it is trusted as far as NumPy confirms it. Both compute the
first batch of each shape, one in sixteen of the rest, and each with a case that the device leaves undecided or a result that
it would reject; there the device's reference and bound are judged by NumPy's, to within 2⁻²⁰ of each bound, and the batch is
counted by NumPy's.
"""

from __future__ import annotations

import threading
import zlib
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from chainback.engines import networks
from chainback.engines.engine import TRACING
from chainback.engines.networks import Array
from chainback.errors import EngineError, UsageError, sentence
from chainback.judging.judgement import Judgement
from chainback.operations.activations import ACTIVATIONS, activation
from chainback.operations.arithmetic import Arithmetic
from chainback.problems.chain import Case
from chainback.running.device_check import compared
from chainback.running.lifting import double_precision, lift, lowered
from chainback.truth.chain_bound import envelope, gradient_blocks, gradient_error_bounds
from chainback.truth.chain_forward_error import (
    ForwardErrorBounds,
    flushed_magnitudes,
    forward_error_bounds,
    input_error_bound,
)
from chainback.truth.chain_gradient import Truth
from chainback.truth.envelope import Envelope
from chainback.truth.recurrences import adjoints_of, is_deep, matvec

__all__ = ["DeviceTruth"]

#: NumPy computes one batch in so many, too.
_ONE_IN = 16


@dataclass
class DeviceTruth:
    """Computes reference gradients and bounds of batches on a device.

    Attributes:
        name: In reports.
        device: JAX's.
    """

    name: str
    device: Any
    _programs: dict[Any, Any] = field(default_factory=dict)
    _met: set[Any] = field(default_factory=set)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __call__(self, case: Case, arithmetic: Arithmetic, check: bool = False) -> tuple[Envelope, Judgement | None]:
        """Return reference and bound of a batch; where NumPy computes them, too, NumPy's, with the device's judged by them.

        Args:
            case: A batch.
            arithmetic: How the gradients under judgement are computed.
            check: Whether NumPy computes those of this batch in any case.

        Raises:
            UsageError: The device has no program for them.
            EngineError: The program did not end well.
        """
        if _left_to_numpy(case.chain.depth, case.chain.width, len(case)):
            return envelope(case, arithmetic), None
        found = self.envelope(case, arithmetic)
        chosen = self._is_new(case, arithmetic) or check or zlib.crc32(case.ids[0].encode()) % _ONE_IN == 0
        if not chosen and found.decided.all():
            return found, None
        by_numpy = envelope(case, arithmetic)
        return by_numpy, compared(found, by_numpy, case.chain.activations)

    def _is_new(self, case: Case, arithmetic: Arithmetic) -> bool:
        met = case.chain.weights.shape, arithmetic
        with self._lock:
            new = met not in self._met
            self._met.add(met)
        return new

    def envelope(self, case: Case, arithmetic: Arithmetic) -> Envelope:
        """Return reference and bound of a batch as the device computes them, unchecked.

        Raises:
            UsageError: The device has no program for them.
            EngineError: The program did not end well.
        """
        chain = case.chain
        program = self._program(chain.depth, chain.width, len(case), arithmetic)
        arguments = chain.weights, chain.biases, networks.codes(chain.activations), case.inputs, case.targets
        try:
            with double_precision():
                reference, bound, decided = map(np.asarray, program(*jax.device_put(arguments, self.device)))
        except Exception as error:  # as where the device's memory is full
            raise EngineError(f"it raised {sentence(error)}") from error
        return Envelope(reference, bound, decided, arithmetic, gradient_blocks(chain.depth, chain.width))

    def prepare(self, depth: int, width: int, rows: int, arithmetic: Arithmetic) -> None:
        """Compile what batches of a shape will need.

        Raises:
            UsageError: The device has no program for them.
        """
        if not _left_to_numpy(depth, width, rows):
            self._program(depth, width, rows, arithmetic)

    def _program(self, depth: int, width: int, rows: int, arithmetic: Arithmetic) -> Any:
        key = depth, width, rows, arithmetic, tuple(ACTIVATIONS)
        if key not in self._programs:
            self._programs[key] = self._compiled(depth, width, rows, arithmetic)
        return self._programs[key]

    def _compiled(self, depth: int, width: int, rows: int, arithmetic: Arithmetic) -> Any:
        there = jax.sharding.SingleDeviceSharding(self.device)
        shapes = (rows, depth, width, width), (rows, depth, width), (depth,), (rows, width), (rows, width)
        types = np.float32, np.float32, np.int32, np.float32, np.float32
        arguments = [jax.ShapeDtypeStruct(*each, sharding=there) for each in zip(shapes, types, strict=True)]
        try:
            # The settings are the tested program's; a product of float64 obeys the first of them, too.
            with double_precision(), jax.default_matmul_precision("float32"), jax.numpy_rank_promotion("allow"):
                with TRACING:
                    lowering = jax.jit(partial(_envelope, arithmetic)).lower(*arguments)
                return lowering.compile()
        except Exception as error:  # whatever a compiler may raise, or an activation that cannot be lifted
            reason = f"{self.device.platform} cannot work out the truth ({sentence(error)})"
            raise UsageError(f"{reason}: leave it to numpy") from error


def _left_to_numpy(depth: int, width: int, rows: int) -> bool:
    """Whether there is so little in each of many layers that NumPy is quicker."""
    return is_deep(np.broadcast_to(np.float32(), (depth, width, rows)))


def _envelope(
    arithmetic: Arithmetic, weights: Array, biases: Array, codes: Array, inputs: Array, targets: Array
) -> tuple[Array, Array, Array]:
    """Return reference, bound and decided cases: `chain_bound.envelope` under JAX, layers scanned, codes as data."""
    W, b, x, y = (lift(jnp.moveaxis(array.astype(np.float64), 0, -1)) for array in (weights, biases, inputs, targets))
    branches = [partial(_layer, arithmetic, name) for name in ACTIVATIONS]
    start = lowered(input_error_bound(x, arithmetic))

    def step(before: tuple[Array, ...], layer: tuple[Array, Array, Array]) -> tuple[tuple[Array, ...], Any]:
        found = lax.switch(layer[2], branches, *before, *layer[:2])
        return found[:3], found

    _, layers = lax.scan(step, (x.array, *start), (W.array, b.array, codes))
    states, E_x, exact, arguments, slopes, E_z, E_δ = map(lift, layers)
    states, E_x = (np.concatenate([first[None], later]) for first, later in ((x, states), (lift(start[0]), E_x)))
    residual = states[-1] - y
    adjoints = adjoints_of(slopes[:, :, None] * W, residual)
    truth = Truth(W, b, states, arguments, slopes, residual, adjoints, slopes * adjoints)
    curved = jnp.array([model.second_max > 0.0 for model in ACTIVATIONS.values()])[codes]
    forward = ForwardErrorBounds(E_z, E_x, E_δ, exact)
    flushed = flushed_magnitudes(W, arithmetic)
    error_bounds = gradient_error_bounds(truth, forward, flushed, lift(curved), arithmetic)
    reference = _rows(truth.weight_gradients, truth.bias_gradients)
    bound = _rows(error_bounds.weight_gradients, error_bounds.bias_gradients)
    return reference, bound, lowered(error_bounds.decided) & jnp.isfinite(bound).all(axis=1)


def _layer(
    arithmetic: Arithmetic, name: str, x: Array, E_x: Array, exact: Array, W: Array, b: Array
) -> tuple[Array, ...]:
    """Return x_i, its E_x and whether it is exact, and z_i, δ_i, E_z and E_δ, of one layer behind x_{i−1}."""
    x, W, b, model = lift(x), lift(W), lift(b), activation(name)
    z = matvec(W, x) + b
    after, slope, nothing = model.value(z), model.slope(z), np.full_like(b, np.nan)
    layer = Truth(W[None], b[None], np.stack([x, after]), z[None], slope[None], nothing, nothing[None], nothing[None])
    flushed = flushed_magnitudes(W, arithmetic)[None]
    moved = forward_error_bounds(layer, (name,), flushed, arithmetic, (lift(E_x), lift(exact)))
    found = after, moved.states[-1], moved.exact[-1], z, slope, moved.arguments[0], moved.slopes[0]
    return lowered(found)


def _rows(*parts: Any) -> Array:
    """Join arrays with the batch as their last axis into rows (batch, components), as `chain_bound` does."""
    rows = (jnp.moveaxis(part.array, -1, 0) for part in parts)
    return jnp.concatenate([row.reshape(len(row), -1) for row in rows], axis=1)
