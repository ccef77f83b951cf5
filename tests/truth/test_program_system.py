"""The extended Jacobian of a program: I − L is unit lower triangular, and each way to solve it finds JAX's derivatives."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from chainback import errors, program


def function(p, x):
    for w in p["layers"]:
        x = jnp.tanh(x @ w)
    return {"loss": jnp.sum(x**2), "states": x}


ARGUMENTS = (
    {"layers": [jnp.float32(np.random.default_rng(k).standard_normal((3, 3))) for k in range(2)]},
    jnp.float32([[0.5, -1.0, 2.0]]),
)


def test_the_matrix_is_unit_lower_triangular() -> None:
    matrix = program(function, *ARGUMENTS).matrix().toarray()
    assert np.array_equal(np.diag(matrix), np.ones(len(matrix)))
    assert np.count_nonzero(np.triu(matrix, 1)) == 0
    assert np.count_nonzero(np.tril(matrix, -1)) > 0


def test_back_substitution_is_reverse_mode_and_the_matrix_agrees() -> None:
    system = program(function, *ARGUMENTS)
    adjoints = [np.ones(()), np.full((1, 3), 0.5)]
    assert system.outputs == ("result['loss']", "result['states']")
    found = system.solve_transposed(adjoints)
    for one, other in zip(found, system.solve_matrix(adjoints), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-13, atol=1e-13)
    _, vjp = jax.vjp(function, *ARGUMENTS)
    theirs = jax.tree_util.tree_leaves(vjp({"loss": jnp.float32(1), "states": jnp.full((1, 3), 0.5, jnp.float32)}))
    for name, one, other in zip(system.inputs, found, theirs, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-6, err_msg=name)


def test_forward_substitution_is_forward_mode() -> None:
    system = program(function, *ARGUMENTS)
    tangent = np.ones((3, 3))
    found = system.solve([tangent, None, None])
    zero = jax.tree_util.tree_map(jnp.zeros_like, ARGUMENTS)
    zero[0]["layers"][0] = jnp.ones((3, 3), jnp.float32)
    _, theirs = jax.jvp(function, ARGUMENTS, zero)
    np.testing.assert_allclose(found[0], theirs["loss"], rtol=1e-4)
    np.testing.assert_allclose(found[1], theirs["states"], rtol=1e-4, atol=1e-6)


def test_tangent_and_adjoint_are_transposes() -> None:
    system = program(function, *ARGUMENTS)
    rng = np.random.default_rng(0)
    tangents = [rng.standard_normal((3, 3)), rng.standard_normal((3, 3)), rng.standard_normal((1, 3))]
    adjoints = [rng.standard_normal(()), rng.standard_normal((1, 3))]
    one = sum(np.sum(a * t) for a, t in zip(adjoints, system.solve(tangents), strict=True))
    other = sum(np.sum(a * t) for a, t in zip(system.solve_transposed(adjoints), tangents, strict=True))
    assert one == pytest.approx(other, rel=1e-13)


def test_a_matrix_that_is_too_large_is_refused() -> None:
    with pytest.raises(errors.UsageError, match="I − L is written down up to 20,000"):
        program(lambda x: jnp.sum(x * x), jnp.ones(15_000)).matrix()
