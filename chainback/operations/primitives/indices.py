"""Which component of an operand a gather reads, and a scatter writes: XLA's dimension numbers, in NumPy.

Source: OpenXLA, *Operation semantics*, Gather and Scatter.
"""

from __future__ import annotations

from typing import Any

import numpy as np

__all__ = ["gather_places", "scatter_places", "window_places"]

Array = np.ndarray
Shape = tuple[int, ...]


def _mode(params: dict[str, Any]) -> str:
    mode = str(params.get("mode")).lower()
    return "clip" if "clip" in mode else "fill" if "fill" in mode or "drop" in mode else "promised"


def _windows(
    shape: Shape,
    indices: Array,
    sizes: Shape,
    dims: tuple[int, ...],
    batching: tuple[int, ...],
    index_batching: tuple[int, ...],
    mode: str,
) -> Array:
    """Return the flat place of each component of each window, (*batch, *sizes); −1 in windows that are out of bounds."""
    batch = indices.shape[:-1]
    starts = np.zeros((*batch, len(shape)), np.int64)
    for column, dim in enumerate(dims):
        starts[..., dim] = indices[..., column]
    for dim, axis in zip(batching, index_batching, strict=True):
        middle = [1] * len(batch)
        middle[axis] = batch[axis]
        starts[..., dim] = np.arange(batch[axis]).reshape(middle)
    room = np.array([n - k for n, k in zip(shape, sizes, strict=True)])
    outside = ((starts < 0) | (starts > room)).any(axis=-1)
    starts = np.clip(starts, 0, np.maximum(room, 0))
    strides = np.cumprod([1, *shape[::-1]])[:-1][::-1] if shape else np.zeros(0, np.int64)
    places = (
        (starts * strides)
        .sum(axis=-1)
        .reshape(
            (
                *batch,
                *(1,) * len(shape),
            )
        )
    )
    for dim, size in enumerate(sizes):
        middle = [1] * (len(batch) + len(shape))
        middle[len(batch) + dim] = size
        places = places + (np.arange(size) * strides[dim]).reshape(middle)
    places = np.broadcast_to(places, (*batch, *sizes))
    if mode == "clip" or not outside.any():
        return places
    return np.where(outside.reshape((*batch, *(1,) * len(shape))), -1, places)


def gather_places(shape: Shape, indices: Array, params: dict[str, Any]) -> Array:
    """Return the flat place in the operand of each component of a gather's result; −1 where it is filled."""
    numbers, sizes = params["dimension_numbers"], tuple(params["slice_sizes"])
    batching = tuple(getattr(numbers, "operand_batching_dims", ()))
    found = _windows(
        shape,
        indices,
        sizes,
        tuple(numbers.start_index_map),
        batching,
        tuple(getattr(numbers, "start_indices_batching_dims", ())),
        "clip" if _mode(params) == "promised" else _mode(params),  # XLA clamps what is promised and not so
    )
    left_out = {*numbers.collapsed_slice_dims, *batching}
    batch = indices.ndim - 1
    found = found.reshape(
        (
            *found.shape[:batch],
            *(n for dim, n in enumerate(sizes) if dim not in left_out),
        )
    )
    offsets = tuple(numbers.offset_dims)
    return np.moveaxis(found, range(batch, batch + len(offsets)), offsets)


def scatter_places(shape: Shape, indices: Array, updates: Shape, params: dict[str, Any]) -> Array:
    """Return the flat place in the operand to which each component of a scatter's updates goes; −1 where it is dropped."""
    numbers = params["dimension_numbers"]
    batching = tuple(getattr(numbers, "operand_batching_dims", ()))
    window = tuple(numbers.update_window_dims)
    inserted = {*numbers.inserted_window_dims, *batching}
    lengths = iter(updates[k] for k in window)
    sizes = tuple(1 if dim in inserted else next(lengths) for dim in range(len(shape)))
    mode = _mode(params)
    found = _windows(
        shape,
        indices,
        sizes,
        tuple(numbers.scatter_dims_to_operand_dims),
        batching,
        tuple(getattr(numbers, "scatter_indices_batching_dims", ())),
        mode,
    )
    batch = indices.ndim - 1
    found = found.reshape(
        (
            *found.shape[:batch],
            *(updates[k] for k in window),
        )
    )
    return np.moveaxis(found, range(batch, batch + len(window)), window)


def window_places(shape: Shape, params: dict[str, Any]) -> Array:
    """Return the flat place of each component of each window of a reduce_window, (*out, window); −1 in padding."""
    window = tuple(params["window_dimensions"])
    strides = tuple(params["window_strides"])
    padding = tuple(params["padding"])
    base = tuple(params.get("base_dilation") or (1,) * len(shape))
    dilation = tuple(params.get("window_dilation") or (1,) * len(shape))
    flat_strides = np.cumprod([1, *shape[::-1]])[:-1][::-1] if shape else []
    total = np.zeros((1,) * (2 * len(shape)), np.int64)
    inside = np.ones((1,) * (2 * len(shape)), bool)
    for axis, n in enumerate(shape):
        low, high = padding[axis]
        dilated = (n - 1) * base[axis] + 1 if n else 0
        reach = (window[axis] - 1) * dilation[axis] + 1
        count = max(0, (dilated + low + high - reach) // strides[axis] + 1)
        position = np.arange(count)[:, None] * strides[axis] + np.arange(window[axis])[None] * dilation[axis] - low
        good = (position >= 0) & (position < dilated) & (position % base[axis] == 0)
        position = np.where(good, position // base[axis], 0)
        middle = [1] * (2 * len(shape))
        middle[axis], middle[len(shape) + axis] = count, window[axis]
        total = total + (position * flat_strides[axis]).reshape(middle)
        inside = inside & good.reshape(middle)
    found = np.where(inside, total, -1)
    return found.reshape(
        (
            *found.shape[: len(shape)],
            -1,
        )
    )
