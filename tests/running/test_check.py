"""check: right gradients are accepted, wrong ones rejected under the question that finds them, with the rule named."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from chainback.errors import UsageError
from chainback.judging.judgement import Verdict
from chainback.running.check import check, check_grads

f32 = jnp.float32
A, R, U = Verdict.ACCEPTED, Verdict.REJECTED, Verdict.UNDECIDED
NEWER = tuple(map(int, jax.__version__.split(".")[:2])) >= (0, 9)


def normal(*shape: int, seed: int = 0, scale: float = 1.0) -> jax.Array:
    return f32(scale * np.random.default_rng([seed, *shape]).standard_normal(shape))


def mlp(params, x):
    for w, b in params:
        x = jnp.tanh(x @ w + b)
    return jnp.mean(x**2)


def attention(p, x):
    q, k, v = (x @ p[name] for name in "qkv")
    return jnp.sum(jnp.sin(jax.nn.softmax(q @ k.T / jnp.sqrt(8.0)) @ v))


def lstm(w, xs):
    def cell(carry, x):
        h, s = carry
        i, f, g, o = jnp.split(jnp.concatenate([x, h]) @ w, 4)
        s = jax.nn.sigmoid(f) * s + jax.nn.sigmoid(i) * jnp.tanh(g)
        h = jax.nn.sigmoid(o) * jnp.tanh(s)
        return (h, s), h

    return lax.scan(cell, (jnp.zeros(3), jnp.zeros(3)), xs)[1]


def cross_entropy(z, labels):
    return -jnp.take_along_axis(jax.nn.log_softmax(z), labels[:, None], 1).mean()


RIGHT = {
    "mlp": (mlp, [(normal(5, 5, seed=k), normal(5, seed=k)) for k in range(3)], normal(4, 5)),
    "attention": (attention, {name: normal(8, 8, seed=k) for k, name in enumerate("qkv")}, normal(5, 8)),
    "lstm": (lstm, normal(5, 12, scale=0.5), normal(4, 2)),
    "cross entropy": (cross_entropy, normal(4, 7), jnp.array([0, 3, 6, 2])),
    "causal softmax": (lambda x: jax.nn.softmax(jnp.where(jnp.tril(jnp.ones((4, 4))) > 0, x, -jnp.inf)), normal(4, 4)),
    "a kink": (lambda x: jnp.maximum(x, 0.0).sum(), f32([0.0, 1.0, -2.0])),
    "relu at 0": (jax.nn.relu, f32(0.0)),
    "softmax whose digits are lost": (lambda z: jax.nn.softmax(z)[0], f32([17.5, 0.0])),
    "an exact zero by cancellation": (
        lambda b, x: jnp.sum(jnp.sin(jax.nn.softmax((x @ W[0]) @ (x @ W[1] + b).T) @ (x @ W[2]))),
        normal(4),
        normal(5, 4),
    ),
    "product": (lambda x: jnp.prod(x, axis=1), normal(3, 5)),
    "sorted and gathered": (lambda x: jnp.sort(x)[jnp.array([0, 2, 2])] * jnp.arange(3.0), normal(5)),
}
W = normal(3, 4, 4)


@pytest.mark.parametrize("name", RIGHT)
def test_a_right_gradient_is_accepted(name: str) -> None:
    function, *arguments = RIGHT[name]
    found = check(function, *arguments)
    assert found.verdict is A, str(found)
    assert {row.question for row in found.rows} == {"value", "rule", "execution", "program"}


def wrong_jvp(factor=1.0, sign=1.0):
    @jax.custom_jvp
    def silu(z):
        return z * jax.nn.sigmoid(z)

    @silu.defjvp
    def _(primals, tangents):
        (z,), (dz,) = primals, tangents
        s = jax.nn.sigmoid(z)
        return silu(z), sign * factor * dz * (s + z * s * (1 - s))

    return silu


def deep(silu, layers=4):
    def network(ws, x):
        for w in ws:
            x = x + silu(x @ w)
        return jnp.mean(x**2)

    return network, [normal(6, 6, seed=k, scale=0.4) for k in range(layers)], normal(3, 6)


@pytest.mark.parametrize("factor", [1 + 1e-5, 1 + 1e-6])
def test_a_rule_that_is_off_by_little_is_rejected_and_named(factor: float) -> None:
    function, *arguments = deep(wrong_jvp(factor))
    found = check(function, *arguments, questions=["rule"])
    assert found.verdict is R
    assert {row.question for row in found.rejections} == {"rule"}
    said = str(found.rejections[0])
    assert "ws[0]" in said or "x[" in said
    assert "custom_jvp" in said
    assert float(said.rpartition("off by ")[2]) == pytest.approx(factor - 1, rel=0.1)


def test_the_right_rule_is_accepted() -> None:
    function, *arguments = deep(wrong_jvp())
    found = check(function, *arguments)
    assert found.accepted, str(found)


@jax.custom_vjp
def transposed(q, k, v):
    return jax.nn.softmax(q @ k.T) @ v


def _forward(q, k, v):
    s = jax.nn.softmax(q @ k.T)
    return s @ v, (q, k, v, s)


def _backward(residuals, g):
    q, k, v, s = residuals
    ds = g @ v.T
    d = s * (ds - (ds * s).sum(-1, keepdims=True))
    return d @ k.T, d.T @ q, s.T @ g  # d @ k is meant


transposed.defvjp(_forward, _backward)


@jax.custom_vjp
def of_another_dtype(x):
    return x * x


of_another_dtype.defvjp(lambda x: (x * x, x), lambda x, g: ((2 * x * g).astype(jnp.complex64),))


def tanh_by_exponentials(x):
    return (1 - jnp.exp(-2 * x)) / (1 + jnp.exp(-2 * x))


#: (function, arguments, verdict, question that rejects, what the sentence says).
WILD = {
    "NaN behind a mask": (
        lambda x: jnp.where(x > 0, jnp.sqrt(x), 0.0).sum(),
        (f32([0.0, 1.0]),),
        R,
        "rule",
        "got nan, expected 0",
    ),
    "norm at 0": (lambda x: 0.5 * jnp.linalg.norm(x) ** 2, (jnp.zeros(3),), R, "execution", "got nan"),
    "logsumexp with a weight of 0": (
        lambda b: jax.scipy.special.logsumexp(jnp.zeros(2), b=b),
        (f32([1.0, 0.0]),),
        R,
        "program",
        "direction 1",
    ),
    "stop_gradient that was not meant": (
        lambda s, q: jnp.sum(lax.stop_gradient(s) - 3.1e5) + jnp.sum(jnp.sin(q)),
        (f32([3.1e5, 3.1e5 + 1]), f32([0.3, 0.4])),
        R,
        "program",
        "direction 1",
    ),
    "a transposed matrix": (
        transposed,
        (normal(5, 5), normal(5, 5, seed=1), normal(5, 5, seed=2)),
        R,
        "rule",
        "custom_vjp",
    ),
    "a wrong sign at 1,000 outputs": (
        lambda x: wrong_jvp(sign=-1.0)(x).sum(),
        (normal(1000),),
        R,
        "rule",
        "custom_jvp",
    ),
    "another dtype": (of_another_dtype, (f32(1.5),), R, "execution", "complex64"),
    "overflow on the way": (tanh_by_exponentials, (f32(-50.0),), U, "", ""),
    "a value that overflows": (jnp.exp2, (f32(128.00001),), U, "", ""),
    "bfloat16 that stops counting": (
        lambda b: (jnp.zeros((40, 40), jnp.bfloat16) + b).astype(f32).sum(),
        (jnp.bfloat16(0),),
        U,
        "",
        "",
    ),
}


@pytest.mark.parametrize("name", WILD)
def test_what_people_met(name: str) -> None:
    function, arguments, verdict, question, said = WILD[name]
    found = check(function, *arguments)
    assert found.verdict is verdict, str(found)
    if question:
        sentences = [str(row) for row in found.rejections if row.question == question]
        assert sentences, str(found)
        assert any(said in sentence for sentence in sentences), sentences


def test_an_index_that_is_clamped_has_the_gradient_of_what_is_read() -> None:
    function = lambda x: jax.vmap(lax.dynamic_index_in_dim, (None, 0))(x, jnp.array([2])).sum()  # noqa: E731
    found = check(function, f32([3.0, 5.0]))
    assert found.verdict is (A if NEWER else R), str(found)


def test_a_primitive_without_a_rule_leaves_undecided_and_is_named() -> None:
    found = check(lambda a: jnp.linalg.cholesky(a @ a.T + jnp.eye(3)).sum(), normal(3, 3))
    assert found.verdict is U
    assert "cholesky" in found.undecided
    assert "test_check.py" in found.undecided
    assert found.exit_code == 3


def test_a_reference_is_the_truth() -> None:
    def plain(x):
        return jnp.sum(x**3)

    def fast(x):
        return jnp.sum(x * x * x * 1.0001)

    assert check(plain, normal(4), reference=lambda x: jnp.sum(x * x * x)).accepted
    assert check(fast, normal(4), reference=plain).verdict is R


def test_a_wide_network_is_judged_by_samples() -> None:
    ws = [normal(48, 48, seed=k, scale=48**-0.5) for k in range(6)]

    def network(ws, x):
        for w in ws:
            x = jnp.tanh(x @ w)
        return jnp.sum(x**2)

    found = check(network, ws, normal(4, 48), questions=["execution"], transforms=[("reverse", "jitted")])
    frame = found.to_frame()
    assert found.accepted, str(found)
    assert frame["sampled"].sum() > frame["derived"].sum()
    without = check(network, ws, normal(4, 48), questions=["execution"], transforms=[("reverse", "jitted")], samples=0)
    assert without.verdict is not A  # nothing is accepted by a vacuous bound alone


def test_what_is_not_asked_for_is_not_judged() -> None:
    found = check(lambda a, b, n: (a * b).sum() * n, normal(3), normal(3, seed=1), 2, argnums=1)
    assert {row.name for row in found.rows if row.question == "rule"} == {"b"}


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: check(3, normal(2)), "`f` must be a function, got a int"),
        (lambda: check(lambda x: x, "text"), "neither an array nor a number"),
        (lambda: check(lambda x: jnp.argmax(x), normal(3)), "returns no float"),
        (lambda: check(lambda x: x, jnp.arange(3)), "nothing to differentiate"),
        (lambda: check(lambda x: x, normal(2), argnums=4), "`argnums` must name some of the 1 arguments"),
        (lambda: check(lambda x: float(x), normal(2)), "does not trace"),
        (lambda: check(lambda x: x, normal(2), cotangent=f32([1.0])), "`cotangent` must have the shapes of the result"),
        (
            lambda: check(lambda x: x, normal(2), questions=["values"]),
            "`questions` are value, rule, execution, program",
        ),
        (lambda: check(lambda x: x, normal(2), reference=lambda x: x[0]), "`reference` returns"),
    ],
)
def test_misuse_is_one_sentence(call, said: str) -> None:
    with pytest.raises(UsageError) as caught:
        call()
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_text_says_what_is_wrong_and_asserting_raises_it() -> None:
    found = check(lambda x: wrong_jvp(1.001)(x).sum(), normal(4), questions=["rule"])
    with pytest.raises(AssertionError, match="REJECTED rule"):
        found.assert_accepted()
    assert list(found.to_frame()["verdict"]) == ["rejected"]
    check(lambda x: x.sum(), normal(4), questions=["value"]).assert_accepted()


def test_check_grads_takes_the_place_of_jaxs() -> None:
    check_grads(lambda x: jnp.sum(jnp.sin(x) ** 2), (normal(4),), 2, ["fwd", "rev"], 1e-2, 1e-2, 1e-3)
    with pytest.raises(AssertionError, match="REJECTED rule"):
        check_grads(lambda x: wrong_jvp(1.0001)(x).sum(), (normal(4),), order=1, modes=["rev"])
    with pytest.raises(UsageError, match="`order` must be 1 or 2, got 3"):
        check_grads(jnp.sin, (normal(2),), 3)
    with pytest.raises(UsageError, match="`modes` holds fwd, rev or both"):
        check_grads(jnp.sin, (normal(2),), 1, modes=["reverse"])


def test_a_wrong_second_derivative_is_found_at_order_two_only() -> None:
    @jax.custom_jvp
    def slope(x):
        return jnp.cos(x)

    slope.defjvp(lambda p, t: (jnp.cos(p[0]), -t[0] * jnp.sin(p[0]) * 1.001))

    @jax.custom_jvp
    def sine(x):
        return jnp.sin(x)

    sine.defjvp(lambda p, t: (jnp.sin(p[0]), t[0] * slope(p[0])))
    check_grads(lambda x: sine(x).sum(), (normal(3),), 1)
    with pytest.raises(AssertionError, match="REJECTED rule"):
        check_grads(lambda x: sine(x).sum(), (normal(3),), 2)
