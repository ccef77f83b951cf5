"""Every elementary function: JAX's implementations of the curves, how each is called, and how it may round.

Nothing here imports JAX: a function is named by where JAX has it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import special

from chainback.operations.known_faults import Known, known_of
from chainback.operations.reference import CURVES, SMALLEST, Curve

__all__ = ["FUNCTIONS", "Function", "Model"]

Array = np.ndarray


@dataclass(frozen=True)
class Model:
    """How an implementation may round: an error of at most c u σ, u being the unit roundoff.

    Attributes:
        units: c.
        scale: σ, of (arguments…, truth); by default |truth|.
        double: c in float64, where it is another.
    """

    units: float = 4.0
    scale: Callable[..., Any] | None = None
    double: float | None = None


@dataclass(frozen=True)
class Function:
    """One of JAX's functions.

    Attributes:
        path: Where JAX has it.
        curve: What it computes.
        fixed: Arguments that are plain numbers, by their place.
        options: Keyword arguments.
        value: The rounding model of its value.
        slopes: The rounding models of its partial derivatives.
        loses: Which digits its derivative is known to lose, in a sentence, where the model is wide for that reason.
        known: What is known to be wrong with it.
        loops: Whether it holds loops that would take too long op by op: un-jitted, its own compiled parts are left to it.
    """

    path: str
    curve: Curve
    fixed: tuple[tuple[int, float], ...] = ()
    options: tuple[tuple[str, Any], ...] = ()
    value: Model = Model()
    slopes: tuple[Model, ...] = ()
    loses: str = ""
    known: tuple[Known, ...] = ()
    loops: bool = False

    @property
    def name(self) -> str:
        """Its path, and where an argument is fixed or named how it is called."""
        if not self.fixed and not self.options:
            return self.path
        return f"{self.path}({', '.join([*map(str, self.arguments('x')), *(f'{k}={v}' for k, v in self.options)])})"

    @property
    def second(self) -> str:
        """Whether its second argument is an array or a scalar; "" if it is neither."""
        return "array" if self.curve.arity == 2 else "scalar" if 1 in dict(self.fixed) and len(self.fixed) == 1 else ""

    def arguments(self, *arrays: Any) -> list[Any]:
        """Return all its positional arguments, given those that are not fixed."""
        fixed, free = dict(self.fixed), iter(arrays)
        return [fixed[place] if place in fixed else next(free) for place in range(len(fixed) + len(arrays))]


def _size(x: Array) -> Array:
    return np.abs(x)


def _logistic(x: Array) -> Array:
    return special.expit(x)


def _grows(x: Array, t: Array) -> Array:
    """|t|(1 + |x|): the argument of an exponential is rounded first."""
    return np.abs(t) * (1.0 + np.minimum(np.abs(x), 1e3))


def _grows_squared(x: Array, t: Array) -> Array:
    """|t|(1 + x²): the square in the argument of an exponential is rounded first."""
    return np.abs(t) * (1.0 + np.minimum(x * x, 1e4))


def _near_the_end(x: Array, t: Array) -> Array:
    """|t|(1 + t²): 1 − x² is computed from a rounded square."""
    return np.abs(t) * (1.0 + np.minimum(t * t, 1e6))


def _one(*arguments: Array) -> Array:
    return np.ones_like(arguments[-1])


def _at_least_one(*arguments: Array) -> Array:
    return 1.0 + np.abs(arguments[-1])


def _log_gamma_terms(x: Array) -> Array:
    """The terms of log Γ: Stirling's, and by the reflection below 0 the sine's, whose argument is rounded."""
    size = np.abs(x)
    terms = 1.0 + (size + 1.0) * (1.0 + np.abs(np.log(size + 1e-45)))
    return terms + np.where(x < 0, size * np.pi / np.abs(np.tan(np.pi * x)), 0.0)


def _digamma_terms(x: Array) -> Array:
    size = np.abs(x)
    terms = 1.0 + np.abs(np.log(size + 1e-45)) + 1.0 / size
    return terms + np.where(x < 0, np.pi + np.pi**2 * size / np.sin(np.pi * x) ** 2, 0.0)


def _gamma_slope(x: Array, t: Array) -> Array:
    return np.exp(special.gammaln(x)) * (1.0 + _log_gamma_terms(x)) * _digamma_terms(x)


def _factorial_slope(x: Array, t: Array) -> Array:
    return _gamma_slope(x + 1.0, t)


def _logarithm(x: Array) -> Array:
    return np.abs(np.log(np.maximum(np.abs(x), SMALLEST)))


def _logarithms(x: Array, y: Array) -> Array:
    return 1.0 + np.abs(np.log(x)) + np.abs(np.log(y))


def _beta_terms(x: Array, y: Array) -> Array:
    return _log_gamma_terms(x) + _log_gamma_terms(y) + _log_gamma_terms(x + y)


def _beta_slope(x: Array, y: Array, t: Array) -> Array:
    terms = _digamma_terms(x) + _digamma_terms(y) + _digamma_terms(x + y)
    return np.exp(special.betaln(x, y)) * _beta_terms(x, y) * terms


def _pochhammer_slope(z: Array, m: Array, t: Array) -> Array:
    size = np.exp(special.gammaln(z + m) - special.gammaln(z)) * (_log_gamma_terms(z) + _log_gamma_terms(z + m))
    return size * (_digamma_terms(z) + _digamma_terms(z + m))


#: How the implementations of a curve may round: value, then the derivative in each argument, each by c,
#: (c, σ) or (c, σ, c in float64).
#: Each c lies above the largest error measured on x86-64 under JAX 0.10.2 and 0.12, most of them by a factor of 1.5 to 5;
#: where nothing stands, c is 4 and σ = |truth|.
_MODELS: dict[str, tuple[Any, ...]] = {
    "exp": (10.0, 10.0),
    "exp2": ((3.0, _grows), (3.0, _grows)),
    "expm1": (10.0, (8.0, _at_least_one)),
    "power2^x": ((3.0, _grows), (3.0, _grows)),
    "log1p": ((4.0, None, 60.0), 4.0),
    "xlog1py": ((4.0, None, 60.0), (4.0, None, 60.0), 4.0),
    "arctanh": ((4.0, None, 150.0), 4.0),
    "cbrt": (
        (0.5, lambda x, t: np.abs(t) * (8.0 + _logarithm(x))),
        (1.0, lambda x, t: np.abs(t) * (8.0 + _logarithm(x))),
    ),
    "arcsin": (4.0, (4.0, _near_the_end)),
    "arccos": (4.0, (4.0, _near_the_end)),
    "arccosh": (4.0, (4.0, _near_the_end)),
    "sinh": ((6.0, _grows), (3.0, _grows)),
    "cosh": ((3.0, _grows), (6.0, _grows)),
    "tanh": (8.0, (16.0, _one)),
    "sinc": ((4.0, lambda x, t: np.ones_like(x)), (8.0, lambda x, t: np.pi + 1.0 / np.abs(x))),
    "i0": ((7.0, _grows), (8.0, lambda x, t: np.exp(np.minimum(np.abs(x), 200.0)) / np.sqrt(1.0 + np.abs(x)))),
    "i1": (40.0, (20.0, _grows)),
    "i0e": (10.0, (12.0, lambda x, t: 1.0 / np.sqrt(1.0 + np.abs(x)))),
    "i1e": (40.0, (24.0, lambda x, t: 1.0 / np.sqrt(1.0 + np.abs(x)))),
    "power": (4.0, (6.0, lambda x, y, t: np.abs(t) * (1.0 + np.minimum(_logarithm(x), 100.0))), 12.0),
    "logaddexp": ((12.0, lambda x, y, t: np.abs(t) + np.abs(np.maximum(x, y))),)
    + 2 * ((4.0, lambda x, y, t: np.abs(t) * (1.0 + np.abs(x) + np.abs(y))),),
    "logaddexp2": (
        (4.0, lambda x, y, t: np.abs(t) * (1.0 + np.minimum(np.abs(x - y), 200.0)) + np.abs(np.maximum(x, y))),
    )
    + 2 * ((4.0, lambda x, y, t: np.abs(t) * (1.0 + np.abs(x) + np.abs(y))),),
    "logaddexp:1": (8.0, (20.0, None, 40.0)),
    "hypot": (4.0, 8.0, 8.0),
    "hypot:1": (4.0, 8.0),
    "sigmoid": (6.0, (8.0, lambda x, t: _logistic(x))),
    "log_sigmoid": (8.0, (20.0, None, 40.0)),
    "softplus": (8.0, (20.0, None, 40.0)),
    "silu": (8.0, (8.0, lambda x, t: _logistic(x) * (1.0 + np.minimum(np.abs(x), 200.0)))),
    "mish": (10.0, (16.0, lambda x, t: _logistic(x) * (1.0 + np.minimum(np.abs(x), 200.0)), 40.0)),
    "elu": (10.0, (6.0, lambda x, t: np.ones_like(x))),
    "celu": (10.0, (6.0, lambda x, t: np.ones_like(x))),
    "selu": (10.0, (10.0, lambda x, t: np.ones_like(x))),
    "hard_silu": (6.0, (8.0, _at_least_one)),
    "soft_sign": (4.0, (8.0, lambda x, t: 1.0 / (1.0 + np.abs(x)))),
    "squareplus": ((4.0, lambda x, t: np.abs(x) + 2.0), (6.0, _one)),
    "sparse_plus": (8.0, 8.0),
    "log1mexp": ((10.0, None, 120.0), 10.0),
    "gelu": (
        (10.0, lambda x, t: _grows_squared(x, t)),
        (12.0, lambda x, t: special.ndtr(x) + np.abs(x) * np.exp(-0.5 * x * x) * (1.0 + x * x)),
    ),
    "gelu_tanh": (
        (8.0, lambda x, t: np.abs(x) * np.where(x > -25.0, 1.0, 0.0)),
        (10.0, lambda x, t: 1.0 + np.minimum(np.abs(x), 6.0) ** 3),
    ),
    "erf": (6.0, (3.0, _grows_squared)),
    "erfc": ((6.0, _grows_squared), (3.0, _grows_squared)),
    "erfcx": (
        (6.0, lambda x, t: np.abs(t) * (1.0 + np.where(x < 0, x * x, 4.0))),
        (10.0, lambda x, t: 1.0 + np.abs(t) * (1.0 + np.where(x < 0, x * x, 0.0))),
    ),
    "erfinv": (30.0, (40.0, lambda x, t: np.abs(t) * (1.0 + 2.0 * np.log(1.2 * np.maximum(np.abs(t), 1.0))))),
    "erfcinv": (30.0, (40.0, lambda x, t: np.abs(t) * (1.0 + 2.0 * np.log(1.2 * np.maximum(np.abs(t), 1.0))))),
    "lgamma": ((8.0, lambda x, t: _log_gamma_terms(x)), (8.0, lambda x, t: _digamma_terms(x))),
    "gamma": ((6.0, lambda x, t: np.abs(t) * _log_gamma_terms(x)), (6.0, _gamma_slope)),
    "factorial": ((6.0, lambda x, t: np.abs(t) * _log_gamma_terms(x + 1.0)), (6.0, _factorial_slope)),
    "digamma": ((8.0, lambda x, t: _digamma_terms(x)), 120.0),
    "trigamma": (40.0, 40.0),
    "tetragamma": (40.0, 60.0),
    "zeta25": (20.0, 20.0),
    "ndtr": ((4.0, _grows_squared), (3.0, _grows_squared)),
    "ndtri": (20.0, 60.0),
    "log_ndtr": (
        (6.0, lambda x, t: np.where(x > 5, np.abs(t) * (1.0 + x * x), np.where(x > 0, 1.0, np.abs(t)))),
        (6.0, lambda x, t: np.abs(t) * (1.0 + np.minimum(x * x, 1e4))),
    ),
    "logit": ((4.0, _at_least_one), 8.0),
    "entr": (6.0, (4.0, lambda x, t: 1.0 + np.abs(np.log(x)))),
    "exp1": (40.0, 10.0),
    "expi": (
        (12.0, lambda x, t: np.abs(t) * np.where(x < 0, 4.0, 1.0) + np.where(np.abs(x) < 1.0, 1.0, 0.0)),
        10.0,
    ),
    "expn2": ((12.0, lambda x, t: np.abs(t) + np.where(x <= 1.0, 2.0, 0.0)), 40.0),
    "spence": ((16.0, _at_least_one), (100.0, None, 300.0)),
    "dawsn": (12.0, (16.0, _one)),
    "betainc": ((200.0, None, 600.0), (200.0, None, 600.0)),
    "rel_entr": (
        (8.0, lambda x, y, t: np.abs(x) * _logarithms(x, y)),
        (8.0, lambda x, y, t: _logarithms(x, y)),
        6.0,
    ),
    "kl_div": (
        (8.0, lambda x, y, t: np.abs(x) * _logarithms(x, y) + np.abs(y)),
        (8.0, lambda x, y, t: _logarithms(x, y)),
        (6.0, lambda x, y, t: 1.0 + x / y),
    ),
    "betaln": ((8.0, lambda x, y, t: _beta_terms(x, y)),)
    + 2 * ((8.0, lambda x, y, t: _digamma_terms(x) + _digamma_terms(y) + _digamma_terms(x + y)),),
    "beta": ((6.0, lambda x, y, t: np.abs(t) * _beta_terms(x, y)), (6.0, _beta_slope), (6.0, _beta_slope)),
    "poch": (
        (6.0, lambda z, m, t: np.abs(t) * (_log_gamma_terms(z) + _log_gamma_terms(z + m))),
        (6.0, _pochhammer_slope),
        (6.0, _pochhammer_slope),
    ),
    "gammainc": (
        (600.0, None, 1500.0),
        (600.0, lambda a, x, t: np.abs(t) + np.where(x > a, 1e-3, 0.0), 1500.0),
        (800.0, None, 1500.0),
    ),
    "gammaincc": (
        (600.0, lambda a, x, t: np.abs(t) + np.where((x < 1) | (x < a), 0.05, 0.0), 1500.0),
        (600.0, lambda a, x, t: np.abs(t) + np.where(x > a, 1e-3, 0.0), 1500.0),
        (800.0, None, 1500.0),
    ),
    "gammainc:2.5": ((200.0, None, 600.0), (200.0, None, 600.0)),
    "gammaincc:2.5": ((200.0, None, 600.0), (200.0, None, 600.0)),
}

#: Documented losses of digits, which the model of the derivative allows for.
_LOSES = {
    "expm1": "the rule expm1(x) + 1 has lost every digit of exp(x) below -17",
    "elu": "the rule expm1(x) + 1 has lost every digit of exp(x) below -17",
    "celu": "the rule expm1(x) + 1 has lost every digit of exp(x) below -17",
    "selu": "the rule expm1(x) + 1 has lost every digit of exp(x) below -17",
    "tanh": "the rule 1 - tanh(x)^2 has lost every digit beyond 9",
    "sigmoid": "the rule s(1 - s) has lost every digit above 17",
    "soft_sign": "the derivative is a difference of two quotients, which agree in every digit for large x",
    "squareplus": "x + sqrt(x^2 + b) and its derivative have lost every digit for large negative x",
    "gelu_tanh": "1 + tanh(...) and its derivative have lost every digit below -5",
    "i0": "the derivative is a sum of terms of the size of i0, which cancel around 0",
    "i0e": "the derivative is a difference of i1e and i0e, which agree in every digit for large x",
    "i1e": "the derivative is a difference of i0e and i1e, which agree in every digit for large x",
    "erfcx": "the rule 2x erfcx(x) - 2/sqrt(pi) cancels for large x",
    "dawsn": "the rule 1 - 2x dawsn(x) cancels for large x",
    "logaddexp": "the rule exp(x - logaddexp(x, y)) loses log2 |x| digits",
    "logaddexp2": "the rule exp2(x - logaddexp2(x, y)) loses log2 |x| digits",
    "sinc": "the derivative is a difference of terms of the size 1/x",
    "log_ndtr": "between 0 and 5 the value is log(1 - q), which rounds to 1 first",
    "gammaincc": "the value is 1 - gammainc(a, x) where x < 1 or x < a",
    "expi": "the value is a sum of terms of the size 1 around its root",
}


def _model(given: Any) -> Model:
    return Model(*given) if isinstance(given, tuple) else Model(given)


def _function(
    path: str,
    curve: str = "",
    *,
    fixed: dict[int, float] | None = None,
    options: dict[str, Any] | None = None,
    **more: Any,
) -> Function:
    found = CURVES[curve or path.rpartition(".")[2]]
    value, *slopes = map(_model, _MODELS.get(found.name, (4.0,) * (1 + found.arity)))
    given = tuple((fixed or {}).items()), tuple((options or {}).items())
    return Function(
        path,
        found,
        *given,
        value,
        tuple(slopes),
        loses=_LOSES.get(found.name, ""),
        known=known_of(path, found.name),
        **more,
    )


def _names(family: str, names: str) -> list[str]:
    return [f"{family}.{name}" for name in names.split()]


#: The functions whose arguments are all arrays and whose curve bears their name.
_PLAIN = (
    *_names(
        "jax.numpy", "exp exp2 expm1 log log2 log10 log1p sqrt cbrt square reciprocal sin cos tan arcsin arccos arctan"
    ),
    *_names("jax.numpy", "sinh cosh tanh arcsinh arccosh arctanh sinc abs negative deg2rad rad2deg sign i0"),
    *_names(
        "jax.numpy", "power arctan2 hypot logaddexp logaddexp2 maximum minimum fmax fmin add subtract multiply divide"
    ),
    *_names("jax.numpy", "remainder fmod copysign"),
    *_names(
        "jax.nn", "relu relu6 sigmoid log_sigmoid softplus silu mish elu celu selu leaky_relu hard_tanh hard_sigmoid"
    ),
    *_names("jax.nn", "hard_silu soft_sign squareplus sparse_plus sparse_sigmoid log1mexp"),
    *_names("jax.lax", "rsqrt erf erfc lgamma digamma tan cbrt"),
    *_names(
        "jax.scipy.special", "erf erfc erfcx erfinv erfcinv gamma factorial digamma i0 i0e i1 i1e ndtr ndtri log_ndtr"
    ),
    *_names("jax.scipy.special", "logit entr dawsn xlogy xlog1py rel_entr kl_div betaln beta gammainc gammaincc poch"),
)

FUNCTIONS: tuple[Function, ...] = (
    *map(_function, _PLAIN),
    _function("jax.numpy.fabs", "abs"),
    _function("jax.numpy.float_power", "power"),
    _function("jax.numpy.clip", fixed={1: -1.0, 2: 2.0}),
    *(_function("jax.numpy.power", f"power:{y}", fixed={1: y}) for y in (2, 0.5, -1, 3, 2.5)),
    *(_function("jax.numpy.power", f"power:{int(y)}", fixed={1: y}) for y in (2.0, -1.0)),
    _function("jax.numpy.power", "power2^x", fixed={0: 2.0}),
    _function("jax.numpy.maximum", "maximum:1", fixed={1: 1.0}),
    _function("jax.numpy.minimum", "minimum:1", fixed={1: 1.0}),
    _function("jax.numpy.multiply", "multiply:3", fixed={1: 3.0}),
    _function("jax.numpy.divide", "divide:3", fixed={1: 3.0}),
    _function("jax.numpy.add", "add:1", fixed={1: 1.0}),
    _function("jax.numpy.arctan2", "arctan2:1", fixed={1: 1.0}),
    _function("jax.numpy.hypot", "hypot:1", fixed={1: 1.0}),
    _function("jax.numpy.logaddexp", "logaddexp:1", fixed={1: 1.0}),
    _function("jax.numpy.remainder", "remainder:3", fixed={1: 3.0}),
    _function("jax.numpy.fmod", "fmod:3", fixed={1: 3.0}),
    _function("jax.nn.gelu", "gelu", options={"approximate": False}),
    _function("jax.nn.gelu", "gelu_tanh", options={"approximate": True}),
    _function("jax.lax.logistic", "sigmoid"),
    _function("jax.lax.erf_inv", "erfinv"),
    _function("jax.lax.bessel_i0e", "i0e"),
    _function("jax.lax.bessel_i1e", "i1e"),
    _function("jax.lax.integer_pow", "cube", fixed={1: 3}),
    _function("jax.lax.integer_pow", "inverse_square", fixed={1: -2}),
    _function("jax.lax.pow", "power"),
    _function("jax.lax.atan2", "arctan2"),
    _function("jax.lax.igamma", "gammainc"),
    _function("jax.lax.igammac", "gammaincc"),
    _function("jax.scipy.special.expit", "sigmoid"),
    _function("jax.scipy.special.gammaln", "lgamma"),
    _function("jax.scipy.special.polygamma", "trigamma", fixed={0: 1}),
    _function("jax.scipy.special.polygamma", "tetragamma", fixed={0: 2}),
    _function("jax.scipy.special.zeta", "zeta25", fixed={0: 2.5}, loops=True),
    _function("jax.scipy.special.spence", loops=True),
    _function("jax.scipy.special.exp1", loops=True),
    _function("jax.scipy.special.expi", loops=True),
    _function("jax.scipy.special.expn", "expn2", fixed={0: 2}, loops=True),
    _function("jax.scipy.special.betainc", fixed={0: 2.5, 1: 0.5}),
    _function("jax.scipy.special.gammainc", "gammainc:2.5", fixed={0: 2.5}),
    _function("jax.scipy.special.gammaincc", "gammaincc:2.5", fixed={0: 2.5}),
    _function("jax.scipy.special.xlogy", "xlogy:2", fixed={1: 2.0}),
)
