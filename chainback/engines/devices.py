"""The devices under test, and the arithmetic that JAX's settings mean on them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import jax
import numpy as np

from chainback.errors import UsageError, sentence
from chainback.operations.arithmetic import ARITHMETICS, Arithmetic, arithmetic_under

__all__ = ["Platform", "arithmetic_of", "device_of", "matmul_setting", "platforms_of"]


@dataclass(frozen=True)
class Platform:
    """A platform under test.

    Attributes:
        name: As the user wrote it, such as "gpu" or "gpu:1".
        devices: This process's devices of it: all, or the one that was named. Batches are split over them; what is run
            one by one runs on the first.
        arithmetic: Under which results are judged: that of JAX's matmul precision, as set in this thread, unless the user
            wants another one.
        precision: What reports call that: "tf32", or "tf32 judged as float32".
    """

    name: str
    devices: tuple[Any, ...]
    arithmetic: Arithmetic
    precision: str

    @classmethod
    def of(cls, name: str, devices: tuple[Any, ...], judged_as: str | None = None) -> Platform:
        """Return a platform of these devices, judged as they compute, or as another arithmetic does."""
        theirs = arithmetic_of(devices[0])
        if judged_as is None or judged_as == theirs.name:
            return cls(name, devices, theirs, theirs.name)
        return cls(name, devices, ARITHMETICS[judged_as], f"{theirs.name} judged as {judged_as}")

    @property
    def device(self) -> Any:
        """The first device."""
        return self.devices[0]

    def identity(self) -> dict[str, str]:
        """Return what rows say of it, in columns of `schema.IDENTITY`."""
        return {
            "platform": self.device.platform,
            "device_kind": self.device.device_kind,
            "matmul_precision": self.precision,
        }


def platforms_of(names: str | None, judged_as: str | None = None) -> list[Platform]:
    """Return the platforms of these names.

    Args:
        names: Names as "gpu", or "gpu:1" for one device of it, separated by commas; None for JAX's own choice.
        judged_as: The arithmetic whose bounds results are to keep, on whatever device; None for that of the device.

    Raises:
        UsageError: One is not there, or the same is named twice, or it or the arithmetic has no rounding model.
    """
    if judged_as is not None and judged_as not in ARITHMETICS:
        raise UsageError(f"`judged_as` must be one of {', '.join(ARITHMETICS)}, got {judged_as!r:.40}")
    found: dict[tuple[Any, ...], Platform] = {}
    for name in [None] if names is None else [part.strip() for part in names.split(",")]:
        devices = _devices_of(name)
        if devices in found:
            same = found[devices].name
            twice = f"{name!r} twice" if name == same else f"{same!r} and {name!r}, which are the same here"
            raise UsageError(f"`platform` names {twice}: name each once")
        found[devices] = Platform.of(name or devices[0].platform, devices, judged_as)
    return list(found.values())


def device_of(platform: str | None) -> Any:
    """Return the first device of a platform, or the one that is named, as "gpu:1" (default: JAX's own choice).

    Raises:
        UsageError: JAX sees none, or several are named.
    """
    if platform is not None and "," in platform:
        raise UsageError(f"platform {platform!r} is more than one: name one here")
    return _devices_of(platform)[0]


def _devices_of(name: str | None) -> tuple[Any, ...]:
    """Return this process's devices of a platform, or the one that is named, as "gpu:1"."""
    try:
        devices = jax.local_devices()
    except (RuntimeError, AssertionError) as error:  # JAX asserts where a platform it knows has no device
        chosen = getattr(jax.config, "jax_platforms", None)
        where = f"with JAX_PLATFORMS={chosen}" if chosen else "here"
        reason = f" ({sentence(error)})" if str(error) else ""
        raise UsageError(f"JAX finds no device {where}{reason}: name a platform that is there, or none") from None
    if name is None:
        return tuple(devices)
    platform, colon, index = name.partition(":")
    if not platform or (colon and not index.isdecimal()):
        raise UsageError(f"platform {name!r} cannot be read: write gpu, gpu:1, or several as cpu,gpu")
    try:
        found = tuple(jax.local_devices(backend=platform))
    except RuntimeError:
        seen = ", ".join(sorted({d.platform for d in devices}))
        raise UsageError(f"platform {name!r} is not there: JAX sees {seen} here") from None
    if not colon:
        return found
    if int(index) >= len(found):
        last = f" to {platform}:{len(found) - 1}" if len(found) > 1 else ""
        raise UsageError(f"platform {name!r} is not there: JAX sees {platform}:0{last} here")
    return (found[int(index)],)


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
        reason = f"{device.platform} cannot multiply so ({sentence(error)})"
        raise UsageError(f"jax_default_matmul_precision is {setting}, but {reason}: set another one") from None
