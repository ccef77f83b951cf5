"""An envelope: the truth of a problem and the bound of each of its components, in rows made of named blocks.

The components of a case stand in one contiguous row, which is all that judging needs. Its blocks name them: a block is one
array, such as the gradient of all weights of a chain, or of one leaf of a program's arguments.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import accumulate

import numpy as np
from jaxtyping import Bool, Float64

from chainback.operations.arithmetic import Arithmetic, Array

__all__ = ["Block", "Envelope", "components_of"]


@dataclass(frozen=True)
class Block:
    """Consecutive components of a row: the elements of one array, row-major.

    Attributes:
        name: Of the array: `dW`, `params['w2']`.
        shape: Of the array, for one case.
        by_layer: Whether its first axis counts the layers of a chain: elements are then called `dW_1[0,0]`, layers from 1
            as in the mathematics, and not `dW[0, 0, 0]`.
    """

    name: str
    shape: tuple[int, ...]
    by_layer: bool = False

    @property
    def size(self) -> int:
        """How many components it has."""
        return math.prod(self.shape)

    def index_of(self, place: int) -> tuple[int, ...]:
        """Return the index of an element by its place in the block."""
        return tuple(map(int, np.unravel_index(place, self.shape)))

    def element(self, index: tuple[int, ...]) -> str:
        """Return the name of an element."""
        if self.by_layer:
            return f"{self.name}_{index[0] + 1}[{','.join(map(str, index[1:]))}]"
        return f"{self.name}[{', '.join(map(str, index))}]" if index else self.name


@dataclass(frozen=True)
class Envelope:
    """For each component of each case: the truth, and the largest error with which a result is right.

    Attributes:
        reference: The truth, in float64.
        bound: The largest |error| a correct implementation can show, in the reference's unit; positive.
        decided: Whether the bound holds for the case: False where some order of evaluation may overflow.
        arithmetic: The arithmetic for which it holds.
        blocks: What the components are, in the order in which they stand in a row.
    """

    reference: Float64[Array, "batch components"]
    bound: Float64[Array, "batch components"]
    decided: Bool[Array, " batch"]
    arithmetic: Arithmetic
    blocks: tuple[Block, ...]

    def __post_init__(self) -> None:
        named, components = sum(block.size for block in self.blocks), self.reference.shape[1]
        if named != components:
            raise ValueError(f"the blocks name {named} components, but a row has {components}")

    @property
    def ends(self) -> tuple[int, ...]:
        """Where each block ends in a row."""
        return tuple(accumulate(block.size for block in self.blocks))

    def locate(self, place: int) -> tuple[Block, tuple[int, ...]]:
        """Return the block of a component, and the index in it, by the component's place in a row."""
        for block, end in zip(self.blocks, self.ends, strict=True):
            if place < end:
                return block, block.index_of(place - (end - block.size))
        raise IndexError(f"place must be below {self.reference.shape[1]}, got {place}")

    def name_of(self, place: int) -> str:
        """Return the name of a component by its place in a row."""
        block, index = self.locate(place)
        return block.element(index)

    def split(self, row: Array) -> dict[str, Array]:
        """Return a row of components as one array a block, by name."""
        return {
            block.name: row[end - block.size : end].reshape(block.shape)
            for block, end in zip(self.blocks, self.ends, strict=True)
        }


def components_of(*parts: Array) -> Array:
    """Join arrays (batch, …), such as gradients by weights and by biases, into contiguous rows (batch, components).

    Rows of results and of their reference must lie alike: NumPy joins a row and a column four times as slowly.
    """
    return np.ascontiguousarray(np.concatenate([part.reshape(len(part), -1) for part in parts], axis=1))
