"""Independent references for the truth itself: exact rationals on piecewise-linear chains, mpmath on smooth ones."""

from fractions import Fraction

import mpmath
import numpy as np

mpmath.mp.dps = 50
mpf = mpmath.mpf


def _sigmoid(z):
    return 1 / (1 + mpmath.exp(-z))


MP_ACTIVATIONS = {
    "identity": (lambda z: z, lambda z: mpf(1)),
    "sigmoid": (_sigmoid, lambda z: _sigmoid(z) * _sigmoid(-z)),
    "tanh": (mpmath.tanh, lambda z: mpmath.sech(z) ** 2),
    "relu": (lambda z: max(z, mpf(0)), lambda z: mpf(1) if z > 0 else mpf(0)),
    "leaky_relu": (lambda z: z if z >= 0 else z / 100, lambda z: mpf(1) if z >= 0 else mpf(1) / 100),
    "elu": (lambda z: z if z > 0 else mpmath.expm1(z), lambda z: mpf(1) if z > 0 else mpmath.exp(z)),
    "softplus": (lambda z: mpmath.log1p(mpmath.exp(-abs(z))) + max(z, mpf(0)), _sigmoid),
    "silu": (lambda z: z * _sigmoid(z), lambda z: _sigmoid(z) * (1 + z * _sigmoid(-z))),
    "gelu": (lambda z: z * mpmath.ncdf(z), lambda z: mpmath.ncdf(z) + z * mpmath.npdf(z)),
    "sin": (mpmath.sin, mpmath.cos),
}

EXACT_ACTIVATIONS = {
    "identity": (lambda z: z, lambda z: Fraction(1)),
    "relu": (lambda z: max(z, Fraction(0)), lambda z: Fraction(z > 0)),
    "leaky_relu": (lambda z: z if z >= 0 else z / 100, lambda z: Fraction(1) if z >= 0 else Fraction(1, 100)),
}


def gradient(case, number, activations):
    """Return (states, dweights, dbiases) of a single case as nested lists of `number`, by the chain rule itself."""
    weights, biases = case.chain.weights, case.chain.biases
    depth, width = biases.shape
    exact = np.vectorize(lambda v: number(float(v)), otypes=[object])
    w, b, x, y = exact(weights), exact(biases), exact(case.inputs), exact(case.targets)
    states, slopes = [list(x)], []
    for i in range(depth):
        value, slope = activations[case.chain.activations[i]]
        z = [sum((w[i][j][k] * states[-1][k] for k in range(width)), b[i][j]) for j in range(width)]
        states.append([value(v) for v in z])
        slopes.append([slope(v) for v in z])
    adjoint = [states[-1][j] - y[j] for j in range(width)]
    dweights, dbiases = [None] * depth, [None] * depth
    for i in reversed(range(depth)):
        dbiases[i] = [slopes[i][j] * adjoint[j] for j in range(width)]
        dweights[i] = [[dbiases[i][j] * states[i][k] for k in range(width)] for j in range(width)]
        adjoint = [sum(w[i][j][k] * dbiases[i][j] for j in range(width)) for k in range(width)]
    return states, dweights, dbiases
