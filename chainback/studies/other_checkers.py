"""Other checkers of gradients: `jax.test_util.check_grads` and `torch.autograd.gradcheck`, and chainback in the same form.

Each checker gets one case at a time and a faulty engine, as a user would meet it: a loss ½‖y − ŷ‖² of (weights, biases)
whose value is right and whose reverse-mode rule is the engine. A checker that raises has flagged the case, whatever it
raised.

What the others do: both take central differences of the loss, `check_grads` in float32 with a step of 10⁻⁴ along a single
direction, `gradcheck` in float64 with a step of 10⁻⁶ along every axis; both then compare within one fixed tolerance. From
JAX 0.4.30 to 0.12 that direction comes of `RandomState(0)`: it is the same in every run and for every function of the same
arguments, and NumPy's global random state has no part in it.

Only reverse mode is compared. A faulty engine is a map from a chain to its gradient, which is all that a vjp rule needs; a
jvp rule made of it would only project the same numbers on a direction.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import jax
import numpy as np
from jax import test_util

from chainback.engines import networks
from chainback.engines.devices import arithmetic_of, device_of
from chainback.engines.networks import Array
from chainback.engines.user_engines import Protocol, run_engine
from chainback.errors import EngineError
from chainback.judging.judgement import judge
from chainback.problems.chain import Case, Chain

__all__ = ["JAX_OPERATOR_TOLERANCE", "Checker", "by_chainback", "by_check_grads", "by_gradcheck", "checkers"]

#: Maps an engine and one case (a batch of one) to what is wrong with it, in a word; "" if nothing is.
Checker = Callable[[Protocol, Case], str]
#: What JAX's own tests of its operators allow a float32 derivative, absolutely and relatively, wherever an operator asks
#: for no more. Source: jax-ml/jax, tests/lax_autodiff_test.py, `LaxAutodiffTest.testOpGrad`.
JAX_OPERATOR_TOLERANCE = 1.5e-1
_ACTIVATIONS_IN_TORCH: dict[str, Callable[[Any, Array], Array]] = {
    "identity": lambda torch, z: z,
    "sigmoid": lambda torch, z: torch.sigmoid(z),
    "tanh": lambda torch, z: torch.tanh(z),
    "relu": lambda torch, z: torch.relu(z),
    "leaky_relu": lambda torch, z: torch.nn.functional.leaky_relu(z, 0.01),
    "elu": lambda torch, z: torch.nn.functional.elu(z),
    "softplus": lambda torch, z: torch.logaddexp(z, torch.zeros_like(z)),
    "silu": lambda torch, z: z * torch.sigmoid(z),
    "gelu": lambda torch, z: 0.5 * z * torch.special.erfc(-(0.5**0.5) * z),
    "sin": lambda torch, z: torch.sin(z),
}


@contextmanager
def _without_warnings() -> Iterator[None]:
    """Ignore warnings of NaN, infinity and underflow: what a checker makes of them is its verdict."""
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _gradient_at(engine: Protocol, case: Case, weights: Array, biases: Array) -> Any:
    """Return the engine's result on one case at these parameters, which have no batch axis, in float32."""
    weights, biases = (np.asarray(a, np.float32)[None] for a in (weights, biases))
    return run_engine(engine, Case(Chain(weights, biases, case.chain.activations), case.inputs, case.targets))


def by_chainback(engine: Protocol, case: Case) -> str:
    """Judge the gradient by the envelope of its case, and compute it twice, as `verify` does.

    A result that is malformed is rejected; a case that is undecided is not.
    """
    arithmetic = arithmetic_of(device_of(None))
    try:
        first, again = (judge(case, run_engine(engine, case), arithmetic=arithmetic) for _ in range(2))
    except EngineError:
        return "raised"
    if first.rejected_cases.any():
        return "malformed" if first.malformed else "rejected"
    return "" if first.got.tobytes() == again.got.tobytes() else "unsteady"


@jax.jit
def _loss(weights: Array, biases: Array, codes: Array, x: Array, y: Array) -> Array:
    return networks.loss(networks.scanned(weights, biases, codes, x), y)


def by_check_grads(engine: Protocol, case: Case, tolerance: float | None = None) -> str:
    """Run `jax.test_util.check_grads` of order 1, in reverse mode, on a loss whose `custom_vjp` is the engine.

    The loss is one jitted program, and so is the engine, if it is one of ours.

    Args:
        engine: The engine.
        case: A batch of one.
        tolerance: Both tolerances; None for check_grads' own.
    """
    codes, x, y = networks.codes(case.chain.activations), case.inputs[0], case.targets[0]

    @jax.custom_vjp
    def loss(weights: Array, biases: Array) -> Array:
        return _loss(weights, biases, codes, x, y)

    def forward(weights: Array, biases: Array) -> tuple[Array, tuple[Array, Array]]:
        return loss(weights, biases), (weights, biases)

    def backward(parameters: tuple[Array, Array], cotangent: Array) -> Any:
        found = _gradient_at(engine, case, *parameters)
        return jax.tree_util.tree_map(lambda part: np.asarray(part)[0] * np.asarray(cotangent), found)

    loss.defvjp(forward, backward)
    arguments = (case.chain.weights[0], case.chain.biases[0])
    with _without_warnings():
        try:
            test_util.check_grads(loss, arguments, order=1, modes=["rev"], atol=tolerance, rtol=tolerance)
        except Exception as error:  # an AssertionError is its verdict; whatever else it raises shows the fault as well
            return type(error).__name__
    return ""


@functools.cache
def _torch() -> Any:
    return importlib.import_module("torch")


def by_gradcheck(engine: Protocol, case: Case) -> str:
    """Run `torch.autograd.gradcheck` at its defaults, in float64, on a loss whose `backward` is the engine.

    The parameters are those of the case, as doubles; the engine computes in float32, and its gradient is cast to double:
    a dtype that is wrong cannot show here.
    """
    torch = _torch()
    x, y = (torch.tensor(np.asarray(a[0], np.float64)) for a in (case.inputs, case.targets))

    class Loss(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, weights: Array, biases: Array) -> Array:
            ctx.save_for_backward(weights, biases)
            state = x
            for weight, bias, name in zip(weights, biases, case.chain.activations, strict=True):
                state = _ACTIVATIONS_IN_TORCH[name](torch, weight @ state + bias)
            return 0.5 * ((state - y) ** 2).sum()

        @staticmethod
        def backward(ctx: Any, cotangent: Array) -> Any:
            found = _gradient_at(engine, case, *(part.detach().numpy() for part in ctx.saved_tensors))
            return jax.tree_util.tree_map(lambda part: torch.tensor(np.asarray(part, float)[0]) * cotangent, found)

    parameters = [torch.tensor(np.asarray(a[0], np.float64)) for a in (case.chain.weights, case.chain.biases)]
    for parameter in parameters:
        parameter.requires_grad_()
    with _without_warnings():
        try:
            passed = torch.autograd.gradcheck(Loss.apply, parameters, raise_exception=False)
        except Exception as error:  # as above
            return type(error).__name__
    return "" if passed else "GradcheckError"


def checkers() -> dict[str, Checker]:
    """Return the checkers that are compared here: chainback, and the other checkers that are installed."""
    found: dict[str, Checker] = {
        "chainback": by_chainback,
        "check_grads": by_check_grads,
        f"check_grads at {JAX_OPERATOR_TOLERANCE:.0%}": functools.partial(
            by_check_grads, tolerance=JAX_OPERATOR_TOLERANCE
        ),
    }
    if importlib.util.find_spec("torch") is not None:
        found["gradcheck"] = by_gradcheck
    return found
