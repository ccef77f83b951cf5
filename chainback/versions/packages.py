"""uv and the package index: which versions of JAX there are, which Pythons, and what can be installed together."""

from __future__ import annotations

import contextlib
import importlib.metadata
import os
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from packaging.requirements import Requirement
from packaging.version import InvalidVersion, Version

from chainback.environment import version
from chainback.errors import BuildError, UsageError

__all__ = ["minors", "offered", "python", "require_resolvable", "requirements", "resolve", "uv"]

try:
    from uv import find_uv_bin
except ImportError:  # it may be installed by other means

    def find_uv_bin() -> str:
        """Return where uv is."""
        raise FileNotFoundError


#: Seconds that one call of uv may take.
_LIMIT_S = 1800.0


def uv(*arguments: str) -> str:
    """Run uv and return what it prints.

    Raises:
        BuildError: It is not there, or fails; with its reason in one line.
    """
    try:
        command = find_uv_bin()
    except FileNotFoundError:
        command = shutil.which("uv") or ""
    if not command:
        raise BuildError("uv is not there: pip install uv")
    start = time.monotonic()
    try:
        done = subprocess.run([command, *arguments], capture_output=True, text=True, timeout=_LIMIT_S, check=False)
    except subprocess.TimeoutExpired:
        raise BuildError(f"uv did not end within {time.monotonic() - start:.0f} s") from None
    if done.returncode:
        raise BuildError(_reason(done.stderr))
    return done.stdout


def _reason(output: str) -> str:
    """Return uv's reason in one line."""
    parts = [line.strip(" ×╰─▶├│\t") for line in output.splitlines()]
    lines = [part for part in parts if part and not part.startswith(("hint:", "warning:"))]
    causes = [line.removeprefix("cause:").strip() for line in lines if line.startswith("cause:")]
    because = [line for line in lines if line.startswith("Because")]
    return (because or causes or lines or ["uv failed and did not say why"])[0]


def resolve(name: str, pre: bool) -> str:
    """Return the version of JAX that a name means.

    Args:
        name: A version, "installed" or "newest".
        pre: Whether release candidates and nightly builds count.

    Raises:
        UsageError: It means none.
        BuildError: The index cannot be asked.
    """
    if name == "installed":
        found = version("jax")
        if not found:
            raise UsageError("no JAX is installed here: say which version to start from")
        return found
    if name == "newest":
        return offered(pre)[0]
    try:
        return str(Version(name))
    except InvalidVersion:
        raise UsageError(f"{name!r:.40} is no version of JAX: write one such as 0.10.2, installed or newest") from None


@cache
def offered(pre: bool) -> list[str]:
    """Return the versions of JAX that the index offers, the newest first.

    Raises:
        BuildError: The index cannot be asked.
    """
    asked = ["tool", "run", "--quiet", "pip", "index", "versions", "jax", "--ignore-requires-python"]
    listed = re.search(r"Available versions: (.*)", uv(*asked, *(["--pre"] if pre else [])))
    if listed is None:
        raise BuildError("the package index does not say which versions of JAX it has")
    return sorted((part.strip() for part in listed[1].split(",")), key=Version, reverse=True)


def minors(first: str = "0.4.30") -> list[str]:
    """Return the last release of each minor version of JAX that the index offers, from one on, oldest first.

    Before 0.5 every release is a minor one.
    """
    of_minor: dict[tuple[int, ...], Version] = {}
    for name in map(Version, offered(False)):
        if name >= Version(first):
            place = name.release[: 3 if name < Version("0.5") else 2]
            of_minor[place] = max(name, of_minor.get(place, name))
    return [str(name) for name in sorted(of_minor.values())]


def requirements() -> list[str]:
    """Return what chainback needs to run, but for JAX, and for what it needs to build environments.

    Raises:
        BuildError: chainback is not installed.
    """
    try:
        listed = importlib.metadata.requires("chainback") or []
    except importlib.metadata.PackageNotFoundError:
        raise BuildError("chainback is not installed here, so that nobody knows what it requires") from None
    needed = [Requirement(line) for line in listed]
    return [str(r) for r in needed if r.marker is None and r.name not in ("jax", "jaxlib", "uv")]


def require_resolvable(python: str, packages: Sequence[str]) -> None:
    """Refuse packages that cannot be had together for a Python.

    Raises:
        BuildError: With uv's reason.
    """
    with tempfile.TemporaryDirectory() as folder:
        listed = Path(folder) / "requirements.in"
        listed.write_text("\n".join(packages) + "\n")
        uv("pip", "compile", "--quiet", "--python-version", python, str(listed))


def python(version: str) -> str:
    """Return where a Python is, installed by uv if need be.

    Raises:
        BuildError: It is not there and cannot be installed.
    """
    with contextlib.suppress(BuildError):
        return uv("python", "find", "--quiet", version).strip()
    # pyenv's shims stand in uv's way: they are on the path, and do not run.
    root = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    if found := sorted(root.glob(f"versions/{version}.*/bin/python")):
        return str(found[-1])
    try:
        uv("python", "install", "--quiet", version)
        return uv("python", "find", "--quiet", "--managed-python", version).strip()
    except BuildError as error:
        raise BuildError(f"Python {version} is not there: {error}") from None
