"""The device under test, and the arithmetic that JAX's settings mean on it."""

from __future__ import annotations

from functools import cache
from typing import Any

import jax
import numpy as np

from chainback.errors import UsageError, sentence
from chainback.rounding import Arithmetic, arithmetic_under

__all__ = ["arithmetic_of", "device_of", "matmul_setting"]


def device_of(platform: str | None) -> Any:
    """Return JAX's first device on a platform (default: JAX's own choice).

    Raises:
        UsageError: JAX sees none.
    """
    try:
        devices = jax.devices()
    except (RuntimeError, AssertionError) as error:  # JAX asserts where a platform it knows has no device
        asked = getattr(jax.config, "jax_platforms", None)
        where = f"with JAX_PLATFORMS={asked}" if asked else "here"
        said = f" ({sentence(error)})" if str(error) else ""
        raise UsageError(f"JAX finds no device {where}{said}: name a platform that is there, or none") from None
    try:
        return jax.devices(platform)[0]
    except RuntimeError:
        seen = ", ".join(sorted({d.platform for d in devices}))
        raise UsageError(f"platform {platform!r} is not there: JAX sees {seen} here") from None


def matmul_setting() -> str | None:
    """Return JAX's matmul precision as it is set in this thread: a level, an algorithm, or None."""
    return getattr(jax.config, "jax_default_matmul_precision", None)


def arithmetic_of(device: Any) -> Arithmetic:
    """Return the arithmetic that JAX's matmul precision, as it is set in this thread, means on a device.

    Raises:
        UsageError: It has no rounding model, or JAX cannot multiply so on the device.
    """
    setting = matmul_setting()
    arithmetic = arithmetic_under(setting, device.platform)
    if setting is not None and setting.isupper():
        _require_algorithm(setting, device)
    return arithmetic


@cache
def _require_algorithm(setting: str, device: Any) -> None:
    """Translate a product by an algorithm: JAX refuses those that a platform does not have.

    What XLA then cannot compile, of some shape, is a finding, and is left to the engine that meets it.
    """
    square = jax.ShapeDtypeStruct((4, 4), np.float32, sharding=jax.sharding.SingleDeviceSharding(device))
    try:
        with jax.default_matmul_precision(setting):
            jax.jit(lambda a, b: a @ b).lower(square, square)
    except Exception as error:  # JAX raises ValueError today
        said = f"{device.platform} cannot multiply so ({sentence(error)})"
        raise UsageError(f"jax_default_matmul_precision is {setting}, but {said}: set another one") from None
