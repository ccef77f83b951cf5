"""Environment: versions, machine and flags that a report was made under; and how JAX is started.

Asking needs no JAX. JAX reads environment variables as it is imported; `start_jax` is where it may refuse them.
"""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import importlib
import importlib.metadata
import json
import os
import platform
import sys
import warnings
from datetime import datetime
from pathlib import Path
from typing import Any

from chainback.errors import UsageError, sentence

__all__ = ["compiled_before", "environment", "start_jax", "user_cache"]

_PACKAGES = ("chainback", "jax", "jaxlib", "numpy", "scipy", "pandas", "hypothesis")
#: Environment variables that change what a compiler produces, or where it runs.
_VARIABLES = ("JAX_", "XLA_", "CUDA_VISIBLE_DEVICES", "NVIDIA_TF32_OVERRIDE", "OMP_NUM_THREADS")
#: Of glibc's <malloc.h>.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
#: Variables that only name a folder or file.
_PATHS = ("_DIR", "_PATH", "_FILE")


def version(package: str) -> str:
    """Return the installed version of a package, or "" where it is not installed."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return ""


def user_cache() -> Path:
    """Return chainback's own folder in the user's cache."""
    base = os.environ.get("XDG_CACHE_HOME") or (os.environ.get("LOCALAPPDATA") if os.name == "nt" else None)
    return (Path(base) if base else Path.home() / ".cache") / "chainback"


def start_jax() -> None:
    """Import JAX, and have this process cache compiled programs and reuse memory.

    Raises:
        UsageError: JAX does not start, as with an environment variable that it cannot read.
    """
    try:
        importlib.import_module("jax")
    except Exception as error:  # whatever a broken installation may raise
        raise UsageError(f"JAX does not start here: {sentence(error)}") from None
    _keep_compiled()
    _keep_memory()


def _keep_memory() -> None:
    """Have glibc reuse the memory of freed arrays; another C library is left as it is.

    By default the memory of a large array goes back to the system, which maps it anew page by page. Reusing it saves 15 to
    35 % of the processor time of a batch, and the peak stays the same (`reports/notes-speed.md`).
    """
    with contextlib.suppress(OSError, AttributeError, TypeError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_M_MMAP_THRESHOLD, 32 << 20)  # the most that it takes
        mallopt(_M_TRIM_THRESHOLD, 1 << 30)


def _keep_compiled() -> None:
    """Have JAX cache compiled programs for the next process: in `JAX_COMPILATION_CACHE_DIR`, or in the user's cache.

    A compiled program runs on the processor that it was compiled for, so each kind of processor has its own folder there.
    JAX's key covers the program, the versions of JAX and of the compiler, flags, and the device. With
    `JAX_ENABLE_COMPILATION_CACHE=false` everything is compiled anew. So is a program whose file cannot be read or written,
    because a process died while writing it or another one is writing it now; JAX's warning of that is suppressed.
    """
    jax = importlib.import_module("jax")
    settings: dict[str, Any] = {
        "jax_persistent_cache_min_compile_time_secs": 0.0,
        "jax_persistent_cache_min_entry_size_bytes": -1,
    }
    if not os.environ.get("JAX_COMPILATION_CACHE_DIR"):
        kind = hashlib.blake2b(json.dumps(_processor(), sort_keys=True).encode(), digest_size=8).hexdigest()
        settings["jax_compilation_cache_dir"] = str(user_cache() / "compiled" / kind)
    for name, value in settings.items():
        if name.upper() not in os.environ:
            jax.config.update(name, value)
    warnings.filterwarnings("ignore", _CACHE_WARNING)
    importlib.import_module("jax.monitoring").register_event_listener(_count_cache_event)


#: How that warning begins.
_CACHE_WARNING = "Error (reading|writing) persistent compilation cache entry"
#: How often JAX has looked up a compiled program, and found it.
_CACHE_EVENTS = {"/jax/compilation_cache/compile_requests_use_cache": 0, "/jax/compilation_cache/cache_hits": 0}


def _count_cache_event(event: str, **_: Any) -> None:
    if event in _CACHE_EVENTS:
        _CACHE_EVENTS[event] += 1


def compiled_before() -> dict[str, int]:
    """Return how many programs JAX has looked up in its compilation cache, and how many it found there."""
    requested, found = _CACHE_EVENTS.values()
    return {"programs": requested, "taken_from_cache": found}


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
            k: v for k, v in sorted(os.environ.items()) if k.startswith(_VARIABLES) and not k.endswith(_PATHS)
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
