import numpy as np
import pytest

from chainback.rounding import ARITHMETICS, FLOAT32, gamma


def test_float32_is_what_numpy_says() -> None:
    info = np.finfo(np.float32)
    assert FLOAT32.unit_roundoff == info.eps / 2
    assert FLOAT32.smallest_normal == info.smallest_normal
    assert FLOAT32.largest == info.max
    assert FLOAT32.product_roundoff == 0.0


@pytest.mark.parametrize(("name", "bits"), [("tf32", 11), ("bfloat16", 8)])
def test_short_factors_lose_what_their_significand_lacks(name: str, bits: int) -> None:
    # Both factors of a product are rounded: (1 + 2^-bits)^2 - 1 on top of float32's own roundings.
    assert ARITHMETICS[name].product_roundoff == pytest.approx(2 * 2.0**-bits + 4.0**-bits)
    assert ARITHMETICS[name].unit_roundoff == FLOAT32.unit_roundoff


def test_gamma_bounds_a_product_of_roundings() -> None:
    u = 2.0**-24
    for n in (1, 10, 1000):
        assert (1 + u) ** n - 1 <= gamma(n, u)
        assert 1 - (1 - u) ** n <= gamma(n, u)
    assert gamma(2**24, u) == float("inf")
    # The wrong twin: n u alone is exceeded.
    assert (1 + u) ** 1000 - 1 > 1000 * u
