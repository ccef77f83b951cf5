"""Table of JAX's elementary functions: where each lies, what it computes and how it is called.

JAX is not imported here: a function is named by its path.
"""

from __future__ import annotations

from typing import Any

from chainback.operations.elementwise import JaxFunction
from chainback.operations.functions import FUNCTIONS
from chainback.operations.known_faults import known_faults

__all__ = ["JAX_FUNCTIONS"]


def _jax_function(
    path: str,
    computes: str = "",
    *,
    fixed: dict[int, float] | None = None,
    options: dict[str, Any] | None = None,
    loops: bool = False,
) -> JaxFunction:
    """Return the record of a JAX function; by default it computes the function that bears its own name."""
    function = FUNCTIONS[computes or path.rpartition(".")[2]]
    return JaxFunction(
        path,
        function,
        tuple((fixed or {}).items()),
        tuple((options or {}).items()),
        known_faults(path, function.name),
        loops,
    )


def _names(family: str, names: str) -> list[str]:
    return [f"{family}.{name}" for name in names.split()]


#: The functions whose arguments are all arrays and that bear the name of what they compute.
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

JAX_FUNCTIONS: tuple[JaxFunction, ...] = (
    *map(_jax_function, _PLAIN),
    _jax_function("jax.numpy.fabs", "abs"),
    _jax_function("jax.numpy.float_power", "power"),
    _jax_function("jax.numpy.clip", fixed={1: -1.0, 2: 2.0}),
    *(_jax_function("jax.numpy.power", f"power:{y}", fixed={1: y}) for y in (2, 0.5, -1, 3, 2.5)),
    *(_jax_function("jax.numpy.power", f"power:{int(y)}", fixed={1: y}) for y in (2.0, -1.0)),
    _jax_function("jax.numpy.power", "power2^x", fixed={0: 2.0}),
    _jax_function("jax.numpy.maximum", "maximum:1", fixed={1: 1.0}),
    _jax_function("jax.numpy.minimum", "minimum:1", fixed={1: 1.0}),
    _jax_function("jax.numpy.multiply", "multiply:3", fixed={1: 3.0}),
    _jax_function("jax.numpy.divide", "divide:3", fixed={1: 3.0}),
    _jax_function("jax.numpy.add", "add:1", fixed={1: 1.0}),
    _jax_function("jax.numpy.arctan2", "arctan2:1", fixed={1: 1.0}),
    _jax_function("jax.numpy.hypot", "hypot:1", fixed={1: 1.0}),
    _jax_function("jax.numpy.logaddexp", "logaddexp:1", fixed={1: 1.0}),
    _jax_function("jax.numpy.remainder", "remainder:3", fixed={1: 3.0}),
    _jax_function("jax.numpy.fmod", "fmod:3", fixed={1: 3.0}),
    _jax_function("jax.nn.gelu", "gelu", options={"approximate": False}),
    _jax_function("jax.nn.gelu", "gelu_tanh", options={"approximate": True}),
    _jax_function("jax.lax.logistic", "sigmoid"),
    _jax_function("jax.lax.erf_inv", "erfinv"),
    _jax_function("jax.lax.bessel_i0e", "i0e"),
    _jax_function("jax.lax.bessel_i1e", "i1e"),
    _jax_function("jax.lax.integer_pow", "cube", fixed={1: 3}),
    _jax_function("jax.lax.integer_pow", "inverse_square", fixed={1: -2}),
    _jax_function("jax.lax.pow", "power"),
    _jax_function("jax.lax.atan2", "arctan2"),
    _jax_function("jax.lax.igamma", "gammainc"),
    _jax_function("jax.lax.igammac", "gammaincc"),
    _jax_function("jax.scipy.special.expit", "sigmoid"),
    _jax_function("jax.scipy.special.gammaln", "lgamma"),
    _jax_function("jax.scipy.special.polygamma", "trigamma", fixed={0: 1}),
    _jax_function("jax.scipy.special.polygamma", "tetragamma", fixed={0: 2}),
    _jax_function("jax.scipy.special.zeta", "zeta25", fixed={0: 2.5}, loops=True),
    _jax_function("jax.scipy.special.spence", loops=True),
    _jax_function("jax.scipy.special.exp1", loops=True),
    _jax_function("jax.scipy.special.expi", loops=True),
    _jax_function("jax.scipy.special.expn", "expn2", fixed={0: 2}, loops=True),
    _jax_function("jax.scipy.special.betainc", fixed={0: 2.5, 1: 0.5}),
    _jax_function("jax.scipy.special.gammainc", "gammainc:2.5", fixed={0: 2.5}),
    _jax_function("jax.scipy.special.gammaincc", "gammaincc:2.5", fixed={0: 2.5}),
    _jax_function("jax.scipy.special.xlogy", "xlogy:2", fixed={1: 2.0}),
)
