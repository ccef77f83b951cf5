"""Known faults of single functions in released JAX versions: shown in every report, and not rejected.

Each was compared with mpmath. A fault is known in a region; a wrong result anywhere else is rejected.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from chainback.operations.arithmetic import FLOAT32, Array
from chainback.operations.elementwise import KnownFault

__all__ = ["known_faults"]


def _infinite(*arguments: Array) -> Array:
    return np.any(np.isinf(arguments[:-1]), axis=0)


def _subnormal(*arguments: Array) -> Array:
    size = np.abs(arguments[:-1])
    return np.any((size > 0) & (size < FLOAT32.smallest_normal), axis=0)


def _small(*arguments: Array) -> Array:
    size = np.abs(arguments[:-1])
    return np.any((size > 0) & (size <= 2.0**-60), axis=0)


def _large(*arguments: Array) -> Array:
    return np.any(np.abs(arguments[:-1]) >= 2.0**60, axis=0)


def _overflowing(*arguments: Array) -> Array:
    return np.abs(arguments[-1]) >= 2.0**120


def _underflowing(*arguments: Array) -> Array:
    return np.abs(arguments[-1]) <= 2.0**-118


#: Where the rules of many functions fail, and why.
_REGIONS: dict[str, tuple[Callable[..., Array], str]] = {
    "infinite": (
        _infinite,
        "NaN at an infinite argument where there is a limit: the rule meets inf - inf, 0 inf or inf/inf",
    ),
    "subnormal": (_subnormal, "a subnormal argument is flushed to 0 in one step of the rule and not in another"),
    "large": (_large, "beyond 2^60 a square or a product inside the rule overflows, or a sum loses its small term"),
    "small": (_small, "below 2^-60 a square or a product inside the rule underflows"),
    "overflowing": (_overflowing, "where the result nears the largest number a step of the rule overflows first"),
    "underflowing": (_underflowing, "where the result nears the smallest number a step of the rule underflows first"),
}

#: What is wrong in JAX 0.10.2 or 0.12, by function: quantities ("v", "0", "1": the value, the derivative in an argument) and
#: regions. Each was compared with mpmath; `tests/running/test_function_sweep.py` checks whether it is still so.
_KNOWN: dict[str, tuple[str, ...]] = {
    "exp2": ("0 overflowing",),
    "log2": ("0 overflowing",),
    "cbrt": ("v subnormal", "0 subnormal"),
    "rsqrt": ("0 overflowing",),
    "arcsinh": ("0 large",),
    "arccosh": ("0 large",),
    "sinc": ("v large", "0 large"),
    "silu": ("v infinite", "0 infinite"),
    "mish": ("v infinite", "0 infinite"),
    "gelu": ("v infinite", "0 infinite"),
    "gelu_tanh": ("v infinite", "0 infinite large"),
    "hard_silu": ("v infinite", "0 infinite"),
    "soft_sign": ("v infinite", "0 infinite large"),
    "squareplus": ("v infinite large", "0 infinite large"),
    "sparse_plus": ("0 infinite large",),
    "erfcx": ("0 infinite large",),
    "digamma": ("0 infinite large",),
    "zeta25": ("0 infinite overflowing",),
    "i0": ("v infinite overflowing", "0 infinite overflowing"),
    "i1": ("v infinite overflowing", "0 infinite large overflowing"),
    "ndtri": ("0 subnormal",),
    "exp1": ("v infinite", "0 infinite"),
    "expn2": ("v infinite", "0 infinite"),
    "spence": ("v infinite large", "0 infinite large"),
    "dawsn": ("0 infinite large",),
    "power": ("v subnormal", "0 subnormal"),
    "arctan2": ("v subnormal", "0 large small subnormal", "1 large small subnormal"),
    "hypot": ("0 large small subnormal", "1 large small subnormal"),
    "divide": ("1 large small subnormal",),
    "xlogy": ("1 large",),
    "xlog1py": ("1 large",),
    "rel_entr": ("v large", "0 large small subnormal", "1 large"),
    "kl_div": ("v large", "0 large small subnormal", "1 large"),
    "beta": ("0 small", "1 small"),
    "gammainc": ("v small", "0 small", "1 subnormal"),
    "gammaincc": ("v small", "0 small", "1 subnormal"),
    "poch": ("0 small",),
    "power:0.5": ("v subnormal", "0 subnormal"),
    "hypot:1": ("0 infinite",),
    "xlogy:2": ("0 infinite",),
    "gammainc:2.5": ("0 infinite",),
    "gammaincc:2.5": ("0 infinite",),
}

_BETA_IN_FLOAT64 = tuple(
    KnownFault(
        quantity, lambda x, y, t: np.maximum(x, y) >= 8.0, "beyond 8 the value has 7 digits in float64", dtype="float64"
    )
    for quantity in ("value", "derivative")
)

#: Faults of one function, each in a region that is defined here.
_KNOWN_AT: dict[str, tuple[KnownFault, ...]] = {
    "sinc": (
        KnownFault(
            "derivative",
            lambda x, t: np.abs(x) < 2.0**-6,
            "the rule divides a difference that has cancelled by x: it is off by about 2^-24 / |x|, without limit towards 0",
        ),
    ),
    "log_ndtr": (
        KnownFault(
            "derivative", lambda x, t: x < -15.0, "the asymptotic series has too few terms for float64", dtype="float64"
        ),
        KnownFault(
            "value",
            lambda x, t: ((x >= 5.0) & (x <= 8.0)) | ((x > -60.0) & (x <= -20.0)),
            "the switch of formula is made for float32",
            dtype="float64",
        ),
        KnownFault(
            "derivative",
            lambda x, t: x < -100.0,
            "in the lower tail the derivative is off by any factor, then 1, then NaN, instead of |x|",
        ),
    ),
    "digamma": (
        KnownFault(
            "derivative", lambda x, t: x < -1.0, "for negative arguments polygamma(1, x) has 8 digits", dtype="float64"
        ),
        KnownFault(
            "derivative",
            lambda x, t: x < -7.0,
            "for some negative arguments the derivative, polygamma(1, x), is that of a large positive one",
        ),
    ),
    "spence": (
        KnownFault(
            "derivative", lambda x, t: x < 1e-4, "towards 0 the derivative is off by up to 1: a difference that cancels"
        ),
        KnownFault(
            "derivative", lambda x, t: (x >= 1.0) & (x <= 2.0), "the derivative is NaN from 1 to 1.5 or 2, and 0 at 1"
        ),
    ),
    "gammainc": (KnownFault("derivative", lambda a, x, t: (a == 1.0) & (x == 0.0), "NaN at a = 1, x = 0", "1"),),
    "gammaincc": (KnownFault("derivative", lambda a, x, t: (a == 1.0) & (x == 0.0), "NaN at a = 1, x = 0", "1"),),
    "betaln": (
        KnownFault("derivative", lambda x, y, t: np.maximum(x, y) < 1e-2, "NaN where both arguments are small"),
        *_BETA_IN_FLOAT64,
    ),
    "beta": (
        KnownFault("derivative", lambda x, y, t: np.maximum(x, y) < 1e-2, "NaN where both arguments are small"),
        *_BETA_IN_FLOAT64,
    ),
    "poch": (
        *(
            KnownFault(
                quantity,
                lambda z, m, t: z + m > 34.9,
                "a quotient of two gamma functions, of which the first overflows",
            )
            for quantity in ("value", "derivative")
        ),
    ),
    "trigamma": (
        KnownFault("derivative", lambda x, t: x > 1e10, "the sum vanishes for large arguments"),
        KnownFault("value", lambda x, t: x > 1e18, "the sum vanishes for large arguments"),
    ),
    "tetragamma": (
        *(
            KnownFault(quantity, lambda x, t: x > 1e10, "the sum vanishes for large arguments")
            for quantity in ("value", "derivative")
        ),
    ),
    "zeta25": (KnownFault("value", lambda x, t: x > 1e15, "the sum vanishes for large arguments"),),
    "expi": (
        *(
            KnownFault(quantity, lambda x, t: x > 88.7, "exp(x) overflows before it is divided by x")
            for quantity in ("value", "derivative")
        ),
        KnownFault("value", lambda x, t: x == 0.0, "NaN at 0, where the limit is -inf"),
    ),
    "expn2": (KnownFault("value", lambda x, t: x == 0.0, "expn(n, 0) is 1/n, not 1/(n - 1)"),),
    "exp2": (
        KnownFault("value", lambda x, t: x == 1024.0, "exp2(1024) is the largest number, not inf", dtype="float64"),
    ),
    "power2^x": (
        KnownFault(
            "derivative", lambda x, t: x == 1024.0, "the power overflows before it is multiplied", dtype="float64"
        ),
    ),
    "ndtri": (KnownFault("derivative", lambda p, t: (p == 0.0) | (p == 1.0), "0 at the ends, where it is infinite"),),
    "jax.scipy.special.i0": (
        KnownFault(
            "derivative",
            lambda x, t: np.abs(x) < FLOAT32.smallest_normal,
            "1 at 0, not 0: of exp(|x|) i0e(x) the derivatives of |x| and of i0e at 0 do not cancel",
        ),
    ),
    "hypot": (
        *(
            KnownFault(
                "derivative",
                lambda x, y, t: (x == 0.0) & (y == 0.0),
                "NaN at the origin, where any subgradient is right",
                a,
            )
            for a in "01"
        ),
    ),
    "rel_entr": (
        KnownFault(
            "derivative", lambda x, y, t: x == 0.0, "0 where x is 0 and the derivative log(x/y) + 1 is infinite", "0"
        ),
    ),
    "kl_div": (
        KnownFault(
            "derivative", lambda x, y, t: x == 0.0, "0 where x is 0 and the derivative log(x/y) is infinite", "0"
        ),
    ),
    "power": (
        KnownFault(
            "derivative",
            lambda x, y, t: np.abs(y) >= 2.0**24,
            "y - 1 is rounded, and with it whether y - 1 is odd",
            "0",
        ),
    ),
}


def known_faults(path: str, function: str) -> tuple[KnownFault, ...]:
    """Return the known faults of a JAX function: those of the function that it computes, and its own.

    Args:
        path: Where JAX has it.
        function: The name of the swept function that it computes.
    """
    found = [*_KNOWN_AT.get(function, ()), *_KNOWN_AT.get(path, ())]
    for line in _KNOWN.get(function, ()):
        quantity, *regions = line.split()
        for region in regions:
            where, why = _REGIONS[region]
            found.append(KnownFault("value" if quantity == "v" else "derivative", where, why, quantity.strip("v")))
    return tuple(found)
