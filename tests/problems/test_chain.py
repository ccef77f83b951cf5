from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import chainback
from chainback import Case, Chain
from chainback.errors import UsageError

f32: Any = np.float32


def chain(depth: int = 3, width: int = 2, batch: int | None = None) -> Chain:
    lead = () if batch is None else (batch,)
    return Chain(np.ones((*lead, depth, width, width), f32), np.zeros((*lead, depth, width), f32), ("tanh",) * depth)


def test_shapes_and_properties() -> None:
    single, many = chain(), chain(batch=5)
    assert (single.depth, single.width, single.is_batch) == (3, 2, False)
    assert (many.depth, many.width, many.is_batch) == (3, 2, True)
    assert Chain.scalar([1, 2], [3, 4], ["relu", "identity"]).weights.shape == (2, 1, 1)


@pytest.mark.parametrize(
    ("build", "sentence"),
    [
        (
            lambda: Chain(np.ones((3, 2), f32), np.ones((3,), f32), ("tanh",) * 3),
            r"`weights` must have shape .* got \(3, 2\)",
        ),
        (
            lambda: Chain(np.ones((3, 2, 2), f32), np.ones((3, 1), f32), ("tanh",) * 3),
            r"`biases` must have shape \(3, 2\)",
        ),
        (lambda: Chain(np.ones((0, 2, 2), f32), np.ones((0, 2), f32), ()), "all at least 1"),
        (lambda: Chain(np.ones((3, 2, 2), f32), np.ones((3, 2)), ("tanh",) * 3), "must share a dtype"),
        (
            lambda: Chain(np.ones((3, 2, 2), int), np.ones((3, 2), int), ("tanh",) * 3),
            "floating-point dtype, got int64",
        ),
        (lambda: Chain(np.ones((3, 2, 2), f32), np.ones((3, 2), f32), ("tanh",) * 2), "must name 3 layers"),
        (lambda: Chain(np.ones((3, 2, 2), f32), np.ones((3, 2), f32), "tanh"), "must be a sequence of names"),
        (
            lambda: Chain(np.ones((3, 2, 2), f32), np.ones((3, 2), f32), ("tahn",) * 3),
            "'tahn' is not known: use one of",
        ),
        (lambda: Chain.scalar(["a"], [0], ["tanh"]), "must be an array of numbers"),
        (lambda: Case(chain(), np.ones(3, f32), np.ones(2, f32)), r"`inputs` must have shape \(2,\)"),
        (
            lambda: Case(chain(batch=4), np.ones((3, 2), f32), np.ones((4, 2), f32)),
            r"`inputs` must have shape \(4, 2\)",
        ),
        (lambda: Case(chain(), np.ones(2), np.ones(2, f32)), "must have the chain's dtype float32, got float64"),
        (lambda: Case(chain(), np.ones(2, f32), f32([1, np.nan])), "`targets` must be finite, got nan at index"),
        (lambda: Case(Chain.scalar([np.inf], [0], ["tanh"]), f32([1]), f32([1])), "`weights` must be finite, got inf"),
        (lambda: Case(chain(), np.ones(2, f32), np.ones(2, f32), ("a", "b")), "`ids` must name 1 cases, got 2"),
        (lambda: Case(chain(), np.ones(2, f32), np.ones(2, f32))[0], "only a batch can be indexed"),
        (lambda: chain().padded(2), "at least the chain's own 3, got 2"),
    ],
)
def test_misuse_gets_one_sentence(build, sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence) as caught:
        build()
    assert "\n" not in str(caught.value)


def test_data_is_frozen() -> None:
    with pytest.raises(AttributeError):
        chain().weights = 0  # type: ignore[misc]


def test_jax_arrays_are_the_same_type() -> None:
    built = Chain(jnp.ones((3, 2, 2)), jnp.zeros((3, 2)), ("tanh",) * 3)
    case = Case(built, jnp.ones(2), jnp.ones(2))
    assert isinstance(case.chain.weights, jax.Array)
    assert isinstance(case.as_batch().chain.weights, np.ndarray)


def test_padding_changes_nothing() -> None:
    small = Chain.scalar([0.3, -1.2], [0.1, 0.2], ["tanh", "sigmoid"])
    x = f32([0.7])
    assert np.array_equal(chainback.states(small, x)[-1], chainback.states(small.padded(9), x)[-1])


def test_rows_of_a_batch_keep_their_ids() -> None:
    case = chainback.draw("mixed", seed=3, depth=4, width=2, batch=1, rows=5)
    assert case[2].ids == (case.ids[2],)
    assert case[-1].ids == (case.ids[4],)
    assert np.array_equal(case[2].chain.weights, case.chain.weights[2])
    assert np.array_equal(case[2].as_batch().inputs, case.inputs[2:3])


def test_depth_of_a_million_is_an_ordinary_chain() -> None:
    depth = 1_000_000
    deep = Chain(np.ones((depth, 1, 1), f32), np.zeros((depth, 1), f32), ("identity",) * depth)
    assert deep.depth == depth
    assert float(chainback.states(deep, f32([1.5]))[-1, 0]) == 1.5
