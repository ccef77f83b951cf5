"""Every engine in the table, and the extended Jacobian: against the truth, JAX's own AD, and the lecture's figures."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import chainback
from chainback import ENGINES, Case, Chain, draw, extended_jacobian, gradient, judge, states
from chainback.engines.engine import few_layers, few_tangents, small_matrix, small_products
from chainback.engines.networks import codes
from chainback.engines.triangular import SOLVERS, solve_chain
from chainback.errors import UsageError
from chainback.judging.judgement import judge_steps
from chainback.operations.activations import ACTIVATIONS, register
from chainback.operations.elementwise import Activation, Local
from chainback.truth.chain_bound import envelope
from chainback.truth.chain_gradient import solve

f32: Any = np.float32
NAMES = list(ENGINES)


def test_the_table_holds_what_is_promised() -> None:
    assert set(NAMES) >= {
        *("forward-unrolled", "forward-scan", "reverse-unrolled", "reverse-scan", "reverse-remat"),
        *("triangular-dense", "triangular-substitution", "triangular-parallel"),
    }
    assert all(name == engine.name for name, engine in ENGINES.items())


@pytest.mark.parametrize("engine", NAMES)
@pytest.mark.parametrize(("name", "depth", "width"), [("lecture", 5, 1), ("mixed", 5, 1), ("wide", 3, 3)])
def test_engines_are_accepted(engine: str, name: str, depth: int, width: int) -> None:
    case = draw(name, seed=2, depth=depth, width=width, batch=1, rows=33)
    assert judge(case, gradient(case.chain, case.inputs, case.targets, engine)).accepted
    assert judge(case[4], gradient(case[4].chain, case[4].inputs, case[4].targets, engine)).accepted


@pytest.mark.parametrize("engine", NAMES)
def test_every_activation_in_every_engine(engine: str) -> None:
    names = tuple(name for name in ACTIVATIONS)
    rng = np.random.default_rng(0)
    depth = len(names)
    chain = Chain(rng.normal(size=(16, depth, 1, 1)).astype(f32), rng.normal(size=(16, depth, 1)).astype(f32), names)
    case = Case(chain, rng.normal(size=(16, 1)).astype(f32), rng.normal(size=(16, 1)).astype(f32))
    assert judge(case, gradient(chain, case.inputs, case.targets, engine)).accepted


def test_gradient_can_be_jitted_and_vmapped() -> None:
    case = draw("lecture", seed=0, depth=4, width=1, batch=0, rows=6)
    for engine in ("reverse-scan", "triangular-substitution"):
        one = jax.jit(lambda c, x, y, e=engine: gradient(c, x, y, e))
        single = one(case[0].chain, case[0].inputs, case[0].targets)
        assert judge(case[0], single).accepted
        many = jax.vmap(lambda c, x, y, e=engine: gradient(c, x, y, e))(case.chain, case.inputs, case.targets)
        assert judge(case, many).accepted


def test_states_are_the_truths() -> None:
    case = draw("wide", seed=0, depth=5, width=4, batch=0, rows=1)[0]
    truth = solve(case).states[..., 0]
    got = states(case.chain, case.inputs)
    assert got.shape == (6, 4)
    assert np.allclose(got, truth, rtol=1e-5, atol=1e-6)


def parameters_of(chain: Chain) -> np.ndarray:
    """(W_1, b_1, …, W_N, b_N) as one vector."""
    return np.concatenate([np.concatenate([w.ravel(), b]) for w, b in zip(chain.weights, chain.biases, strict=True)])


@pytest.mark.parametrize("width", [1, 3])
@pytest.mark.parametrize("solver", SOLVERS)
def test_solve_gives_the_jacobian_of_all_states(solver, width: int) -> None:
    case = draw("wide", seed=4, depth=4, width=width, batch=0, rows=1)[0]
    system = extended_jacobian(case.chain, case.inputs)
    got = system.solve(solver=solver)

    def all_states(p):
        size = width * width + width
        blocks = p.reshape(4, size)
        weights, biases = blocks[:, : width * width].reshape(4, width, width), blocks[:, width * width :]
        return states(Chain(weights, biases, case.chain.activations), case.inputs)[1:]

    by_jax = jax.jacfwd(all_states)(jnp.asarray(parameters_of(case.chain)))
    assert got.shape == by_jax.shape == (4, width, 4 * (width * width + width))
    assert np.allclose(got, by_jax, rtol=1e-4, atol=1e-6)
    assert np.any(np.abs(by_jax) > 1e-3)


@pytest.mark.parametrize("solver", SOLVERS)
def test_solve_transposed_gives_the_gradient(solver) -> None:
    case = draw("wide", seed=4, depth=4, width=3, batch=2, rows=1)[0]
    system = extended_jacobian(case.chain, case.inputs)
    seed = np.zeros((4, 3, 1), f32)
    seed[-1, :, 0] = system.states[-1] - case.targets
    adjoints = system.solve_transposed(seed, solver)[:, :, 0]
    db = system.slopes * adjoints
    assert judge(case, (db[:, :, None] * system.states[:-1, None], db)).accepted
    # And D itself, applied to the adjoints, is the gradient in the order of p.
    flat = np.einsum("lip,li->p", system.rhs(), adjoints)
    assert np.allclose(
        flat, np.concatenate([np.r_[np.outer(g, x).ravel(), g] for g, x in zip(db, system.states, strict=False)])
    )


def alive_chain(names: tuple[str, ...], width: int) -> Case:
    """A chain of tanh, sigmoid and identity, held where slopes are largest, so that its gradient survives its depth."""
    rng = np.random.default_rng(3)
    gain = np.array([4.0 if name == "sigmoid" else 1.0 for name in names])
    before = np.array([0.0, *(0.5 * (name == "sigmoid") for name in names[:-1])])
    weights = gain[:, None, None] * (np.eye(width) + 0.002 * rng.normal(size=(len(names), width, width)))
    biases = 0.001 * rng.normal(size=(len(names), width)) - before[:, None] * weights.sum(axis=2)
    x, y = 0.1 * rng.normal(size=(1, width)), rng.normal(size=(1, width))
    return Case(Chain(weights.astype(f32)[None], biases.astype(f32)[None], names), x.astype(f32), y.astype(f32))


@pytest.mark.parametrize("width", [1, 8, 9])
@pytest.mark.parametrize(("names", "depth"), [("tanh", 259), ("sigmoid identity", 259), ("tanh sigmoid identity", 6)])
def test_every_way_of_writing_the_substitution_solves_the_system_that_it_shows(names: str, depth: int, width: int):
    """Deep or not, wide or not, with branches or without; a solution of another system is rejected."""
    first, *others = names.split()
    case = alive_chain((first,) * (depth - len(others)) + tuple(others), width)
    chain, bounds = case.chain, envelope(case)
    for which in (chain.activations, jnp.asarray(codes(chain.activations))):
        by = {"static_argnums": 2} if isinstance(which, tuple) else {}
        gradients, system = jax.jit(solve_chain, **by)(
            chain.weights[0], chain.biases[0], which, case.inputs[0], case.targets[0]
        )
        dweights, dbiases, couplings, slopes, states = (
            np.asarray(part)[None] for part in (*gradients, system.couplings, system.slopes, system.states)
        )
        steps = judge_steps(case, (dweights, dbiases), couplings, slopes, states, bounds)
        assert steps.linearisation.accepted
        assert steps.substitution.accepted
        assert not judge_steps(
            case, (dweights, dbiases), couplings * f32(1.001), slopes, states, bounds
        ).substitution.accepted


@pytest.mark.parametrize("width", [1, 2])
def test_the_matrix_is_unit_lower_with_couplings_below(width: int) -> None:
    case = draw("wide", seed=4, depth=5, width=width, batch=0, rows=1)[0]
    system = extended_jacobian(case.chain, case.inputs)
    matrix = np.asarray(system.matrix())
    assert np.array_equal(np.triu(matrix), np.eye(5 * width))
    for i in range(1, 5):
        block = matrix[i * width : (i + 1) * width, (i - 1) * width : i * width]
        assert np.array_equal(block, -np.asarray(system.couplings[i]))
    assert np.count_nonzero(matrix) <= 5 * width + 4 * width * width


def test_the_lectures_check() -> None:
    """N = 3, x = 5, y = 3: δ∘x and δ as the lecture prints them, in both of JAX's random streams."""
    partitionable = jax.config.jax_threefry_partitionable
    layers = []
    for key in jax.random.split(jax.random.PRNGKey(1), 4)[:3]:
        w, b = jax.random.split(key)
        layers.append((jax.random.normal(w, (1, 1)), jax.random.normal(b, (1,))))
    weights, biases = (jnp.stack(part) for part in zip(*layers, strict=True))
    chain = Chain(weights, biases, ("sigmoid", "sigmoid", "identity"))
    system = extended_jacobian(chain, jnp.float32([5.0]))
    scaled = (system.slopes * system.states[:-1])[:, 0]
    if partitionable:
        assert np.allclose(scaled, [1.0165801, 0.06087969, 0.09382247], rtol=4e-7)
        assert np.allclose(system.slopes[:, 0], [0.20331602, 0.08501981, 1.0], rtol=4e-7)
    else:
        assert np.allclose(scaled[0], 8.5726520e-03, rtol=4e-7)


@pytest.mark.parametrize(
    ("limit", "within", "beyond", "word"),
    [
        (few_layers, (64, 1, 1), (65, 1, 1), "unrolled program of 65 layers"),
        (few_tangents, (1000, 1, 4), (1_000_000, 1, 1), "2000000 tangents"),
        (few_tangents, (4, 8, 64), (50_000, 1, 8), "operations, 100000 tangents"),
        (small_matrix, (1000, 1, 100), (1_000_000, 1, 1), "dense matrix would take 4e+03 GB"),
        (small_products, (1_000_000, 1, 1), (1_000_000, 16, 1), "partial products would take"),
    ],
)
def test_limits_say_why(limit, within, beyond, word: str) -> None:
    assert limit(*within) == ""
    assert word in limit(*beyond)


def test_an_engine_beyond_its_limit_says_so() -> None:
    deep = draw("deep", seed=0, depth=100, width=1, batch=0, rows=1)
    with pytest.raises(
        chainback.errors.EngineError, match="engine forward-unrolled cannot take this batch: an unrolled program"
    ):
        gradient(deep.chain, deep.inputs, deep.targets, "forward-unrolled")


def test_unknown_engines_and_solvers_are_refused() -> None:
    case = draw("lecture", seed=0, depth=3, width=1, batch=0, rows=1)[0]
    with pytest.raises(UsageError, match="engine 'backward' is not known: use one of forward-unrolled"):
        gradient(case.chain, case.inputs, case.targets, "backward")
    with pytest.raises(UsageError, match="solver 'lu' is not known: use one of dense"):
        extended_jacobian(case.chain, case.inputs).solve(solver="lu")
    with pytest.raises(UsageError, match="`inputs` must have shape"):
        states(case.chain, np.zeros(2, f32))


@pytest.fixture
def square():
    """An activation that a user registers: z² / 2 on moderate arguments."""

    def local(z):
        size = np.abs(z)
        return Local(1.0, 1.0, 0.0, 0.0, 0.5 * z * z, size)

    new = Activation(
        name="half_square",
        value=lambda z: 0.5 * z * z,
        slope=lambda z: z,
        local=local,
        second_max=1.0,
        third_max=0.0,
        slope_range=(-np.inf, np.inf),
        value_range=(0.0, np.inf),
        value_rounding=4.0,
        slope_rounding=4.0,
        function=lambda z: 0.5 * z**2,
        derivative=lambda z: (0.5 * z * z, z),
    )
    yield register(new)
    del ACTIVATIONS["half_square"]


def test_a_registered_activation_is_accepted(square) -> None:
    rng = np.random.default_rng(0)
    chain = Chain(
        *(rng.normal(size=s).astype(f32) for s in ((32, 3, 2, 2), (32, 3, 2))), ("tanh", "half_square", "identity")
    )
    case = Case(chain, *(rng.normal(size=(32, 2)).astype(f32) for _ in range(2)))
    for engine in NAMES:
        assert judge(case, gradient(chain, case.inputs, case.targets, engine)).accepted, engine


def test_a_registered_activation_with_a_wrong_derivative_is_rejected(square) -> None:
    @jax.custom_jvp
    def wrong(z):
        return 0.5 * z**2

    wrong.defjvp(lambda primals, tangents: (wrong(*primals), tangents[0] * primals[0] * 1.001))
    bad = Activation(**{**square.__dict__, "name": "wrong_square", "function": wrong})
    register(bad)
    try:
        case = Case(Chain.scalar([1.0, 2.0], [0.5, 0.1], ["tanh", "wrong_square"]), f32([0.7]), f32([3.0]))
        # Forward and reverse mode agree on the wrong result; the truth and the triangular method do not.
        verdicts = {e: judge(case, gradient(case.chain, case.inputs, case.targets, e)).accepted for e in NAMES}
        assert verdicts == {e: e.startswith("triangular") for e in NAMES}
    finally:
        del ACTIVATIONS["wrong_square"]


def test_depth_of_a_million() -> None:
    case = draw("deep", seed=0, depth=1_000_000, width=1, batch=0, rows=1)
    ran = {}
    for name, engine in ENGINES.items():
        if engine.limit(1_000_000, 1, 1):
            continue
        ran[name] = np.asarray(gradient(case.chain, case.inputs, case.targets, name).biases)
    assert set(ran) == {"reverse-scan", "reverse-remat", "triangular-substitution", "triangular-parallel"}
    reference = ran["triangular-substitution"]
    for got in ran.values():
        assert np.allclose(got, reference, rtol=1e-1)


@pytest.mark.gpu
@pytest.mark.parametrize("engine", NAMES)
def test_engines_are_accepted_on_a_gpu(engine: str) -> None:
    from chainback.engines.devices import arithmetic_of

    device = jax.devices("gpu")[0]
    for name, depth, width in (("lecture", 9, 1), ("mixed", 9, 1), ("wide", 5, 4)):
        case = draw(name, seed=2, depth=depth, width=width, batch=1, rows=1025)
        with jax.default_device(device):
            found = ENGINES[engine].compile(depth, width, 1025, device)(
                case.chain.weights, case.chain.biases, case.chain.activations, case.inputs, case.targets
            )
        assert judge(case, found, arithmetic=arithmetic_of(device)).accepted
