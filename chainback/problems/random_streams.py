"""Random numbers of a batch of cases: streams of NumPy's PCG64, one for each array.

The streams are keyed by all that a case id names, and each array is filled case by case, so that a case does not depend on
the number of cases in its batch. On top of NumPy's streams, whose stability `tests/problems/test_ensembles.py` pins by
digests, numbers are made with +, −, ×, ÷, roots and powers of two alone, which every IEEE machine rounds alike.
"""

from __future__ import annotations

import numpy as np

from chainback.operations.arithmetic import Array

__all__ = ["RandomStreams"]


class RandomStreams:
    """The random streams of one batch. Every call opens the next stream and fills its array case by case.

    Args:
        key: What the streams are keyed by: ensemble, version, seed, depth, width and number of the batch.
        size: How many cases the batch has.
    """

    def __init__(self, key: list[int], size: int) -> None:
        self.size = size
        self._key = key
        self._streams = 0

    def _generator(self) -> np.random.Generator:
        self._streams += 1
        sequence = np.random.SeedSequence(self._key, spawn_key=(self._streams,))
        return np.random.Generator(np.random.PCG64(sequence))

    def normal(self, *shape: int) -> Array:
        """Return standard normal numbers, float32, shape (size, *shape)."""
        return self._generator().standard_normal((self.size, *shape), dtype=np.float32)

    def uniform(self, low: float, high: float, *shape: int) -> Array:
        """Return uniform numbers of [low, high), float32, shape (size, *shape)."""
        unit = self._generator().random((self.size, *shape), dtype=np.float32)
        return np.float32(low) + np.float32(high - low) * unit

    def integers(self, low: int, high: int, *shape: int) -> Array:
        """Return uniform integers from low to high, both included, shape (size, *shape)."""
        return self._generator().integers(low, high, (self.size, *shape), endpoint=True)

    def choice(self, options: tuple[float, ...], *shape: int) -> Array:
        """Return numbers picked from `options`, float32, shape (size, *shape)."""
        return np.asarray(options, np.float32)[self.integers(0, len(options) - 1, *shape)]

    def layers(self, options: tuple[str, ...], depth: int) -> tuple[str, ...]:
        """Return one activation a layer, the same for the whole batch."""
        picks = self._generator().integers(0, len(options) - 1, depth, endpoint=True)
        return tuple(map(options.__getitem__, picks.tolist()))

    def depth(self, most: int) -> int:
        """Return a random depth from 1 to `most`: `most` itself half of the time, else uniform."""
        generator = self._generator()
        full, depth = generator.integers(0, 1, endpoint=True), generator.integers(1, most, endpoint=True)
        return int(most if full else depth)
