from typing import Any

import jax
import numpy as np
import pytest

from chainback.errors import UsageError
from chainback.operations.arithmetic import ARITHMETICS, FLOAT32, arithmetic_under, gamma

#: The algorithms that the installed JAX knows; none before 0.4.36.
ALGORITHMS = [preset.name for preset in getattr(jax.lax, "DotAlgorithmPreset", ()) if preset.name != "DEFAULT"]


def test_float32_is_what_numpy_says() -> None:
    info = np.finfo(np.float32)
    assert FLOAT32.unit_roundoff == info.eps / 2
    assert FLOAT32.smallest_normal == info.smallest_normal
    assert FLOAT32.largest == info.max
    assert FLOAT32.product_roundoff == 0.0


def shortened(a: Any, bits: int, to_nearest: bool) -> Any:
    """Float32 numbers with so many significant bits, truncated or rounded to the nearest, as float64."""
    drop = 24 - bits
    integers = a.view(np.int32) + (1 << (drop - 1) if to_nearest else 0)
    return (integers & -(1 << drop)).view(np.float32).astype(float)


@pytest.mark.parametrize(("name", "bits", "to_nearest"), [("tf32", 11, False), ("bfloat16", 8, True)])
def test_short_factors_lose_what_their_significand_lacks(name: str, bits: int, to_nearest: bool) -> None:
    arithmetic = ARITHMETICS[name]
    assert arithmetic.unit_roundoff == FLOAT32.unit_roundoff
    worst = np.float32([1.0 + 2.0 ** (1 - bits) - 2.0**-23, 1.0 + 2.0**-bits])  # truncated, a tie
    factors = np.concatenate([worst, np.random.default_rng(0).uniform(1, 2, 100_000).astype(np.float32)])
    exact = factors.astype(float)
    loss = np.abs(shortened(factors, bits, to_nearest) / exact - 1.0)
    # Both factors of a product are shortened.
    assert (1.0 + loss.max()) ** 2 - 1.0 <= arithmetic.product_roundoff
    # The negative control: a model with one bit more is exceeded, and so is bfloat16's by a truncation.
    assert loss.max() > 0.99 * (arithmetic.product_roundoff / 2.0)
    if to_nearest:
        assert np.abs(shortened(factors, bits, False) / exact - 1.0).max() > 1.9 * 2.0**-bits


def test_truncated_sums_of_truncated_products_are_paid_for() -> None:
    """What the docstring says of 32 terms: a truncated sum errs by 2 u a term, and float32's own model pays u."""
    loss = 1.0 - (1.0 - 2.0**-10) ** 2
    u = FLOAT32.unit_roundoff
    assert loss + 32 * u <= ARITHMETICS["tf32"].product_roundoff < loss + 33 * u


def test_a_sharp_bound_is_a_thousandth_in_float32_and_tells_right_from_missing_in_all() -> None:
    assert FLOAT32.sharp_bound == 1e-3
    assert {name: round(1 / a.sharp_bound) for name, a in ARITHMETICS.items()} == {
        "float32": 1000,
        "tf32": 16,
        "bfloat16": 4,
    }
    for arithmetic in ARITHMETICS.values():
        assert 32 * arithmetic.product_roundoff <= arithmetic.sharp_bound < 0.5


@pytest.mark.parametrize(
    ("settings", "cpu", "gpu", "tpu"),
    [
        ((None, "default", "bfloat16"), "float32", "tf32", "bfloat16"),
        (("high", "tensorfloat32"), "float32", "tf32", "tf32"),
        (("highest", "float32", "F32_F32_F32", "F64_F64_F64"), "float32", "float32", "float32"),
        (("TF32_TF32_F32", "TF32_TF32_F32_X3"), "tf32", "tf32", "tf32"),
        (("BF16_BF16_F32_X3", "BF16_BF16_F32_X6", "BF16_BF16_F32_X9"), "tf32", "tf32", "tf32"),
        (("BF16_BF16_F32",), "bfloat16", "bfloat16", "bfloat16"),
    ],
)
def test_what_each_setting_means_where(settings: tuple[str | None, ...], cpu: str, gpu: str, tpu: str) -> None:
    for setting in settings:
        found = [arithmetic_under(setting, platform).name for platform in ("cpu", "gpu", "tpu")]
        assert found == [cpu, gpu, tpu], setting


@pytest.mark.parametrize("setting", ["F16_F16_F16", "F16_F16_F32", "BF16_BF16_BF16", "ANY_F8_ANY_F8_F32", "nonsense"])
def test_a_setting_without_a_model_is_refused(setting: str) -> None:
    for platform in ("cpu", "gpu", "tpu"):
        with pytest.raises(UsageError, match=rf"matmul_precision is {setting}, which has no rounding model") as caught:
            arithmetic_under(setting, platform)
        assert "set one of default, " in str(caught.value)
        assert "BF16_BF16_F32_X3" in str(caught.value)


@pytest.mark.skipif(not ALGORITHMS, reason="this JAX knows no algorithms")
def test_every_algorithm_of_this_jax_has_a_model_or_is_short_of_float32_sums() -> None:
    refused = set()
    for name in ALGORITHMS:
        try:
            arithmetic_under(name, "gpu")
        except UsageError:
            refused.add(name)
    assert refused == {name for name in ALGORITHMS if "F8" in name or name.startswith("F16") or name.endswith("_BF16")}


def test_gamma_bounds_a_product_of_roundings() -> None:
    u = 2.0**-24
    for n in (1, 10, 1000):
        assert (1 + u) ** n - 1 <= gamma(n, u)
        assert 1 - (1 - u) ** n <= gamma(n, u)
    assert gamma(2**24, u) == float("inf")
    # The negative control: n u alone is exceeded.
    assert (1 + u) ** 1000 - 1 > 1000 * u
