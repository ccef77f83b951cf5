"""The components of an envelope are named by its blocks alone: of a chain's gradient, and of a program's."""

from typing import Any

import numpy as np
import pytest

from chainback import draw
from chainback.judging.judgement import component_at
from chainback.operations.arithmetic import FLOAT32
from chainback.truth.chain_bound import envelope, gradient_blocks, linearisation
from chainback.truth.envelope import Block, Envelope, components_of


def of_program() -> tuple[Envelope, dict[str, np.ndarray]]:
    """An envelope as a program has it: its blocks are the leaves of a pytree, in any shape."""
    shapes = {"params['w1']": (3, 4), "params['w2']": (8, 16), "params['b']": (16,), "x[0]": (), "x[1]": (2, 1, 3)}
    rng = np.random.default_rng(0)
    arrays = {name: rng.normal(size=(2, *shape)) for name, shape in shapes.items()}
    reference = components_of(*arrays.values())
    blocks = tuple(Block(name, shape) for name, shape in shapes.items())
    return Envelope(reference, np.abs(reference) + 1.0, np.ones(2, bool), FLOAT32, blocks), arrays


def named(within: Envelope, arrays: dict[str, np.ndarray]) -> bool:
    """Whether `component_at` gives the component of every place the name and the number of its array's element."""
    names = {
        place: f"{name}[{', '.join(map(str, index))}]" if index else name
        for place, (name, index) in enumerate(
            (name, index) for name, array in arrays.items() for index in np.ndindex(array.shape[1:])
        )
    }
    numbers = [array[1][index] for array in arrays.values() for index in np.ndindex(array.shape[1:])]
    found = [component_at(within, within.reference, 1, place) for place in range(within.reference.shape[1])]
    return [c.name for c in found] == list(names.values()) and [c.expected for c in found] == numbers


def test_components_of_a_program_have_the_paths_of_their_leaves() -> None:
    within, arrays = of_program()
    assert named(within, arrays)
    place = 12 + 3 * 16 + 7
    component = component_at(within, within.reference + 1.0, 0, place)
    assert component.name == "params['w2'][3, 7]"
    assert component.expected == arrays["params['w2']"][0, 3, 7]
    assert component.bound == abs(component.expected) + 1.0


def test_components_of_a_chain_have_their_layers() -> None:
    within = envelope(draw("wide", seed=0, depth=3, width=2, batch=0, rows=2))
    names = [within.name_of(place) for place in range(18)]
    assert names == [
        *(f"dW_{i}[{j},{k}]" for i in (1, 2, 3) for j in (0, 1) for k in (0, 1)),
        *(f"db_{i}[{j}]" for i in (1, 2, 3) for j in (0, 1)),
    ]
    assert linearisation(within).name_of(12) == "coupling_1[0,0]"


@pytest.mark.parametrize("offset", [-1, 1, 16])
def test_a_wrong_offset_is_noticed(offset: int, monkeypatch: pytest.MonkeyPatch) -> None:
    within, arrays = of_program()
    right = Block.index_of

    def off(self: Block, place: int) -> Any:
        return right(self, (place + offset) % self.size)

    monkeypatch.setattr(Block, "index_of", off)
    assert not named(within, arrays)


def test_blocks_in_another_order_are_noticed() -> None:
    within, arrays = of_program()
    object.__setattr__(within, "blocks", within.blocks[::-1])
    assert not named(within, arrays)


def test_a_row_splits_into_the_arrays_that_it_was_joined_from() -> None:
    within, arrays = of_program()
    found = within.split(within.reference[1])
    assert list(found) == list(arrays)
    assert all(np.array_equal(found[name], arrays[name][1]) for name in arrays)


def test_blocks_must_name_every_component() -> None:
    within, _ = of_program()
    with pytest.raises(ValueError, match="the blocks name 18 components, but a row has 163"):
        Envelope(within.reference, within.bound, within.decided, FLOAT32, gradient_blocks(3, 2))
    with pytest.raises(IndexError, match="place must be below 163, got 163"):
        within.locate(163)


def test_a_million_layers_are_two_blocks() -> None:
    blocks = gradient_blocks(10**6, 1)
    assert len(blocks) == 2
    row = np.broadcast_to(np.float64(0.0), (1, 2 * 10**6))
    within = Envelope(row, row, np.ones(1, bool), FLOAT32, blocks)
    assert within.name_of(10**6 - 1) == "dW_1000000[0,0]"
    assert within.name_of(10**6) == "db_1[0]"
