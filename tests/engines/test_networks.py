from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from chainback import Chain
from chainback.engines import networks  # registers chains with JAX
from chainback.operations.activations import ACTIVATIONS, register
from chainback.operations.elementwise import Activation, Local

f32: Any = np.float32


def chain(*batch: int) -> Chain:
    return Chain(np.ones((*batch, 3, 2, 2), f32), np.zeros((*batch, 3, 2), f32), ("tanh",) * 3)


def test_a_chain_is_a_pytree_under_jax() -> None:
    doubled = jax.jit(lambda c: jax.tree_util.tree_map(lambda a: 2 * a, c))(chain())
    assert isinstance(doubled, Chain)
    assert doubled.activations == ("tanh",) * 3
    assert np.array_equal(doubled.weights, 2 * chain().weights)
    leaves, tree = jax.tree_util.tree_flatten(chain(2))
    assert [leaf.shape for leaf in leaves] == [(2, 3, 2, 2), (2, 3, 2)]
    assert jax.tree_util.tree_unflatten(tree, [None, None]).activations == ("tanh",) * 3


def test_a_chain_can_be_differentiated_as_a_whole() -> None:
    built = Chain(jnp.ones((3, 2, 2)), jnp.zeros((3, 2)), ("tanh",) * 3)
    gradient = jax.grad(lambda c: jnp.sum(networks.states(c, jnp.ones(2))[-1]))(built)
    assert gradient.weights.shape == (3, 2, 2)


def test_every_way_of_writing_a_chain_gives_its_last_state() -> None:
    one, x = chain(), np.ones(2, f32)
    last = networks.states(one, x)[-1]
    for write in (networks.unrolled, networks.scanned, networks.rematerialised):
        assert np.allclose(write(one.weights, one.biases, one.activations, x), last, rtol=1e-6)


def test_an_activation_registered_after_a_scan_of_the_same_shape_is_used() -> None:
    """JAX keeps traced scans: one of a table without the new activation must not serve for it."""
    x, names = np.ones(2, f32), ("tanh", "half_square", "identity")
    before = chain()
    for write in (networks.scanned, networks.rematerialised):
        write(before.weights, before.biases, before.activations, x)
    half_square = Activation(
        name="half_square",
        value=lambda z: 0.5 * z * z,
        slope=lambda z: z,
        local=lambda z: Local(1.0, 1.0, 0.0, 0.0, 0.5 * z * z, np.abs(z)),
        second_max=1.0,
        third_max=0.0,
        slope_range=(-np.inf, np.inf),
        function=lambda z: 0.5 * z**2,
        derivative=lambda z: (0.5 * z * z, z),
    )
    register(half_square)
    try:
        expected = networks.unrolled(before.weights, before.biases, names, x)
        for write in (networks.scanned, networks.rematerialised):
            assert np.allclose(write(before.weights, before.biases, names, x), expected, rtol=1e-6)
    finally:
        del ACTIVATIONS["half_square"]
