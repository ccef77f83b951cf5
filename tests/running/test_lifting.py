"""NumPy code that JAX runs is the same function; what would not be is refused."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special

from chainback.operations import arithmetic
from chainback.operations.activations import ACTIVATIONS
from chainback.operations.elementwise import Local
from chainback.running.lifting import Lifted, double_precision, lift, lowered
from chainback.truth import recurrences

Z = np.concatenate([np.linspace(-40, 40, 2001), np.array([0.0, -0.0, 1e-300, -1e-12, 700.0, -700.0])])


def run(code: Any, *arrays: np.ndarray) -> Any:
    """What NumPy code returns when JAX runs it, compiled."""
    with double_precision():
        found = jax.jit(lambda *arrays: lowered(code(*map(lift, arrays))))(*arrays)
        return jax.tree.map(np.asarray, found)


@pytest.mark.parametrize("name", list(ACTIVATIONS))
@pytest.mark.parametrize("part", ["value", "slope"])
def test_the_truth_of_an_activation_is_the_same_function(name: str, part: str) -> None:
    code = getattr(ACTIVATIONS[name], part)
    expected, found = code(Z), run(code, Z)
    assert found.dtype == np.float64
    # Both are right to a few units of 2⁻⁵³ of the terms that they are made of.
    scale = np.abs(expected) + 1e-3 * np.exp(-np.abs(Z)) * (name == "gelu")
    assert (np.abs(found - expected) <= 2.0**-46 * scale + 1e-300).all()


@pytest.mark.parametrize("name", list(ACTIVATIONS))
def test_its_local_behaviour_is(name: str) -> None:
    def code(z: Any) -> Any:
        return tuple(np.zeros_like(z) + part for part in ACTIVATIONS[name].local(z))

    for part, expected, found in zip(Local._fields, code(Z), run(code, Z), strict=True):
        np.testing.assert_allclose(found, expected, rtol=2.0**-40, atol=1e-290, err_msg=part)


def assigning(a: Any, b: Any) -> Any:
    found = np.empty_like(a, shape=(3, *a.shape))
    found[0], found[1:] = a, 2.0 * b
    found[1] = found[1] + a
    np.copyto(found, -1.0, where=found > 3.0)
    found *= 2.0
    return found, np.stack([a, b]).max(axis=0), np.concatenate([a[None], b[None]]).sum(axis=0), a.size * b


def exact(a: Any, b: Any) -> Any:
    mantissas, exponents = np.frexp(a)
    integers = (mantissas * 2.0**53).astype(np.int64)
    return np.ldexp(integers & -integers, exponents - 53), (a > 0).all(axis=0), np.fmin(a, b).min(axis=0).prod(axis=0)


@pytest.mark.parametrize("code", [assigning, exact])
def test_what_assigns_and_reduces_is_the_same(code: Any) -> None:
    a, b = np.random.default_rng(0).normal(0, 2, (2, 4, 5))
    for expected, found in zip(code(a, b), run(code, a, b), strict=True):
        np.testing.assert_allclose(found, expected, rtol=2.0**-50, atol=0)


def test_a_recursion_is_scanned() -> None:
    a, b = np.random.default_rng(1).normal(size=(2, 7, 3))

    def code(a: Any, b: Any) -> Any:
        return recurrences.recur(a[0], lambda before, by, plus: by * before + plus, a[1:], b[1:])

    np.testing.assert_allclose(run(code, a, b), code(a, b), rtol=2.0**-50)
    with double_precision():
        written = str(jax.make_jaxpr(lambda a, b: lowered(code(lift(a), lift(b))))(a, b))
    assert "scan" in written, "a loop that is unrolled takes a compiler minutes where it is long"


def through_a_part(a: Any) -> Any:
    part = a[0]
    part += 1.0  # NumPy would change `a`
    return a


def into_a_part(a: Any) -> Any:
    first = a[0]
    first[0] = 1.0
    return a


def copied_into_a_part(a: Any) -> Any:
    np.copyto(a[0], 1.0, where=a[0] > 0)
    return a


def into_a_view(a: Any) -> Any:
    np.swapaxes(a, 0, 1)[0] = 7.0
    return a


def through_a_view(a: Any) -> Any:
    flat = np.ravel(a)
    flat *= 2.0
    return a


def into_integers(a: Any) -> Any:
    found = np.zeros_like(a, dtype=np.int64)
    found += a
    return found


def reduced_by_a_ufunc(a: Any) -> Any:
    return np.add.reduce(a)


def unknown_to_jax(a: Any) -> Any:
    return special.wrightomega(a)


def of_another_library(a: Any) -> Any:
    return np.asarray(a)


def decided_by_a_value(a: Any) -> Any:
    return a if a[0, 0] > 0 else -a


@pytest.mark.parametrize(
    ("code", "sentence"),
    [
        (through_a_part, "a part of a lifted array is a copy: assign to the whole"),
        (into_a_part, "a part of a lifted array is a copy: assign to the whole"),
        (copied_into_a_part, "a part of a lifted array is a copy: assign to the whole"),
        (into_a_view, "a part of a lifted array is a copy: assign to the whole"),
        (through_a_view, "a part of a lifted array is a copy: assign to the whole"),
        (into_integers, "np.add gives float64, which is not put into int64"),
        (reduced_by_a_ufunc, "np.add.reduce cannot be lifted"),
        (unknown_to_jax, "wrightomega cannot be lifted: JAX has no function of that name"),
        (of_another_library, "a lifted array has no values yet"),
        (decided_by_a_value, "what a lifted array holds decides nothing"),
    ],
)
def test_what_would_not_be_the_same_is_refused(code: Any, sentence: str) -> None:
    with pytest.raises(TypeError, match=sentence):
        run(code, np.ones((2, 2)))


def test_whether_any_is_true_may_not_be_known() -> None:
    assert Lifted(jnp.zeros(3, bool)).any() is True


def test_double_precision_ends_with_its_context() -> None:
    with double_precision():
        assert jnp.asarray(np.ones(2)).dtype == np.float64
    assert jnp.asarray(np.ones(2)).dtype == np.float32


def test_a_lifted_array_passes_for_numpys_and_jaxs_own_does_not() -> None:
    assert isinstance(lift(jnp.ones(3)), arithmetic.Array)
    assert isinstance(np.ones(3), arithmetic.Array)
    assert not isinstance(jnp.ones(3), arithmetic.Array)
