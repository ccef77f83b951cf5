"""What produced a report: versions, machine, flags. No import of JAX is needed to ask.

And the one place where JAX, which reads its environment as it is imported, may refuse it.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import os
import platform
import sys
from datetime import datetime
from pathlib import Path
from typing import Any

from chainback.errors import UsageError, sentence

__all__ = ["environment", "start_jax"]

_PACKAGES = ("chainback", "jax", "jaxlib", "numpy", "scipy", "pandas", "hypothesis")
#: Environment variables that change what a compiler produces, or where it runs.
_VARIABLES = ("JAX_", "XLA_", "CUDA_VISIBLE_DEVICES", "NVIDIA_TF32_OVERRIDE", "OMP_NUM_THREADS")
#: Variables that only say where something lies.
_PLACES = ("_DIR", "_PATH", "_FILE")


def version(package: str) -> str:
    """Return the installed version of a package, or "" where it is not installed."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return ""


def start_jax() -> None:
    """Import JAX, for the commands that are about to need it.

    Raises:
        UsageError: JAX does not start, as with an environment variable that it cannot read.
    """
    try:
        importlib.import_module("jax")
    except Exception as error:  # whatever a broken installation may raise
        raise UsageError(f"JAX does not start here: {sentence(error)}") from None


def environment(now: datetime) -> dict[str, Any]:
    """Return what identifies this machine and installation, ready for JSON.

    Args:
        now: The time to state.
    """
    return {
        "time": now.isoformat(timespec="seconds"),
        "python": platform.python_version(),
        "packages": {name: found for name in _PACKAGES if (found := version(name))},
        "system": f"{platform.system()} {platform.release()}",
        "machine": platform.machine(),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "variables": {
            k: v for k, v in sorted(os.environ.items()) if k.startswith(_VARIABLES) and not k.endswith(_PLACES)
        },
        "byte_order": sys.byteorder,
    }


def _processor() -> dict[str, str]:
    """Return the processor's model and features: generated code depends on its instruction set."""
    listing = Path("/proc/cpuinfo")
    if not listing.is_file():
        return {"model": platform.processor(), "features": ""}
    fields: dict[str, str] = {}
    for line in listing.read_text(errors="replace").splitlines():
        key, _, value = line.partition(":")
        fields.setdefault(key.strip(), value.strip())
    return {
        "model": fields.get("model name", platform.processor()),
        "features": fields.get("flags", fields.get("Features", "")),
    }
