"""The bounds a second time, from the derivation that heads `chain_bound`: one number at a time, in plain Python.

Slow, and of its own making: it takes from chainback only the activations and the arithmetic, which the derivation takes
as given. Matrices are lists of rows, and every list counts layers, then units. What is infinite or NaN stays so.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from chainback.operations.activations import activation
from chainback.operations.arithmetic import Arithmetic, gamma
from chainback.operations.elementwise import Activation

Vector = list[float]
Matrix = list[Vector]

HEADROOM = 2.0**24
NEGLIGIBLE = 2.0**-100


@dataclass
class Bounds:
    """Truth and bound of one case; the letters are those of the derivation."""

    W: list[Matrix]
    x: list[Vector]
    z: list[Vector]
    δ: list[Vector]
    r: Vector
    λ: list[Vector]
    E_z: list[Vector]
    E_x: list[Vector]
    E_δ: list[Vector]
    E_Λ: list[Vector]
    Λ: list[Vector]
    db: list[Vector]
    dW: list[Matrix]  # noqa: N815
    E_g: list[Vector]
    E_W: list[Matrix]
    within_range: bool
    underflow: float = math.nan

    @property
    def reference(self) -> Vector:
        return [v for matrix in self.dW for row in matrix for v in row] + [v for row in self.db for v in row]

    @property
    def bound(self) -> Vector:
        return [v for matrix in self.E_W for row in matrix for v in row] + [v for row in self.E_g for v in row]

    @property
    def decided(self) -> bool:
        return self.within_range and all(map(math.isfinite, self.reference + self.bound))


def most(values: Iterable[float]) -> float:
    """The largest; NaN if one is NaN."""
    values = list(values)
    return math.nan if any(map(math.isnan, values)) else max(values)


def least(*values: float) -> float:
    """The smallest; NaN if one is NaN."""
    return -most(-v for v in values)


def smaller_known(*values: float) -> float:
    """The smallest of those that are not NaN."""
    return min(v for v in values if not math.isnan(v))


def vectors(depth: int, width: int) -> list[Vector]:
    return [[math.nan] * width for _ in range(depth)]


def matrices(depth: int, width: int) -> list[Matrix]:
    return [vectors(width, width) for _ in range(depth)]


def lowest_bit(value: float) -> Fraction:
    """The largest power of two that divides a number."""
    numerator, denominator = abs(value).as_integer_ratio()
    return Fraction(numerator & -numerator, denominator)


def same_bits_in_any_order(weights: Vector, states: Vector, bias: float, arithmetic: Arithmetic) -> bool:
    """Whether Σ w x + b is a sum of at most 1 / u multiples of one power of two, and no number in it is subnormal."""
    if not all(map(math.isfinite, (*weights, *states, bias))):
        return False
    if any(0.0 < abs(v) < arithmetic.smallest_normal for v in (*weights, *states)):  # may be read as zero
        return False
    pairs = zip(weights, states, strict=True)
    terms = [(lowest_bit(w) * lowest_bit(x), abs(Fraction(w) * Fraction(x))) for w, x in pairs if w and x]
    if bias:
        terms.append((lowest_bit(bias), abs(Fraction(bias))))
    if not terms:
        return True
    granule, total = min(bit for bit, _ in terms), sum(size for _, size in terms)
    return granule >= arithmetic.smallest_normal and total <= granule / Fraction(arithmetic.unit_roundoff)


def through(model: Activation, z: float, E_z: float, exact: bool, arithmetic: Arithmetic) -> tuple[float, float]:
    """E_x and E_δ behind an activation."""
    u, η = arithmetic.unit_roundoff, arithmetic.smallest_normal
    local = [float(quantity) for quantity in model.local(np.float64(z))]
    curvature, second, third, rate, σ_v, σ_s = local
    slope = abs(float(model.slope(np.float64(z))))
    value_rounding = model.value_rounding * u * σ_v + η * (1.0 + abs(z))
    slope_rounding = model.slope_rounding * u * σ_s + η * (1.0 + abs(z))
    low, high = model.slope_range
    jump = high - low + slope_rounding + model.slope_rounding * u * max(abs(low), abs(high))
    E_x, E_δ = slope * E_z, slope_rounding
    if model.second_max > 0.0:
        sup_second, sup_third = model.second_max, model.third_max
        if rate * E_z <= 1.0:
            sup_second = smaller_known(sup_second, second * math.exp(rate * E_z))
            sup_third = smaller_known(sup_third, third * math.exp(rate * E_z))
        if any(abs(z - crease) <= E_z for crease in model.creases):
            curvature = sup_second
        sup_second = smaller_known(sup_second, curvature + sup_third * E_z)
        E_x += 0.5 * sup_second * E_z * E_z
        E_δ += curvature * E_z + 0.5 * sup_third * E_z * E_z
    E_x += value_rounding + model.value_rounding * u * slope * E_z
    for kink in model.kinks:
        settled = model.settled and E_z == 0.0
        if abs(z - kink) <= E_z and not settled:
            E_x = most([E_x, max(abs(low), abs(high)) * E_z + value_rounding])
            E_δ = jump
    E_x = least(E_x, model.value_range[1] - model.value_range[0] + value_rounding)
    if exact and σ_v == 0.0:
        E_x = 0.0
    return E_x, least(E_δ, jump)


def norm(matrix: Matrix) -> float:
    """The larger of ‖·‖₁ and ‖·‖_∞ of a nonnegative matrix."""
    n = range(len(matrix))
    return most([most(sum(matrix[j][k] for k in n) for j in n), most(sum(matrix[j][k] for j in n) for k in n)])


def products(norms: Vector) -> tuple[float, float]:
    """K, and the largest product of a contiguous run of couplings (the empty run has product 1)."""
    runs = [math.prod(norms[i:j]) for i in range(len(norms)) for j in range(i + 1, len(norms) + 1)]
    peak = most([1.0, *runs])
    return least(math.prod(most([1.0, v]) for v in norms), peak * peak), peak


def underflow_term(
    found: Bounds, norms: Vector, ends: float, loss: float, arithmetic: Arithmetic
) -> tuple[float, bool]:
    """What underflow of a partial product may do to a gradient; whether that leaves a verdict, and nothing overflows."""
    N, n = len(found.db), len(found.r)
    K, peak = products(norms[1:])
    underflow = 8 * N * n * n * K * ends * loss
    gradient = most(map(abs, found.reference))
    vacuous = underflow > gradient and underflow > NEGLIGIBLE
    within_range = n * n * peak * ends * HEADROOM < arithmetic.largest and math.isfinite(underflow)
    return underflow, within_range and not vacuous


def gradient_bounds(
    W: list[Matrix], b: list[Vector], names: tuple[str, ...], x_0: Vector, y: Vector, arithmetic: Arithmetic
) -> Bounds:
    """Truth and bound of the gradient of one case."""
    u, q, η = arithmetic.unit_roundoff, arithmetic.product_roundoff, arithmetic.smallest_normal
    N, n = len(b), len(x_0)
    units, models = range(n), [activation(name) for name in names]
    x, z, δ, λ, db, dW = [x_0], vectors(N, n), vectors(N, n), vectors(N, n), vectors(N, n), matrices(N, n)
    E_x, E_z, E_δ = [[abs(v) if abs(v) < η else 0.0 for v in x_0]], vectors(N, n), vectors(N, n)

    def subnormal(value: float) -> float:
        """The magnitude of a subnormal number, which may be flushed to zero; else 0."""
        return abs(value) if abs(value) < η else 0.0

    exact = [q == 0.0] * n  # the states: so far every order gives the same bits
    for i in range(N):
        x.append([math.nan] * n)
        E_x.append([math.nan] * n)
        # Only where it decides the side of a kink is an exact argument taken for one.
        all_exact, exact = all(exact) and models[i].second_max == 0.0, [False] * n
        for j in units:
            z[i][j] = sum(W[i][j][k] * x[i][k] for k in units) + b[i][j]
            size = sum(abs(W[i][j][k]) * (abs(x[i][k]) + E_x[i][k]) for k in units) + abs(b[i][j])
            moved = sum(abs(W[i][j][k]) * E_x[i][k] for k in units)
            flushed = sum(subnormal(w) * (abs(x[i][k]) + E_x[i][k]) for k, w in enumerate(W[i][j]) if subnormal(w))
            E_z[i][j] = moved + (gamma(n + 1, u) + q) * size + flushed + subnormal(b[i][j]) + (2 * n + 2) * η
            exactly = all_exact and same_bits_in_any_order(W[i][j], x[i], b[i][j], arithmetic)
            if exactly:
                E_z[i][j] = 0.0
            x[i + 1][j] = float(models[i].value(np.float64(z[i][j])))
            δ[i][j] = float(models[i].slope(np.float64(z[i][j])))
            E_x[i + 1][j], E_δ[i][j] = through(models[i], z[i][j], E_z[i][j], exactly, arithmetic)
            exact[j] = exactly and float(models[i].local(np.float64(z[i][j])).value_scale) == 0.0

    r = [x[N][j] - y[j] for j in units]
    found = Bounds(W, x, z, δ, r, λ, E_z, E_x, E_δ, vectors(N, n), vectors(N, n), db, dW, vectors(N, n), [], True)
    Λ, E_g, E_W = found.Λ, found.E_g, matrices(N, n)
    adjoint, magnitude = r, [abs(v) for v in r]
    sizes = [abs(r[j]) + E_x[N][j] for j in units]
    E = [E_x[N][j] + (gamma(n + 1, u) + q) * sizes[j] + 2 * η for j in units]
    norms = [math.nan] * N
    for i in reversed(range(N)):
        λ[i], Λ[i], found.E_Λ[i] = adjoint, magnitude, E
        curved = models[i].second_max > 0.0
        G = [abs(δ[i][j]) * magnitude[j] for j in units]
        for j in units:
            db[i][j] = δ[i][j] * adjoint[j]
            E_g[i][j] = abs(δ[i][j]) * E[j] + E_δ[i][j] * (magnitude[j] + E[j])
            E_g[i][j] += u * (G[j] + E_g[i][j]) + η * (1.0 + abs(z[i][j]) * curved)
            for k in units:
                dW[i][j][k] = db[i][j] * x[i][k]
                E_W[i][j][k] = E_g[i][j] * abs(x[i][k]) + (G[j] + E_g[i][j]) * E_x[i][k]
                E_W[i][j][k] += (u + q) * (G[j] * abs(x[i][k]) + E_W[i][j][k])
        adjoint = [sum(W[i][j][k] * db[i][j] for j in units) for k in units]
        # A subnormal weight counts twice: as it is, and as what is lost where it is flushed.
        count = [[abs(w) + subnormal(w) for w in row] for row in W[i]]
        magnitude = [sum(count[j][k] * G[j] for j in units) for k in units]
        E = [sum(count[j][k] * E_g[i][j] for j in units) for k in units]
        E = [E[k] + (gamma(n, u) + q) * (magnitude[k] + E[k]) + 2 * n * η for k in units]
        E = [E[k] + sum(subnormal(W[i][j][k]) * G[j] for j in units if subnormal(W[i][j][k])) for k in units]
        norms[i] = norm([[abs(W[i][j][k]) * (abs(δ[i][j]) + E_δ[i][j]) for k in units] for j in units])

    largest_state = most(abs(x[i][j]) + E_x[i][j] for i in range(N + 1) for j in units)
    ends = most([1.0, most(sizes)]) * most([1.0, largest_state])
    inside = most(abs(z[i][j]) if models[i].second_max > 0.0 else 0.0 for i in range(N) for j in units)
    underflow, within_range = underflow_term(found, norms, ends, η * (1.0 + inside), arithmetic)
    affine = most(
        sum(abs(W[i][j][k]) * (abs(x[i][k]) + E_x[i][k]) for k in units) + abs(b[i][j]) for i in range(N) for j in units
    )
    found.underflow = underflow
    found.E_g = [[v + underflow for v in row] for row in E_g]
    found.E_W = [[[v + underflow for v in row] for row in matrix] for matrix in E_W]
    found.within_range = within_range and affine * HEADROOM < arithmetic.largest
    return found


def linearisation_bounds(found: Bounds, arithmetic: Arithmetic) -> tuple[Vector, Vector, bool]:
    """Truth, bound and whether decided, of x_1 … x_N, of every slope and of every coupling."""
    u, η = arithmetic.unit_roundoff, arithmetic.smallest_normal
    reference = [v for row in found.x[1:] for v in row] + [v for row in found.δ for v in row]
    bound = [v for row in found.E_x[1:] for v in row] + [v for row in found.E_δ for v in row]
    for W, δ, E_δ in zip(found.W, found.δ, found.E_δ, strict=True):
        for row, slope, slope_bound in zip(W, δ, E_δ, strict=True):
            for w in row:
                reference.append(slope * w)
                moved = slope_bound * abs(w)
                bound.append(moved + u * (abs(slope * w) + moved) + 2 * η * most([1.0, abs(w), abs(slope)]))
    return reference, bound, found.decided and all(map(math.isfinite, reference + bound))


def substitution_bounds(C: list[Matrix], δ: list[Vector], x: list[Vector], y: Vector, arithmetic: Arithmetic) -> Bounds:
    """Truth and bound of the gradient of one system, as it was computed."""
    u, q, η = arithmetic.unit_roundoff, arithmetic.product_roundoff, arithmetic.smallest_normal
    N, n = len(δ), len(y)
    units = range(n)

    def subnormal(value: float) -> float:
        return abs(value) if abs(value) < η else 0.0

    zeros = [[0.0] * n for _ in range(N + 1)]
    r = [x[N][j] - y[j] for j in units]
    λ, Λ, E_Λ, db, dW = vectors(N, n), vectors(N, n), vectors(N, n), vectors(N, n), matrices(N, n)
    E_g, E_W = vectors(N, n), matrices(N, n)
    found = Bounds([], x, [], δ, r, λ, zeros[1:], zeros, zeros[1:], E_Λ, Λ, db, dW, E_g, E_W, True)
    adjoint, magnitude = r, [abs(v) for v in r]
    E = [u * abs(v) + η for v in r]
    for i in reversed(range(N)):
        λ[i], Λ[i], E_Λ[i] = adjoint, magnitude, E
        for j in units:
            db[i][j] = δ[i][j] * adjoint[j]
            E_g[i][j] = abs(δ[i][j]) * E[j] + subnormal(δ[i][j]) * (abs(adjoint[j]) + E[j])
            E_g[i][j] += u * (abs(db[i][j]) + E_g[i][j]) + η
            for k in units:
                dW[i][j][k] = db[i][j] * x[i][k]
                E_W[i][j][k] = E_g[i][j] * abs(x[i][k]) + subnormal(x[i][k]) * (abs(db[i][j]) + E_g[i][j])
                E_W[i][j][k] += u * (abs(dW[i][j][k]) + E_W[i][j][k]) + η
        adjoint = [sum(C[i][j][k] * adjoint[j] for j in units) for k in units]
        flushed = [sum(subnormal(C[i][j][k]) * (magnitude[j] + E[j]) for j in units) for k in units]
        magnitude = [sum(abs(C[i][j][k]) * magnitude[j] for j in units) for k in units]
        E = [sum(abs(C[i][j][k]) * E[j] for j in units) + flushed[k] for k in units]
        E = [E[k] + (gamma(n, u) + q) * (magnitude[k] + E[k]) + 2 * n * η for k in units]
    norms = [norm([[abs(c) for c in row] for row in matrix]) for matrix in C]
    ends = most([1.0, *map(abs, r)]) * most([1.0, *(abs(v) for row in x for v in row)])
    ends *= most([1.0, *(abs(v) for row in δ for v in row)])
    underflow, found.within_range = underflow_term(found, norms, ends, η, arithmetic)
    found.underflow = underflow
    found.E_g = [[v + underflow for v in row] for row in E_g]
    found.E_W = [[[v + underflow for v in row] for row in matrix] for matrix in E_W]
    return found
