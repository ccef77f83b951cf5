"""Engines of a user's own: right ones by other libraries, and broken ones that the gate must reject."""

import itertools
import sys
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from chainback import ENGINES
from chainback.studies.planted_faults import FAULTS

_RIGHT = ENGINES["reverse-scan"]


def right(weights, biases, activations, inputs, targets):
    return _RIGHT(weights, biases, activations, inputs, targets)


def _writable(*arguments):
    return tuple(np.array(part) for part in _RIGHT(*arguments))


def scaled_bias(*arguments):
    """One bias gradient times 1 + 2^-16."""
    dweights, dbiases = _writable(*arguments)
    dbiases[:, 0] *= np.float32(1 + 2.0**-16)
    return dweights, dbiases


def first_half_zero(*arguments):
    dweights, dbiases = _writable(*arguments)
    half = (dbiases.shape[1] + 1) // 2
    dweights[:, :half] = 0
    dbiases[:, :half] = 0
    return dweights, dbiases


def last_layer_wrong(*arguments):
    """Right except for the last random layer: its weight gradient takes the state behind it, not before it."""
    dweights, dbiases = _writable(*arguments)
    dweights[:, -1] = np.swapaxes(dweights[:, -1], 1, 2) * np.float32(1.5)
    return dweights, dbiases


def bfloat16(weights, biases, activations, inputs, targets):
    """The whole computation in bfloat16."""
    short = [jnp.asarray(a, jnp.bfloat16) for a in (weights, biases, inputs, targets)]
    dw, db = jax.vmap(_RIGHT.gradient, in_axes=(0, 0, None, 0, 0))(short[0], short[1], activations, short[2], short[3])
    return dw.astype(jnp.float32), db.astype(jnp.float32)


def raises(*_):
    raise RuntimeError("out of cheese\nredo from start")


def exits(*_):
    """Would end the whole run with exit code 0, which says accepted."""
    sys.exit(0)


class UnspeakableError(Exception):
    """Its message cannot be had."""

    def __str__(self):
        raise ValueError("no")


def raises_the_unspeakable(*_):
    raise UnspeakableError


def raises_what_no_file_can_hold(*_):
    raise RuntimeError("lone surrogate \ud800, escape \x1b[31m, nul \0")


def raises_beyond_exception(*_):
    class Beyond(BaseException):
        pass

    raise Beyond("past every except Exception")


class _Unreadable:
    def __array__(self, *_, **__):
        raise UnspeakableError


def returns_the_unreadable(*_):
    return _Unreadable(), _Unreadable()


_calls = itertools.count()


def other_bits_every_other_call(*arguments):
    dweights, dbiases = _writable(*arguments)
    return dweights, np.nextafter(dbiases, np.float32(np.inf)) if next(_calls) % 2 else dbiases


def wrong_on_the_second_device(*arguments):
    """A bias gradient off by 2^-12 where the default device is the second one."""
    dweights, dbiases = _writable(*arguments)
    (device,) = jnp.zeros(()).devices()
    if device.id == 1:
        dbiases[:, 0] *= np.float32(1 + 2.0**-12)
    return dweights, dbiases


def returns_nothing(*_):
    return None


def returns_nan(*arguments):
    dweights, dbiases = _writable(*arguments)
    dbiases[0, 0] = np.nan
    return dweights, dbiases


def returns_float64(*arguments):
    dweights, dbiases = _writable(*arguments)
    return dweights.astype(np.float64), dbiases.astype(np.float64)


def drops_a_layer(*arguments):
    dweights, dbiases = _writable(*arguments)
    return dweights[:, 1:], dbiases[:, 1:]


def writes_into_its_inputs(weights, *rest):
    weights *= 2
    return _RIGHT(weights, *rest)


def wrong_in_one_case_of_a_large_batch(*arguments):
    """A fault that no case shows alone, as a miscompiled batch would."""
    dweights, dbiases = _writable(*arguments)
    if len(dbiases) > 1:
        dbiases[1] += 1 + np.abs(dbiases[1])
    return dweights, dbiases


def transposed_coupling(weights, biases, activations, inputs, targets):
    dweights, dbiases = _writable(weights, biases, activations, inputs, targets)
    if dbiases.shape[2] > 1:
        dweights = np.swapaxes(dweights, 2, 3).copy()
    return dweights, dbiases


def sleeps(*arguments):
    """Right, slow, and leaves a sign that it was called."""
    Path("called").touch()
    time.sleep(0.2)
    return _RIGHT(*arguments)


not_callable = 3


def by_autograd(weights, biases, activations, inputs, targets):
    """HIPS autograd: NumPy code, differentiated in reverse mode, the batch summed."""
    import autograd
    import autograd.numpy as anp
    from autograd.scipy.special import erfc, expit

    functions = {
        "identity": lambda z: z,
        "sigmoid": expit,
        "tanh": anp.tanh,
        "relu": lambda z: anp.where(z > 0, z, 0.0 * z),
        "leaky_relu": lambda z: anp.where(z >= 0, z, np.float32(0.01) * z),
        "elu": lambda z: anp.where(z > 0, z, anp.expm1(anp.where(z > 0, 0.0 * z, z))),
        "softplus": lambda z: anp.logaddexp(z, 0.0 * z),
        "silu": lambda z: z * expit(z),
        "gelu": lambda z: z * (np.float32(0.5) * erfc(z * np.float32(-np.sqrt(0.5)))),
        "sin": anp.sin,
    }

    def loss(weights, biases):
        x = inputs
        for layer, name in enumerate(activations):
            x = functions[name](anp.einsum("bij,bj->bi", weights[:, layer], x) + biases[:, layer])
        return np.float32(0.5) * anp.sum((x - targets) ** 2)

    with np.errstate(all="ignore"):
        return autograd.grad(loss, argnum=(0, 1))(weights, biases)


def by_torch_with_its_own_gelu(weights, biases, activations, inputs, targets):
    import torch

    w, b, x, y = (torch.tensor(np.array(a)) for a in (weights, biases, inputs, targets))
    w.requires_grad_()
    b.requires_grad_()
    assert set(activations) <= {"gelu"}
    for layer in range(len(activations)):
        x = torch.nn.functional.gelu(torch.einsum("bij,bj->bi", w[:, layer], x) + b[:, layer])
    (0.5 * ((x - y) ** 2).sum()).backward()
    return w.grad.numpy(), b.grad.numpy()


def by_torch(weights, biases, activations, inputs, targets):
    """PyTorch's own autograd and activations; GELU by erfc, since `F.gelu` loses its tail (see the test of it)."""
    import torch
    from torch.nn import functional as F  # noqa: N812

    functions = {
        "identity": lambda z: z,
        "sigmoid": torch.sigmoid,
        "tanh": torch.tanh,
        "relu": F.relu,
        "leaky_relu": F.leaky_relu,
        "elu": F.elu,
        "softplus": F.softplus,
        "silu": F.silu,
        "gelu": lambda z: z * (0.5 * torch.special.erfc(z * -(0.5**0.5))),
        "sin": torch.sin,
    }
    w, b, x, y = (torch.tensor(np.array(a)) for a in (weights, biases, inputs, targets))
    w.requires_grad_()
    b.requires_grad_()
    for layer, name in enumerate(activations):
        x = functions[name](torch.einsum("bij,bj->bi", w[:, layer], x) + b[:, layer])
    (0.5 * ((x - y) ** 2).sum()).backward()
    return w.grad.numpy(), b.grad.numpy()


def tf32_products(*arguments):
    """As a GPU multiplies unless it is told otherwise."""
    return FAULTS["tf32-products"].engine(*arguments)
