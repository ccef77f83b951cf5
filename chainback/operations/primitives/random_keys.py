"""Random keys and bits by Threefry-2x32, as JAX makes them.

A key array is held as an array of voids of 8 bytes, in the shape that the program knows, so that whatever moves components
moves keys, too; `keys_of` and `words_of` convert from and to the two 32-bit words of each key.

JAX has two layouts of counters, `jax_threefry_partitionable` (the default from 0.5.0 on) and the original one. A jaxpr's
equation says which in its context, which an interpreter hands over as the parameter "threefry_partitionable".

Source: Salmon, Moraes, Dror and Shaw, *Parallel Random Numbers: As Easy as 1, 2, 3* (2011), section 3.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from chainback.operations.primitives.calls import Array, Call, Shape
from chainback.operations.primitives.examples import Operand, example, whole
from chainback.operations.primitives.record import Zero, register

__all__ = ["keys_of", "threefry", "words_of"]

_ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))
_PARITY = np.uint32(0x1BD11BDA)


def keys_of(words: Array) -> Array:
    """Return keys by their words, which lie along the last axis."""
    words = np.array(words, np.uint32, order="C")
    return words.view(f"V{4 * words.shape[-1]}")[..., 0]


def words_of(keys: Array) -> Array:
    """Return the words of keys, along a new last axis."""
    return np.array(keys, order="C")[..., None].view(np.uint32)


def _rotate(x: Array, by: int) -> Array:
    return (x << np.uint32(by)) | (x >> np.uint32(32 - by))


def threefry(key: tuple[Array, Array], counts: tuple[Array, Array]) -> tuple[Array, Array]:
    """Return two words for each pair of counters: Threefry-2x32 with 20 rounds."""
    schedule = (key[0], key[1], key[0] ^ key[1] ^ _PARITY)
    with np.errstate(over="ignore"):
        a, b = counts[0] + schedule[0], counts[1] + schedule[1]
        for turn in range(5):
            for by in _ROTATIONS[turn % 2]:
                a = a + b
                b = _rotate(b, by) ^ a
            a = a + schedule[(turn + 1) % 3]
            b = b + schedule[(turn + 2) % 3] + np.uint32(turn + 1)
    return a, b


def _halves(wide: Array) -> tuple[Array, Array]:
    """Return the upper and the lower words of 64-bit numbers."""
    wide = wide.astype(np.uint64)
    return (wide >> np.uint64(32)).astype(np.uint32), wide.astype(np.uint32)


def _hash(key: Array, counts: Array) -> Array:
    """Return as many words as counters: the first half of them is paired with the second."""
    padded = np.concatenate([counts, np.zeros(counts.size % 2, np.uint32)])
    first, second = np.split(padded, 2)
    return np.concatenate(threefry((key[0], key[1]), (first, second)))[: counts.size]


def _places(shape: Shape) -> tuple[Array, Array]:
    return _halves(np.arange(math.prod(shape), dtype=np.uint64).reshape(shape))


def _is_partitionable(call: Call) -> bool:
    return bool(call.params.get("threefry_partitionable", True))


def _split_one(key: Array, shape: Shape, partitionable: bool) -> Array:
    if partitionable:
        return np.stack(threefry((key[0], key[1]), _places(shape)), axis=-1)
    return _hash(key, np.arange(2 * math.prod(shape), dtype=np.uint32)).reshape(*shape, 2)


def _bits_of(key: Array, width: int, shape: Shape, partitionable: bool) -> Array:
    """Return random bits of a width in 8, 16, 32, 64."""
    dtype = np.dtype(f"u{width // 8}")
    if partitionable:
        high, low = threefry((key[0], key[1]), _places(shape))
        return high.astype(dtype) << dtype.type(32) | low if width == 64 else (high ^ low).astype(dtype)
    size = math.prod(shape)
    words = _hash(key, np.arange(-(-width * size // 32), dtype=np.uint32))
    if width == 64:
        high, low = np.split(words.astype(np.uint64), 2)
        return (high << np.uint64(32) | low).reshape(shape)
    shifts = np.arange(0, 32, width, dtype=np.uint32)
    return (words[:, None] >> shifts).astype(dtype).reshape(-1)[:size].reshape(shape)


def _for_each(keys: Array, each: Callable[[Array], Array], shape: Shape) -> Array:
    """Return what a function makes of the words of every key, in the keys' shape."""
    words = words_of(keys).reshape(-1, 2)
    found = np.stack([each(key) for key in words]) if len(words) else np.zeros((0, *shape), np.uint32)
    return found.reshape(*np.shape(keys), *shape)


def _seeded(call: Call) -> Array:
    seed = call.inputs[0]
    wide = seed.astype(np.int64) if seed.dtype.itemsize == 8 else seed.astype(np.uint32)
    return keys_of(np.stack(_halves(wide), axis=-1))


def _split(call: Call) -> Array:
    shape = tuple(call.params["shape"])
    partitionable = _is_partitionable(call)
    return keys_of(_for_each(call.inputs[0], lambda key: _split_one(key, shape, partitionable), (*shape, 2)))


def _folded(call: Call) -> Array:
    keys, data = np.broadcast_arrays(call.inputs[0], call.inputs[1])
    words, seeds = words_of(keys).reshape(-1, 2), _halves(data.astype(np.uint32).reshape(-1))
    found = threefry((words[:, 0], words[:, 1]), seeds)
    return keys_of(np.stack(found, axis=-1).reshape(*keys.shape, 2))


def _random_bits(call: Call) -> Array:
    width, shape, partitionable = call.params["bit_width"], tuple(call.params["shape"]), _is_partitionable(call)
    found = _for_each(call.inputs[0], lambda key: _bits_of(key, width, shape, partitionable), shape)
    return found.astype(f"u{width // 8}")


class _OfKeys(Zero):
    """A primitive of random keys, of which one generator is known."""

    def evaluate(self, call: Call) -> list[Array]:
        """Return the result.

        Raises:
            NotImplementedError: The keys are another generator's.
        """
        dtypes = [dtype for _, dtype in (*call.ins, *call.outs) if dtype.startswith("key<")]
        if any(dtype != "key<fry>" for dtype in dtypes):
            raise NotImplementedError(f"of random generators only Threefry-2x32 is known here, not {dtypes[0]}")
        return [np.asarray(self.value(call))]


_WORD = Operand((5,), "uint32", 0, 2**32 - 1)
_SEED = whole(low=0, high=2**31 - 1)

register(
    Zero(
        "threefry2x32",
        value=lambda call: list(threefry((call.inputs[0], call.inputs[1]), (call.inputs[2], call.inputs[3]))),
        examples=(example("jax.extend.random.threefry_2x32(x[:2], y)", x=_WORD, y=_WORD),),
    ),
    _OfKeys("random_seed", value=_seeded, examples=(example("random.key_data(random.key(n))", n=_SEED),)),
    _OfKeys(
        "random_wrap",
        value=lambda call: keys_of(call.inputs[0]),
        examples=(example("random.split(x[:2])", x=_WORD),),
    ),
    _OfKeys(
        "random_unwrap",
        value=lambda call: words_of(call.inputs[0]),
        examples=(example("random.key_data(random.key(n))", n=_SEED),),
    ),
    _OfKeys(
        "random_split",
        value=_split,
        examples=(
            example("random.key_data(random.split(random.key(n), (3, 2)))", n=_SEED),
            example("random.key_data(random.split(random.key(n), 3)[1:])", n=_SEED),
        ),
    ),
    _OfKeys(
        "random_fold_in",
        value=_folded,
        examples=(example("random.key_data(random.fold_in(random.key(n), m))", n=_SEED, m=_SEED),),
    ),
    _OfKeys(
        "random_bits",
        value=_random_bits,
        examples=(
            example("random.bits(random.key(n), (3, 5))", n=_SEED),
            example("random.bits(random.key(n), (7,), 'uint8')", n=_SEED),
            example("random.bits(random.key(n), (3,), 'uint16')", n=_SEED),
            example("jax.vmap(lambda k: random.bits(k, (4,)))(random.split(random.key(n), 2))", n=_SEED),
            example("random.normal(random.key(n), (9,))", n=_SEED),
        ),
    ),
    _OfKeys(
        "random_clone",
        value=lambda call: call.inputs[0],
        examples=(example("random.key_data(random.clone(random.key(n)))", n=_SEED),),
    ),
)
