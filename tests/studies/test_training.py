"""Training: every rule of descent against its definition, and a stop where the numbers end."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import random

from chainback import ENGINES, Chain, gradient
from chainback.errors import UsageError
from chainback.studies.training import initialise, predictions, train

X = np.linspace(0.5, 3.0, 7, dtype=np.float32)
Y = (-3 * X + 2).astype(np.float32)
CHAIN = initialise(random.PRNGKey(0), [1] * 4)


def by_hand(chain, places, step, x=X, y=Y):
    """One update, from the mean of the gradients at these places, in float64."""
    each = [gradient(chain, x[[i]], y[[i]]) for i in places]
    return [
        np.asarray(getattr(chain, part))
        - step * np.mean([np.asarray(getattr(g, part), np.float64) for g in each], axis=0)
        for part in ("weights", "biases")
    ]


@pytest.mark.parametrize("batch", [None, 3, 7])
def test_batches_descend_by_the_mean_of_their_gradients(batch) -> None:
    found = train(CHAIN, X, Y, batch=batch, epochs=1, order="given", step=0.05)
    chain = CHAIN
    for first in range(0, 7, batch or 7):
        parts = by_hand(chain, range(first, min(7, first + (batch or 7))), 0.05)
        chain = Chain(*(np.asarray(part, np.float32) for part in parts), CHAIN.activations)
    assert found.updates == (3 if batch == 3 else 1)
    np.testing.assert_allclose(np.asarray(found.chain.weights), chain.weights, rtol=0, atol=1e-5)
    wrong = by_hand(CHAIN, range(6), 0.05)  # the negative control: a point is left out
    assert np.abs(wrong[0] - np.asarray(found.chain.weights)).max() > 1e-3


@pytest.mark.parametrize("engine", list(ENGINES))
def test_every_engine_trains_alike(engine: str) -> None:
    found = train(CHAIN, X, Y, engine=engine, epochs=3, trace=True)
    usual = train(CHAIN, X, Y, epochs=3)
    np.testing.assert_allclose(np.asarray(found.chain.biases), np.asarray(usual.chain.biases), atol=1e-5)
    assert found.path is not None
    assert found.path.weights.shape == (4, 3, 1, 1)
    assert len(found.losses) == 4
    assert found.finished
    error = predictions(found.chain, X)[:, 0] - Y
    assert found.losses[-1] == pytest.approx(np.square(error).mean(), rel=1e-5)


def test_reshuffling_reshuffles_and_the_fixed_order_does_not() -> None:
    fixed, new = (train(CHAIN, X, Y, epochs=4, order=order) for order in ("fixed", "reshuffled"))
    assert not np.array_equal(np.asarray(fixed.chain.weights), np.asarray(new.chain.weights))
    order = np.asarray(random.permutation(random.PRNGKey(1), 7))
    again = train(CHAIN, X[order], Y[order], epochs=4, order="given")
    assert np.array_equal(np.asarray(fixed.chain.weights), np.asarray(again.chain.weights))
    chain = CHAIN
    for epoch in range(4):
        order = np.asarray(random.permutation(random.fold_in(random.PRNGKey(1), epoch), 7))
        chain = train(chain, X[order], Y[order], epochs=1, order="given").chain
    np.testing.assert_allclose(np.asarray(new.chain.weights), np.asarray(chain.weights), atol=1e-6)


def test_a_run_stops_at_the_update_that_is_not_finite_and_says_which() -> None:
    chain = Chain.scalar([1.0], [0.0], ["identity"])
    x = np.array([1, 1, 1, 1e30, 1], np.float32)
    found = train(chain, x, np.zeros(5, np.float32), epochs=9, order="given")
    assert "stopped at update 4 of 45 (epoch 1)" in found.stopped
    assert found.updates == 3
    assert np.isfinite(np.asarray(found.chain.weights)).all()
    before = train(chain, x[:3], np.zeros(3, np.float32), epochs=1, order="given")
    assert np.array_equal(np.asarray(found.chain.weights), np.asarray(before.chain.weights))


@pytest.mark.parametrize("batch", [1, 2, None])
@pytest.mark.parametrize("order", ["given", "reshuffled"])
@pytest.mark.parametrize("shown", [False, True])
def test_a_run_that_stops_later_is_the_longest_that_is_finite(batch, order: str, shown: bool) -> None:
    chain, x = Chain.scalar([1.0], [0.0], ["identity"]), np.array([1, 1, 1, 1, 3], np.float32)
    every = -(-5 // (batch or 5))
    progress = (lambda *said: None) if shown else None

    def run(epochs: int):
        zeros = np.zeros(5, np.float32)
        return train(chain, x, zeros, epochs=epochs, order=order, batch=batch, step=3.0, progress=progress, trace=True)

    found = run(200)
    whole = found.updates // every
    assert 1 < whole < 200
    assert f"stopped at update {found.updates + 1:,} of {200 * every:,} (epoch {whole + 1})" in found.stopped
    before = run(whole)
    assert before.finished
    assert found.path is not None
    assert before.path is not None
    assert np.array_equal(found.path.weights, before.path.weights)
    assert np.array_equal(found.losses, before.losses)
    assert np.isfinite(np.asarray(found.chain.weights)).all()
    same = np.array_equal(np.asarray(found.chain.weights), np.asarray(before.chain.weights))
    assert same == (found.updates % every == 0)
    assert not run(whole + 1).finished  # the negative control: one epoch more


@pytest.mark.parametrize("batch", [1, 2, 3, None])
@pytest.mark.parametrize("order", ["given", "fixed", "reshuffled"])
def test_the_curve_is_the_mean_square_over_all_points_and_no_others(batch, order: str) -> None:
    y = Y + 9  # every point is missed by much
    found = train(CHAIN, X, y, epochs=2, batch=batch, order=order, step=0.01, trace=True)
    assert found.path is not None
    for weights, biases, loss in zip(found.path.weights, found.path.biases, found.losses, strict=True):
        error = predictions(Chain(weights, biases, CHAIN.activations), X)[:, 0].astype(np.float64) - y
        assert loss == pytest.approx(np.square(error).mean(), rel=1e-5)
        filled = (
            np.square(np.append(error, error[0])).sum() / 7
        )  # the negative control: what fills the last batch counts
        assert loss != pytest.approx(filled, rel=1e-3)


def test_a_chain_that_is_not_finite_is_refused() -> None:
    with pytest.raises(UsageError, match="`chain` must be finite"):
        train(Chain.scalar([float("nan")], [0.0], ["identity"]), X, Y)


def test_wide_chains_and_progress() -> None:
    chain = initialise(random.PRNGKey(3), [2] * 3, scale=0.5, activations=["tanh", "identity"])
    x = np.stack([X, X[::-1]], axis=1)
    told = []
    found = train(chain, x, np.sin(x), epochs=50, batch=2, progress=lambda *said: told.append(said))
    assert found.losses[-1] < found.losses[0] / 2
    assert told[-1][:2] == (50, 50)
    whole = train(chain, x, np.sin(x), epochs=50, batch=2)
    np.testing.assert_allclose(found.losses, whole.losses, rtol=1e-5)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"step": 0.0}, "`step` must be a positive"),
        ({"epochs": 0}, "`epochs` must be"),
        ({"batch": 0}, "`batch` must be"),
        ({"order": "random"}, "`order` must be one of"),
        ({"engine": "none"}, "engine 'none' is not known"),
    ],
)
def test_bad_arguments_are_one_sentence(change, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        train(CHAIN, X, Y, **change)


def test_the_initialiser_splits_keys_as_the_lecture_does() -> None:
    chain, keys = initialise(random.PRNGKey(7), [2] * 3, scale=0.1), random.split(random.PRNGKey(7), 3)
    for layer in range(2):
        for_weights, for_biases = random.split(keys[layer])
        assert jnp.array_equal(chain.weights[layer], 0.1 * random.normal(for_weights, (2, 2)))
        assert jnp.array_equal(chain.biases[layer], 0.1 * random.normal(for_biases, (2,)))
    assert chain.activations == ("sigmoid", "identity")
    with pytest.raises(UsageError, match="`sizes` must be one width"):
        initialise(jax.random.PRNGKey(0), [1, 2])
