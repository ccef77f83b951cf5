"""Pytest plugin that plants faults in three engines, in one solver and in back substitution, for the properties to find."""

import itertools

from hypothesis import HealthCheck, Phase, settings

#: Few examples and no shrinking: a planted fault has to be seen, not shrunk.
settings.register_profile(
    "planted",
    derandomize=True,
    max_examples=15,
    deadline=None,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)


def pytest_configure() -> None:
    # Not at import: the shape checks want to be the first to import the package.
    import dataclasses

    import jax
    import jax.numpy as jnp
    import numpy as np

    from chainback.engines import triangular
    from chainback.engines.registry import ENGINES

    calls = itertools.count()
    right_gradient = ENGINES["reverse-remat"].gradient

    def not_repeatable(weights, biases, activations, x, y):
        """Other bits on every other call."""
        dweights, dbiases = right_gradient(weights, biases, activations, x, y)
        shape = jax.ShapeDtypeStruct((), jnp.float32)
        turn = jax.pure_callback(lambda _: np.float32(next(calls) % 2), shape, x[0], vmap_method="sequential")
        return dweights, dbiases * (1 + turn * 2.0**-22)

    def leaking(weights, biases, activations, x, y):
        """A little of the residual reaches every layer, whatever the weights between."""
        dweights, dbiases = right_gradient(weights, biases, activations, x, y)
        return dweights, dbiases + 1e-6 * dbiases[-1:]

    def wrong_when_compiled(weights, biases, activations, x, y):
        """Right op by op, wrong under jit, as a miscompilation is."""
        dweights, dbiases = right_gradient(weights, biases, activations, x, y)
        return dweights, dbiases * (1.001 if isinstance(x, jax.core.Tracer) else 1.0)

    for name, fault in (
        ("reverse-unrolled", not_repeatable),
        ("forward-scan", leaking),
        ("reverse-scan", wrong_when_compiled),
    ):
        ENGINES[name] = dataclasses.replace(ENGINES[name], gradient=fault)
    right = triangular.SOLVERS["substitution"]
    triangular.SOLVERS["substitution"] = lambda couplings, rhs: right(couplings * (1 + 2.0**-12), rhs)
    back = triangular.back_substitution
    triangular.back_substitution = lambda weights, *rest: back(weights * (1 + 2.0**-12), *rest)
