"""What one rounding, and one underflow, may cost in the arithmetic under test."""

from __future__ import annotations

from abc import ABC
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from chainback.errors import UsageError

__all__ = ["ARITHMETICS", "FLOAT32", "FLOAT64", "Arithmetic", "Array", "arithmetic_under", "gamma"]

if TYPE_CHECKING:
    Array = np.ndarray
else:

    class Array(ABC):  # noqa: B024 (a name to register types under)
        """NumPy's array, or another that NumPy code takes for one and that is registered here (`running.lifting`)."""

    Array.register(np.ndarray)


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

    @property
    def sharp_bound(self) -> float:
        """The share of the truth that a bound may reach and still be sharp: 10⁻³, or 32 roundings of a product if more.

        No bound can be smaller than the products on the way round once each: 2 N + 1 of them through N layers, so that 32
        let chains of 8 layers pass with a factor of two for conditioning. It is 1/1000 for float32, 1/16 for TF32 and 1/4
        for bfloat16: far below 1/2 in each, so that a component that is missing, doubled or of the other sign is never
        within a sharp bound.
        """
        return max(1e-3, 32.0 * self.product_roundoff)


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
FLOAT64 = Arithmetic("float64", 2.0**-53, 0.0, 2.0**-1022, (2.0 - 2.0**-52) * 2.0**1023)

#: The arithmetics that a float32 program may run under; both of the short ones accumulate in float32.
#:
#: TF32 has 11 significant bits. A tensor core reads the first 10 bits of the fraction and ignores the rest; only where the
#: program rounds before (PTX: cvt.rna.tf32.f32) is the loss 2⁻¹¹. Nothing promises that it does, so the model is truncation,
#: 2⁻¹⁰. A truncated factor is never too large, so two of them lose less than 2⁻⁹ − 2⁻²⁰, and the 2⁻¹⁹ between that and
#: (1 + 2⁻¹⁰)² − 1 pays for sums that are truncated, too, up to 32 terms. Source: PyTorch, *Numerical accuracy*, section on
#: TensorFloat-32.
#:
#: bfloat16 has 8 significant bits, and XLA rounds to the nearest: 2⁻⁸ (truncation would lose 2⁻⁷). Source: Google Cloud TPU,
#: *Improve your model's performance with bfloat16*.
ARITHMETICS = {a.name: a for a in (FLOAT32, _float32("tf32", 2.0**-10), _float32("bfloat16", 2.0**-8))}

#: `jax_default_matmul_precision` as a level, and how fine it is: JAX knows three, under several names.
_LEVELS = {
    **dict.fromkeys((None, "default", "bfloat16"), 0),
    **dict.fromkeys(("high", "tensorfloat32"), 1),
    **dict.fromkeys(("highest", "float32"), 2),
}
#: What a platform makes of the three. XLA's CPU computes float32 products in float32 at every level; its GPU may take TF32
#: below the highest; a TPU takes one pass of bfloat16, or three, which are finer than TF32.
_ON_PLATFORM = {"cpu": ("float32", "float32", "float32"), "gpu": ("tf32", "tf32", "float32")}
_ELSEWHERE = ("bfloat16", "tf32", "float32")
#: `jax_default_matmul_precision` as an algorithm, the same on every platform that has it. Sums of several products of short
#: factors (X3, X6, X9) are at least as good as one TF32 product.
_ALGORITHMS = {
    "F32_F32_F32": "float32",
    "F64_F64_F64": "float32",
    "TF32_TF32_F32": "tf32",
    "TF32_TF32_F32_X3": "tf32",
    "BF16_BF16_F32_X9": "tf32",
    "BF16_BF16_F32_X6": "tf32",
    "BF16_BF16_F32_X3": "tf32",
    "BF16_BF16_F32": "bfloat16",
}


def arithmetic_under(setting: str | None, platform: str) -> Arithmetic:
    """Return the arithmetic that a setting of JAX's matmul precision means on a platform.

    Args:
        setting: `jax_default_matmul_precision`: a level, an algorithm, or None where nothing is set.
        platform: "cpu", "gpu", …

    Raises:
        UsageError: The setting has no rounding model.
    """
    if setting in _LEVELS:
        return ARITHMETICS[_ON_PLATFORM.get(platform, _ELSEWHERE)[_LEVELS[setting]]]
    if setting in _ALGORITHMS:
        return ARITHMETICS[_ALGORITHMS[setting]]
    known = ", ".join([*filter(None, _LEVELS), *_ALGORITHMS])
    raise UsageError(f"jax_default_matmul_precision is {setting}, which has no rounding model here: set one of {known}")
