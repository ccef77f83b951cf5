"""What one rounding, and one underflow, may cost in the arithmetic under test."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["ARITHMETICS", "FLOAT32", "FLOAT64", "Arithmetic", "gamma"]


@dataclass(frozen=True)
class Arithmetic:
    """A model of the floating-point arithmetic in which a gradient was computed.

    Attributes:
        name: How reports call it (`matmul_precision`).
        unit_roundoff: u: one operation returns its exact result times (1 + d), |d| <= u.
        product_roundoff: What a factor of a matrix product loses on top of u, because the hardware rounds both factors
            to a shorter format before it multiplies (0 where it does not).
        smallest_normal: η: an operation that underflows may lose up to η, since XLA flushes subnormals to zero.
        largest: The largest finite number.

    Source: Higham, *Accuracy and Stability of Numerical Algorithms* (2002), sections 2.2 and 2.8.
    """

    name: str
    unit_roundoff: float
    product_roundoff: float
    smallest_normal: float
    largest: float


def gamma(operations: int, unit_roundoff: float) -> float:
    """Return γ_n = n u / (1 − n u), the relative error that n roundings in a row cannot exceed.

    Args:
        operations: n, the number of roundings.
        unit_roundoff: u.

    Returns:
        γ_n, dimensionless; infinite where n u reaches 1 and the model says nothing any more.

    Source: Higham (2002), Lemma 3.1.
    """
    product = operations * unit_roundoff
    return product / (1.0 - product) if product < 1.0 else float("inf")


def _float32(name: str, factor_roundoff: float) -> Arithmetic:
    both_factors = (1.0 + factor_roundoff) ** 2 - 1.0
    return Arithmetic(name, 2.0**-24, both_factors, 2.0**-126, (2.0 - 2.0**-23) * 2.0**127)


FLOAT32 = _float32("float32", 0.0)
FLOAT64 = Arithmetic("float64", 2.0**-53, 2.0**-52, 2.0**-1022, (2.0 - 2.0**-52) * 2.0**1023)

#: The arithmetics that a float32 program may run under. TF32 keeps 11 significant bits of each factor of a matrix
#: product, bfloat16 keeps 8; both accumulate in float32.
ARITHMETICS = {a.name: a for a in (FLOAT32, _float32("tf32", 2.0**-11), _float32("bfloat16", 2.0**-8))}
