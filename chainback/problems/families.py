"""Families of random chains: each maps (random streams, depth, width) to a batch of cases that deep.

A family becomes an ensemble by its row in `ensembles.ENSEMBLES`.
"""

from __future__ import annotations

import numpy as np

from chainback.operations.activations import ACTIVATIONS
from chainback.operations.arithmetic import Array
from chainback.problems.chain import Case, Chain
from chainback.problems.random_streams import RandomStreams

__all__ = ["alive", "deep", "huge", "kinks", "lecture", "mixed", "saturated", "special", "tiny", "wide"]

#: The activations that a family may use: the built-in ones, whatever a user registers later.
_BUILT_IN = tuple(ACTIVATIONS)
_SATURATING = ("sigmoid", "tanh", "softplus", "silu", "gelu", "elu")
_PIECEWISE = ("relu", "leaky_relu", "identity")


def _case(weights: Array, biases: Array, names: tuple[str, ...], inputs: Array, targets: Array) -> Case:
    return Case(Chain(weights.astype(np.float32), biases.astype(np.float32), names), inputs, targets)


def lecture(random: RandomStreams, depth: int, width: int) -> Case:
    """Standard normal parameters, sigmoid hidden layers, identity output; inputs as the lecture's grid, and beyond."""
    names = ("sigmoid",) * (depth - 1) + ("identity",)
    return _case(
        random.normal(depth, width, width),
        random.normal(depth, width),
        names,
        random.uniform(0.5, 3.0, width) * random.choice((1.0, 1.0, -2.0), 1),
        random.normal(width) * np.float32(3.0),
    )


def mixed(random: RandomStreams, depth: int, width: int) -> Case:
    """Another activation every layer; weights from small to large, and some exact zeros."""
    scale = random.choice((0.5, 1.0, 1.5, 3.0), depth, 1, 1) / np.float32(np.sqrt(width))
    keep = random.choice((1.0,) * 15 + (0.0,), depth, width, width)
    return _case(
        random.normal(depth, width, width) * scale * keep,
        random.normal(depth, width),
        random.layers(_BUILT_IN, depth),
        random.normal(width),
        random.normal(width),
    )


#: Where each activation is held so that gradients stay alive: the argument c, h(c) and 1 / h'(c).
_OPERATING_POINTS = {
    "identity": (0.0, 0.0, 1.0),
    "sigmoid": (0.0, 0.5, 4.0),
    "tanh": (0.0, 0.0, 1.0),
    "relu": (1.0, 1.0, 1.0),
    "leaky_relu": (1.0, 1.0, 1.0),
    "elu": (1.0, 1.0, 1.0),
    "softplus": (0.0, 0.6931472, 2.0),
    "silu": (0.0, 0.0, 2.0),
    "gelu": (0.0, 0.0, 2.0),
    "sin": (0.0, 0.0, 1.0),
}


def _near_isometry(random: RandomStreams, names: tuple[str, ...], width: int, wander: float) -> Case:
    """Couplings within `wander` of signed permutations: weights ±1/h'(c) where biases hold the argument near c."""
    depth = len(names)
    kinds = {name: kind for kind, name in enumerate(dict.fromkeys(names))}
    points = np.array([_OPERATING_POINTS[name] for name in kinds], np.float32)
    centre, level, gain = points[[kinds[name] for name in names]].T
    before = np.concatenate([np.zeros(1, np.float32), level[:-1]])
    shift = random.integers(0, width - 1, depth, 1)
    columns = (np.arange(width) + shift) % width
    permutation = (columns[..., None] == np.arange(width)).astype(np.float32)
    signs = random.choice((1.0, -1.0), depth, width, 1)
    weights = permutation * signs * gain[:, None, None]
    weights = weights + random.normal(depth, width, width) * np.float32(wander / width) * gain[:, None, None]
    offset = weights.sum(axis=-1, dtype=np.float64) * before[:, None]
    biases = centre[:, None] - offset + random.normal(depth, width) * np.float32(wander)
    small = np.float32(min(0.1, 10 * wander))
    inputs = random.normal(width) * small
    return _case(weights, biases, names, inputs, inputs + centre[-1] + random.normal(width))


def alive(random: RandomStreams, depth: int, width: int) -> Case:
    """Gradients that neither vanish nor explode with depth, through every activation."""
    return _near_isometry(random, random.layers(_BUILT_IN, depth), width, 0.02)


def deep(random: RandomStreams, depth: int, width: int) -> Case:
    """The same at thousands of layers and more, where couplings may differ from signed permutations by 1 / depth only.

    Every layer adds u of its state to the forward error of all later states, so that states must stay small where slopes
    vary: only activations that are held at 0, with no curvature there, leave a chain of 10⁶ layers decidable.
    """
    names = random.layers(("identity", "tanh", "sin"), depth)
    return _near_isometry(random, names, width, min(0.02, 4.0 / depth))


def saturated(random: RandomStreams, depth: int, width: int) -> Case:
    """Arguments of ±10 to ±100, where exponentials underflow and slopes vanish; and hidden layers that recover."""
    scale = random.choice((1.0, 8.0, 30.0), depth, 1, 1) / np.float32(np.sqrt(width))
    return _case(
        random.normal(depth, width, width) * scale,
        random.normal(depth, width) * random.choice((1.0, 20.0), depth, 1),
        random.layers(_SATURATING, depth),
        random.normal(width) * np.float32(4.0),
        random.normal(width),
    )


def kinks(random: RandomStreams, depth: int, width: int) -> Case:
    """Piecewise-linear chains of small dyadic numbers, whose arguments hit 0 exactly, or miss it by an ulp."""
    nudge = 1.0 + random.choice((0.0, 0.0, 0.0, 2.0**-23, -(2.0**-24)), depth, width)
    return _case(
        random.choice((1.0, -1.0, 0.5, -0.5, 2.0, 0.0), depth, width, width),
        random.choice((0.0, 1.0, -1.0, 0.5, -0.5), depth, width) * nudge.astype(np.float32),
        random.layers((*_PIECEWISE, "relu", "elu"), depth),
        random.choice((0.0, -0.0, 1.0, -1.0, 0.5, 2.0), width),
        random.choice((0.0, 1.0, -1.0, 3.0), width),
    )


def tiny(random: RandomStreams, depth: int, width: int) -> Case:
    """Powers of two down to 2⁻⁶⁰, so that products underflow somewhere, and not elsewhere."""
    exponents = random.integers(-60, 8, depth, 1, 1)
    return _case(
        np.ldexp(random.normal(depth, width, width), exponents),
        np.ldexp(random.normal(depth, width), random.integers(-60, 0, depth, 1)),
        random.layers(_BUILT_IN, depth),
        random.normal(width),
        random.normal(width),
    )


def huge(random: RandomStreams, depth: int, width: int) -> Case:
    """Powers of two up to 2⁴⁰, so that some orders of evaluation overflow: those cases must come out undecided."""
    exponents = random.integers(-20, 40, depth, 1, 1) * random.integers(0, 1, depth, 1, 1)
    return _case(
        np.ldexp(random.normal(depth, width, width), exponents),
        np.ldexp(random.normal(depth, width), random.integers(-4, 20, depth, 1)),
        random.layers((*_PIECEWISE, "elu", "softplus", "tanh"), depth),
        random.normal(width),
        random.normal(width),
    )


def special(random: RandomStreams, depth: int, width: int) -> Case:
    """The values that code treats specially: ±0, ±1, one ulp beside 1, powers of two, the smallest normal number."""
    ulp = 2.0**-23
    values = (
        0.0,
        -0.0,
        1.0,
        -1.0,
        1.0 + ulp,
        1.0 - ulp / 2,
        -1.0 - ulp,
        2.0,
        -0.5,
        2.0**-12,
        -(2.0**12),
        3.0,
        2.0**-126,
    )
    return _case(
        random.choice(values, depth, width, width),
        random.choice(values, depth, width),
        random.layers(_BUILT_IN, depth),
        random.choice(values[:-1], width),
        random.choice(values[:-1], width),
    )


def wide(random: RandomStreams, depth: int, width: int) -> Case:
    """Dense layers with every activation, scaled so that states keep their size."""
    gain = random.choice((0.7, 1.0, 1.4), depth, 1, 1) / np.float32(np.sqrt(width))
    return _case(
        random.normal(depth, width, width) * gain,
        random.normal(depth, width) * np.float32(0.5),
        random.layers(_BUILT_IN, depth),
        random.normal(width),
        random.normal(width),
    )
