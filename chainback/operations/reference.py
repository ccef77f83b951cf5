"""Functions of mathematics: where each is defined, the points it is judged at, and its truth there.

The truth was computed by mpmath, once, and lies in `function_truth.npz`; `tests/tools/function_truth.py` makes it again.

The points are float32 numbers, so that one truth serves float32 and float64.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.resources
from dataclasses import dataclass
from typing import Any

import numpy as np

__all__ = ["CURVES", "MOST_POINTS", "SMALLEST", "Curve", "Domain", "fingerprint", "flushed", "points_of", "truth_of"]

Array = np.ndarray
_LARGEST = float(np.finfo(np.float32).max)
#: The smallest normal float32.
SMALLEST = float(np.finfo(np.float32).tiny)
#: A curve of two arguments is judged at about so many pairs, one of one argument at no more.
MOST_POINTS = 1000


@dataclass(frozen=True)
class Domain:
    """An interval of the extended reals.

    Attributes:
        low: Its lower end.
        high: Its upper end.
        closed: Whether (low, high) belong to it. An infinity that does is a point at which the curve has a limit.
    """

    low: float
    high: float
    closed: tuple[bool, bool] = (True, True)

    @classmethod
    def of(cls, text: str) -> Domain:
        """Read an interval as it is written in mathematics: `[0, inf)`."""
        low, high = text[1:-1].split(",")
        return cls(float(low), float(high), (text[0] == "[", text[-1] == "]"))

    def holds(self, x: Array) -> Array:
        """Return which numbers belong to the interval."""
        above = x >= self.low if self.closed[0] else x > self.low
        return above & (x <= self.high if self.closed[1] else x < self.high)

    @property
    def ends(self) -> tuple[float, ...]:
        """The finite ends."""
        return tuple(end for end in (self.low, self.high) if np.isfinite(end))


@dataclass(frozen=True)
class Curve:
    """A function of one or two real arguments, as mathematics knows it.

    Attributes:
        name: The key of its truth.
        domains: Of each argument.
        kinks: Points at which it, or a derivative of it, jumps.
        special: Other points to be looked at closely: roots, extrema, where an implementation changes its formula.
        poles: Whether the negative integers, and 0, are to be left out, as poles.
        most: The largest |x| to be looked at, other than infinity.
        least: The smallest |x| to be looked at, other than 0.
    """

    name: str
    domains: tuple[Domain, ...]
    kinks: tuple[float, ...] = ()
    special: tuple[float, ...] = ()
    poles: bool = False
    most: float = np.inf
    least: float = 0.0

    @property
    def arity(self) -> int:
        """How many arguments it has."""
        return len(self.domains)


def _curve(name: str, *domains: str, **more: Any) -> Curve:
    return Curve(name, tuple(Domain.of(text) for text in domains), **more)


_REAL = "[-inf, inf]"

#: The curves, by name.
CURVES: dict[str, Curve] = {
    curve.name: curve
    for curve in (
        _curve("exp", _REAL, special=(88.72284, -87.33655)),
        _curve("exp2", _REAL, special=(128.0, -126.0)),
        _curve("expm1", _REAL, special=(88.72284,)),
        _curve("log", "[0, inf]", special=(1.0,)),
        _curve("log2", "[0, inf]", special=(1.0,)),
        _curve("log10", "[0, inf]", special=(1.0, 10.0, 100.0, 1000.0)),
        _curve("log1p", "[-1, inf]"),
        _curve("sqrt", "[0, inf]"),
        _curve("cbrt", _REAL),
        _curve("square", _REAL),
        _curve("reciprocal", _REAL),
        _curve("rsqrt", "[0, inf]"),
        _curve("sin", "(-inf, inf)", special=(3.1415927, 6.2831855, 8192.0)),
        _curve("cos", "(-inf, inf)", special=(1.5707964, 4.712389, 8192.0)),
        _curve("tan", "(-inf, inf)", special=(1.5707964, 3.1415927, 8192.0)),
        _curve("arcsin", "[-1, 1]", special=(0.5, -0.5)),
        _curve("arccos", "[-1, 1]", special=(0.5, -0.5)),
        _curve("arctan", _REAL, special=(1.0, -1.0)),
        _curve("sinh", _REAL, special=(89.41599,)),
        _curve("cosh", _REAL, special=(89.41599,)),
        _curve("tanh", _REAL, special=(9.0109, 0.0004)),
        _curve("arcsinh", _REAL),
        _curve("arccosh", "[1, inf]"),
        _curve("arctanh", "[-1, 1]"),
        _curve("sinc", "(-inf, inf)", special=(1.0, 2.0)),
        _curve("abs", _REAL, kinks=(0.0,)),
        _curve("negative", _REAL),
        _curve("deg2rad", _REAL),
        _curve("rad2deg", _REAL),
        _curve("sign", _REAL),
        _curve("relu", _REAL, kinks=(0.0,)),
        _curve("relu6", _REAL, kinks=(0.0, 6.0)),
        _curve("sigmoid", _REAL, special=(17.0, -88.0)),
        _curve("log_sigmoid", _REAL, special=(17.0, -17.0)),
        _curve("softplus", _REAL, special=(17.0, -17.0)),
        _curve("silu", _REAL, special=(-1.2784645, -88.0)),
        _curve("mish", _REAL, special=(-1.1924387,)),
        _curve("gelu", _REAL, special=(-0.7517916, -5.0, -13.0)),
        _curve("gelu_tanh", _REAL, special=(-0.7524614, -5.0)),
        _curve("elu", _REAL, kinks=(0.0,), special=(-17.0,)),
        _curve("celu", _REAL, kinks=(0.0,), special=(-34.0,)),
        _curve("selu", _REAL, kinks=(0.0,), special=(-17.0,)),
        _curve("leaky_relu", _REAL, kinks=(0.0,)),
        _curve("hard_tanh", _REAL, kinks=(-1.0, 1.0)),
        _curve("hard_sigmoid", _REAL, kinks=(-3.0, 3.0)),
        _curve("hard_silu", _REAL, kinks=(-3.0, 3.0), special=(-1.5,)),
        _curve("soft_sign", _REAL),
        _curve("squareplus", _REAL),
        _curve("sparse_plus", _REAL, kinks=(-1.0, 1.0)),
        _curve("sparse_sigmoid", _REAL, kinks=(-1.0, 1.0)),
        _curve("log1mexp", "[0, inf]", special=(0.6931472,)),
        _curve("clip", _REAL, kinks=(-1.0, 2.0)),
        _curve("cube", _REAL),
        _curve("inverse_square", _REAL),
        _curve("erf", _REAL, special=(4.0,)),
        _curve("erfc", _REAL, special=(0.5, 9.0, 10.0)),
        _curve("erfcx", "[-9, inf]", special=(0.5, 2.0)),
        _curve("erfinv", "[-1, 1]", special=(0.9966,)),
        _curve("erfcinv", "[0, 2]", special=(1.0,)),
        _curve("lgamma", "(-inf, inf]", poles=True, special=(1.0, 2.0, 1.4616321, -2.4570248, -3.1435809, 35.04)),
        _curve("gamma", "(-40, inf]", poles=True, special=(1.4616321, 35.04, -0.504083)),
        _curve("factorial", "[0, inf]", special=(0.46163213, 34.0)),
        _curve("digamma", "(-10000, inf]", poles=True, special=(1.4616321, -0.504083)),
        _curve("trigamma", "(0, inf]"),
        _curve("tetragamma", "(0, inf]"),
        _curve("zeta25", "(0, inf]"),
        _curve("i0", _REAL, special=(8.0, 91.9)),
        _curve("i0e", _REAL, special=(8.0,)),
        _curve("i1", _REAL, special=(8.0, 91.9)),
        _curve("i1e", _REAL, special=(8.0, 1.6)),
        _curve("ndtr", _REAL, special=(-5.0, -13.0)),
        _curve("ndtri", "[0, 1]", special=(0.5, 0.13533528, 0.8646647)),
        _curve("log_ndtr", _REAL, special=(-10.0, 5.0, -20.0)),
        _curve("logit", "[0, 1]", special=(0.5,)),
        _curve("entr", "[0, inf]", special=(0.36787945,)),
        # On an array that holds a small number x, JAX 0.10 takes of the order of 1/x steps (0.12 does not).
        _curve("exp1", "[0, inf]", special=(1.0,), least=2.0**-6),
        _curve("expi", "(-inf, inf]", special=(0.37250742, 2.0, 6.0, 10.0, 20.0), least=2.0**-6),
        _curve("expn2", "[0, inf]", special=(1.0,), least=2.0**-6),
        _curve("spence", "[0, inf]", special=(0.5, 1.5)),
        _curve("dawsn", _REAL, special=(0.92413884, 3.25, 6.25)),
        _curve("betainc", "[0, 1]", special=(0.8333333,)),
        _curve("power", _REAL, _REAL),
        _curve("arctan2", _REAL, _REAL),
        _curve("hypot", _REAL, _REAL),
        _curve("logaddexp", _REAL, _REAL),
        _curve("logaddexp2", _REAL, _REAL),
        _curve("maximum", _REAL, _REAL),
        _curve("minimum", _REAL, _REAL),
        _curve("fmax", _REAL, _REAL),
        _curve("fmin", _REAL, _REAL),
        _curve("add", _REAL, _REAL),
        _curve("subtract", _REAL, _REAL),
        _curve("multiply", _REAL, _REAL),
        _curve("divide", _REAL, _REAL),
        _curve("remainder", "(-inf, inf)", "(-inf, inf)"),
        _curve("fmod", "(-inf, inf)", "(-inf, inf)"),
        _curve("copysign", _REAL, _REAL),
        _curve("xlogy", "[-inf, inf]", "[0, inf]"),
        _curve("xlog1py", "[-inf, inf]", "[-1, inf]"),
        _curve("rel_entr", "[0, inf)", "[0, inf)"),
        _curve("kl_div", "[0, inf)", "[0, inf)"),
        _curve("betaln", "(0, inf)", "(0, inf)", most=1e4),
        _curve("beta", "(0, inf)", "(0, inf)", most=1e4),
        _curve("gammainc", "(0, 100]", "[0, 300]"),
        _curve("gammaincc", "(0, 100]", "[0, 300]"),
        _curve("poch", "(0, 1000]", "[0, 30]"),
        _curve("power:2", _REAL),
        _curve("power:0.5", "[0, inf]"),
        _curve("power:-1", _REAL),
        _curve("power:3", _REAL),
        _curve("power:2.5", "[0, inf]"),
        _curve("power2^x", _REAL),
        _curve("maximum:1", _REAL, kinks=(1.0,)),
        _curve("minimum:1", _REAL, kinks=(1.0,)),
        _curve("multiply:3", _REAL),
        _curve("divide:3", _REAL),
        _curve("add:1", _REAL),
        _curve("arctan2:1", _REAL),
        _curve("hypot:1", _REAL),
        _curve("logaddexp:1", _REAL, special=(1.0,)),
        _curve("remainder:3", "(-inf, inf)", kinks=(0.0, 3.0, -3.0)),
        _curve("fmod:3", "(-inf, inf)", kinks=(3.0, -3.0)),
        _curve("xlogy:2", _REAL),
        _curve("gammainc:2.5", "[0, inf]", special=(2.5, 3.5)),
        _curve("gammaincc:2.5", "[0, inf]", special=(2.5, 3.5)),
    )
}


def _sizes(step: int) -> Array:
    sizes = np.ldexp(np.array([1.0, 1.4]), np.arange(-126, 128, step)[:, None]).ravel()
    return np.concatenate(
        [sizes, [2.0**-149, 2.0**-140, 2.0**-127, SMALLEST - 2.0**-149, SMALLEST, _LARGEST, np.inf, 0.0]]
    )


def _line(curve: Curve) -> Array:
    """Return the points of a curve of one argument: dense around 0, integers, all sizes, and close to what is special."""
    domain = curve.domains[0]
    step = 64.0 if domain.high - domain.low <= 2.0 else 16.0
    dense = np.arange(-8 * 16, 8 * 16 + 1) / 16.0 if step == 16.0 else np.arange(-128, 129) / step
    half = np.concatenate([_sizes(4), np.arange(0.0, 105.0)])
    close = 2.0 ** -np.arange(3.0, 25.0, 3.0)
    corners = np.array([*curve.kinks, *curve.special, *domain.ends, 1.0, -1.0])
    beside = corners[:, None] + np.maximum(np.abs(corners), 0.5)[:, None] * np.concatenate([close, -close, [0.0]])
    return np.concatenate([dense, half, -half, beside.ravel()]).astype(np.float32)


#: What the two arguments of a curve run through, with both signs.
_AXIS = np.array([0.0, 2.0**-140, SMALLEST, 1e-3, 0.25, 1.0, 2.0, 3.0, 5.5, 30.0, 1e4, 1e20, _LARGEST, np.inf])


def _golden(start: int, count: int) -> tuple[Array, Array]:
    """Return so many numbers of an evenly spread sequence in (0, 1)², the same everywhere and always."""
    number = np.arange(start, start + count, dtype=np.float64)
    return (0.7548776662466927 * number) % 1.0, (0.5698402909980532 * number) % 1.0


def _spread(curve: Curve, count: int) -> Array:
    """Return pairs inside the domains: half of them evenly within [−10, 10], half of all sizes."""
    columns = []
    for t, domain in zip(_golden(1, 40 * count), curve.domains, strict=True):
        even = 20.0 * t - 10.0 if domain.low < 0 else 10.0 * t
        if domain.high - domain.low <= 2.0:
            even = domain.low + t * (domain.high - domain.low)
        sign = np.where((domain.low < 0) & ((997.0 * t) % 1.0 < 0.5), -1.0, 1.0)
        columns.append(np.where(np.arange(t.size) % 2 == 0, even, sign * 10.0 ** (16.0 * t - 8.0)))
    return np.stack(columns).astype(np.float32)


def _plane(curve: Curve) -> Array:
    """Return the points of a curve of two arguments: a product grid, and pairs spread between."""
    axis = np.concatenate([-_AXIS[::-1], _AXIS]).astype(np.float32)
    grid = np.stack([part.ravel() for part in np.meshgrid(axis, axis, indexing="ij")])
    grid = grid[:, _inside(curve, grid)]
    spread = _spread(curve, MOST_POINTS)
    spread = spread[:, _inside(curve, spread)]
    return np.concatenate([grid, spread], axis=1)


def _inside(curve: Curve, points: Array) -> Array:
    inside = np.ones(points.shape[1], bool)
    for x, domain in zip(points.astype(np.float64), curve.domains, strict=True):
        inside &= domain.holds(x) & ((np.abs(x) <= curve.most) | np.isinf(x))
        inside &= (np.abs(x) >= curve.least) | (x == 0)
        if curve.poles or not domain.holds(np.array(0.0)):  # what a subnormal is flushed to is a pole
            inside &= np.abs(x) >= SMALLEST
        if curve.poles:
            inside &= (x > 0) | (x != np.floor(x))
    return inside


@functools.cache
def points_of(curve: Curve) -> Array:
    """Return the points at which a curve is judged, float32, (arity, points), none twice (0 and −0 are two)."""
    points = _line(curve)[None] if curve.arity == 1 else _plane(curve)
    points = points[:, _inside(curve, points)]
    _, first = np.unique(points.view(np.uint32), axis=1, return_index=True)
    return points[:, np.sort(first)[:MOST_POINTS]]


def fingerprint(curve: Curve) -> int:
    """Return a number that tells the points of one version of this table from those of another."""
    return int.from_bytes(hashlib.blake2b(points_of(curve).tobytes(), digest_size=7).digest(), "little")


@functools.cache
def _stored() -> dict[str, Array]:
    source = importlib.resources.files(__package__ or "chainback.operations") / "function_truth.npz"
    with source.open("rb") as stream, np.load(stream) as found:
        return {name: found[name] for name in found.files}


def truth_of(curve: Curve, suffix: str = "") -> Array:
    """Return the truth of a curve at its points, float64, (1 + 2 arity, points).

    Its value; its partial derivatives; and of each derivative how far from it another may lie that is right as well, at a
    kink. NaN where a quantity has no truth: it is not judged there. With the suffix "#", the fingerprint of the points.
    """
    return _stored()[curve.name + suffix]


@functools.cache
def flushed(curve: Curve) -> Array:
    """Return the place of each point once its subnormal arguments are 0; its own place where there is no such point.

    (2^arity − 1, points): every way in which some arguments may be flushed and others not.
    """
    points = points_of(curve)
    places = {point.tobytes(): place for place, point in enumerate(points.T.copy())}
    ways = []
    for mask in range(1, 2**curve.arity):
        chosen = np.array([[bool(mask >> row & 1)] for row in range(curve.arity)])
        small = chosen & (np.abs(points) < np.float32(SMALLEST))
        flat = np.where(small, np.copysign(np.float32(0.0), points), points).T.copy()
        ways.append([places.get(point.tobytes(), place) for place, point in enumerate(flat)])
    return np.array(ways)
