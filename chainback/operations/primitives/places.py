"""Which component of an operand a gather reads, a scatter writes, and a window covers: XLA's dimension numbers, in NumPy.

Source: OpenXLA, *Operation semantics*, Gather, Scatter and ReduceWindow.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from chainback.operations.primitives.calls import Array, Shape

__all__ = ["gather_places", "is_promised", "scatter_places", "window_places"]


def _clips(params: Mapping[str, Any]) -> bool:
    """Whether a window that is out of bounds is moved inside."""
    return "clip" in str(params.get("mode")).lower()


def is_promised(params: Mapping[str, Any]) -> bool:
    """Whether the program promises that all windows lie inside: what happens to others differs from place to place."""
    return "promise" in str(params.get("mode")).lower()


def _along(axis: int, ndim: int, values: Array) -> Array:
    """Return values along one axis of an array that is to be broadcast."""
    middle = [1] * ndim
    middle[axis] = len(values)
    return values.reshape(middle)


def _strides(shape: Shape) -> Array:
    """Return how far the neighbours along each axis lie apart in the flat array."""
    return np.cumprod([1, *shape[::-1]])[:-1][::-1] if shape else np.zeros(0, np.int64)


def _windows(
    shape: Shape,
    indices: Array,
    sizes: Shape,
    dims: Shape,
    batching: Shape,
    index_batching: Shape,
    clips: bool,
) -> Array:
    """Return the flat place of each component of each window, (*batch, *sizes); −1 in windows that are out of bounds."""
    batch = indices.shape[:-1]
    starts = np.zeros((*batch, len(shape)), np.int64)
    for column, dim in enumerate(dims):
        starts[..., dim] = indices[..., column]
    for dim, axis in zip(batching, index_batching, strict=True):
        starts[..., dim] = _along(axis, len(batch), np.arange(batch[axis]))
    room = np.array([n - k for n, k in zip(shape, sizes, strict=True)], np.int64)
    outside = ((starts < 0) | (starts > room)).any(axis=-1)
    strides, ndim = _strides(shape), len(batch) + len(shape)
    found = (np.clip(starts, 0, np.maximum(room, 0)) * strides).sum(axis=-1)
    found = found.reshape((*batch, *(1,) * len(shape)))
    for dim, size in enumerate(sizes):
        found = found + _along(len(batch) + dim, ndim, np.arange(size) * strides[dim])
    found = np.broadcast_to(found, (*batch, *sizes))
    if clips or not outside.any():
        return found
    return np.where(outside.reshape((*batch, *(1,) * len(shape))), -1, found)


def gather_places(shape: Shape, indices: Array, params: Mapping[str, Any]) -> Array:
    """Return the flat place in the operand of each component of a gather's result; −1 where it is filled."""
    numbers, sizes = params["dimension_numbers"], tuple(params["slice_sizes"])
    batching = tuple(getattr(numbers, "operand_batching_dims", ()))
    index_batching = tuple(getattr(numbers, "start_indices_batching_dims", ()))
    found = _windows(shape, indices, sizes, tuple(numbers.start_index_map), batching, index_batching, _clips(params))
    left_out = {*numbers.collapsed_slice_dims, *batching}
    batch, offsets = indices.ndim - 1, tuple(numbers.offset_dims)
    found = found.reshape((*found.shape[:batch], *(n for dim, n in enumerate(sizes) if dim not in left_out)))
    return np.moveaxis(found, range(batch, batch + len(offsets)), offsets)


def scatter_places(shape: Shape, indices: Array, updates: Shape, params: Mapping[str, Any]) -> Array:
    """Return the flat place in the operand to which each component of a scatter's updates goes; −1 where it is dropped."""
    numbers = params["dimension_numbers"]
    batching = tuple(getattr(numbers, "operand_batching_dims", ()))
    index_batching = tuple(getattr(numbers, "scatter_indices_batching_dims", ()))
    window = tuple(numbers.update_window_dims)
    inserted = {*numbers.inserted_window_dims, *batching}
    lengths = iter(updates[k] for k in window)
    sizes = tuple(1 if dim in inserted else next(lengths) for dim in range(len(shape)))
    dims = tuple(numbers.scatter_dims_to_operand_dims)
    found = _windows(shape, indices, sizes, dims, batching, index_batching, _clips(params))
    batch = indices.ndim - 1
    found = found.reshape((*found.shape[:batch], *(updates[k] for k in window)))
    return np.moveaxis(found, range(batch, batch + len(window)), window)


def window_places(shape: Shape, params: Mapping[str, Any]) -> Array:
    """Return the flat place of each component of each window of a reduce_window, (*out, window); −1 in padding."""
    ndim = len(shape)
    window, strides = tuple(params["window_dimensions"]), tuple(params["window_strides"])
    base = tuple(params.get("base_dilation") or (1,) * ndim)
    dilation = tuple(params.get("window_dilation") or (1,) * ndim)
    flat = _strides(shape)
    total, inside = np.zeros((1,) * (2 * ndim), np.int64), np.ones((1,) * (2 * ndim), bool)
    for axis, (n, (low, high)) in enumerate(zip(shape, params["padding"], strict=True)):
        dilated = (n - 1) * base[axis] + 1 if n else 0
        reach = (window[axis] - 1) * dilation[axis] + 1
        count = max(0, (dilated + low + high - reach) // strides[axis] + 1)
        position = np.arange(count)[:, None] * strides[axis] + np.arange(window[axis])[None] * dilation[axis] - low
        good = (position >= 0) & (position < dilated) & (position % base[axis] == 0)
        middle = [1] * (2 * ndim)
        middle[axis], middle[ndim + axis] = count, window[axis]
        total = total + (np.where(good, position // base[axis], 0) * flat[axis]).reshape(middle)
        inside = inside & good.reshape(middle)
    found = np.where(inside, total, -1)
    return found.reshape((*found.shape[:ndim], -1))
