"""A chain of layers, and a case: a chain with an input and a target. Plain data, as the problem to be solved."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from chainback.errors import UsageError
from chainback.operations.activations import activation

__all__ = ["Case", "Chain"]


def _as_array(name: str, value: Any) -> Any:
    """Return a floating-point array: NumPy and JAX arrays and tracers as they are, anything else converted to float32."""
    try:
        array = value if hasattr(value, "shape") and hasattr(value, "dtype") else np.asarray(value, np.float32)
    except (TypeError, ValueError):
        raise UsageError(f"`{name}` must be an array of numbers, got {type(value).__name__}: {value!r:.60}") from None
    if not isinstance(array.dtype, np.dtype) or array.dtype.kind not in "fV":
        raise UsageError(f"`{name}` must have a floating-point dtype, got {array.dtype}: convert it to float32")
    return array


def _require_finite(name: str, array: Any) -> None:
    """Refuse NaN and infinity in a NumPy array; a JAX array may be traced and is left alone."""
    if isinstance(array, np.ndarray) and array.dtype.kind == "f" and not np.isfinite(array).all():
        index = tuple(int(i) for i in np.argwhere(~np.isfinite(array))[0])
        raise UsageError(f"`{name}` must be finite, got {array[index]} at index {index}: remove NaN and infinity")


@dataclass(frozen=True, eq=False)
class Chain:
    """The parameters of a chain x_i = h_i(W_i x_{i−1} + b_i), or of a batch of chains; also their gradients.

    The arrays may be NumPy's or JAX's; once `chainback.engines` is loaded, a chain is a pytree of these two arrays. A chain
    of gradients may hold NaN; a case may not.

    Attributes:
        weights: W, shape (depth, width, width), or (batch, depth, width, width).
        biases: b, shape (depth, width), or (batch, depth, width).
        activations: The name of h_i for each layer, shared by the chains of a batch.

    Raises:
        UsageError: The shapes do not fit together, or a name is unknown.
    """

    weights: Any
    biases: Any
    activations: tuple[str, ...]

    def __post_init__(self) -> None:
        weights, biases = _as_array("weights", self.weights), _as_array("biases", self.biases)
        if isinstance(self.activations, str) or not isinstance(self.activations, Sequence):
            raise UsageError(f"`activations` must be a sequence of names, one a layer, got {self.activations!r:.60}")
        names = tuple(self.activations)
        for name in set(names):
            activation(name)
        shape = tuple(weights.shape)
        if len(shape) not in (3, 4) or shape[-1] != shape[-2] or 0 in shape:
            raise UsageError(f"`weights` must have shape ([batch,] depth, width, width), all at least 1, got {shape}")
        if tuple(biases.shape) != shape[:-1]:
            raise UsageError(f"`biases` must have shape {shape[:-1]} to fit `weights` {shape}, got {biases.shape}")
        if weights.dtype != biases.dtype:
            raise UsageError(f"`weights` and `biases` must share a dtype, got {weights.dtype} and {biases.dtype}")
        if len(names) != shape[-3]:
            raise UsageError(f"`activations` must name {shape[-3]} layers to fit `weights` {shape}, got {len(names)}")
        object.__setattr__(self, "weights", weights)
        object.__setattr__(self, "biases", biases)
        object.__setattr__(self, "activations", names)

    @classmethod
    def scalar(cls, weights: Any, biases: Any, activations: Sequence[str]) -> Chain:
        """Return the chain of width 1 with these numbers, one of each a layer, in float32."""
        w, b = (_as_array(n, v).astype(np.float32) for n, v in (("weights", weights), ("biases", biases)))
        return cls(w.reshape(-1, 1, 1), b.reshape(-1, 1), tuple(activations))

    @property
    def depth(self) -> int:
        """N, the number of layers."""
        return self.weights.shape[-3]

    @property
    def width(self) -> int:
        """n, the length of every state."""
        return self.weights.shape[-1]

    @property
    def is_batch(self) -> bool:
        """Whether there is a leading batch axis."""
        return len(self.weights.shape) == 4

    def padded(self, depth: int) -> Chain:
        """Return this chain made `depth` layers deep by identity layers (W = I, b = 0) behind it: exactly the same map.

        Raises:
            UsageError: The chain is deeper than that already.
        """
        missing = depth - self.depth
        if missing < 0:
            raise UsageError(f"`depth` must be at least the chain's own {self.depth}, got {depth}")
        weights, biases = np.asarray(self.weights), np.asarray(self.biases)
        lead, n = weights.shape[:-3], self.width
        identity = np.broadcast_to(np.eye(n, dtype=weights.dtype), (*lead, missing, n, n))
        return Chain(
            np.concatenate([weights, identity], axis=-3),
            np.concatenate([biases, np.zeros((*lead, missing, n), biases.dtype)], axis=-2),
            self.activations + ("identity",) * missing,
        )


@dataclass(frozen=True, eq=False)
class Case:
    """A gradient to compute: that of the loss ½‖y − ŷ‖² of a chain at one input and target, or a batch of these.

    Attributes:
        chain: The chain, or batch of chains.
        inputs: x_0, shape (width,), or (batch, width).
        targets: y, the same shape.
        ids: The case id, or one for each case of the batch; empty for a case of no ensemble.

    Raises:
        UsageError: The shapes do not fit the chain, or a number is not finite.
    """

    chain: Chain
    inputs: Any
    targets: Any
    ids: Sequence[str] = ()

    def __post_init__(self) -> None:
        shape = (*self.chain.biases.shape[:-2], self.chain.width)
        _require_finite("weights", self.chain.weights)
        _require_finite("biases", self.chain.biases)
        for name in ("inputs", "targets"):
            array = _as_array(name, getattr(self, name))
            if tuple(array.shape) != shape:
                raise UsageError(f"`{name}` must have shape {shape} to fit the chain, got {tuple(array.shape)}")
            if array.dtype != self.chain.weights.dtype:
                raise UsageError(f"`{name}` must have the chain's dtype {self.chain.weights.dtype}, got {array.dtype}")
            _require_finite(name, array)
            object.__setattr__(self, name, array)
        if self.ids and len(self.ids) != len(self):
            raise UsageError(f"`ids` must name {len(self)} cases, got {len(self.ids)}")

    def __len__(self) -> int:
        return self.chain.weights.shape[0] if self.chain.is_batch else 1

    def __getitem__(self, row: int) -> Case:
        """Return one case of the batch, without a batch axis."""
        if not self.chain.is_batch:
            raise UsageError("this case is a single one: only a batch can be indexed")
        row = range(len(self))[row]
        chain = replace(self.chain, weights=self.chain.weights[row], biases=self.chain.biases[row])
        return Case(chain, self.inputs[row], self.targets[row], self.ids[row : row + 1])

    def as_batch(self) -> Case:
        """Return this case as a batch of one, or the batch itself, with NumPy arrays."""
        arrays = [np.asarray(a) for a in (self.chain.weights, self.chain.biases, self.inputs, self.targets)]
        if not self.chain.is_batch:
            arrays = [a[None] for a in arrays]
        weights, biases, inputs, targets = arrays
        return Case(Chain(weights, biases, self.chain.activations), inputs, targets, self.ids)
