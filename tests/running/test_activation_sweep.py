import jax
import jax.numpy as jnp
import numpy as np
import pytest

from chainback.operations.activations import ACTIVATIONS, register
from chainback.operations.arithmetic import FLOAT32
from chainback.operations.elementwise import Activation
from chainback.running.activation_sweep import activation_sweeps, grid


def test_the_grid_covers_tails_zeros_and_both_ends_of_the_exponents() -> None:
    points = grid()
    assert points.dtype == np.float32
    assert np.isfinite(points).all()
    assert {0.0, 1.0, -1.0, 88.0, -104.0, 2.0**-126, -(2.0**12)} <= set(points.tolist())
    assert np.any((points == 0) & np.signbit(points))
    assert len(points) > 13_000


def test_a_wrong_slope_is_rejected_though_forward_and_reverse_agree() -> None:
    tanh = ACTIVATIONS["tanh"]

    @jax.custom_jvp
    def wrong(z):
        return jnp.tanh(z)

    wrong.defjvp(lambda primals, tangents: (wrong(*primals), tangents[0] * (1 - wrong(*primals) ** 2) * (1 + 2.0**-16)))
    replaced = {"name": "wrong_tanh", "function": wrong, "derivative": lambda z: (jnp.tanh(z), 1 - jnp.tanh(z) ** 2)}
    register(Activation(**{**tanh.__dict__, **replaced}))
    try:
        sweeps = activation_sweeps(FLOAT32, jax.devices()[0])
        rows = [row for sweep in sweeps if sweep.activation == "wrong_tanh" for row in sweep.rows()]
    finally:
        del ACTIVATIONS["wrong_tanh"]
    verdicts = {(row["quantity"], row["method"]): row["verdict"] for row in rows}
    assert verdicts["value", "primal"] == "accepted"
    assert verdicts["slope", "forward"] == verdicts["slope", "reverse"] == "rejected"
    forward = next(row for row in rows if row["method"] == "forward")
    assert forward["rejected"] > 100
    assert abs(forward["worst_z"]) < 3
    assert forward["error_u_max"] == pytest.approx(2.0**24, rel=1e-3)
