"""chainback's own source: the copy that other environments run, and the digest of what decides a result."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from chainback.environment import user_cache

__all__ = ["NOT_DECIDING", "PACKAGE", "deciding_digest", "source_folder"]

PACKAGE = Path(__file__).parents[1]
#: The rule: every room decides a result, except those that start runs, look into them or show them, named here.
NOT_DECIDING = ("__init__.py", "__main__.py", "cli", "diagnosis", "reporting/pages", "studies", "versions")
#: Of reporting, likewise: what only prints, annotates or compares.
NOT_DECIDING += ("reporting/ci.py", "reporting/comparison.py", "reporting/reading.py", "reporting/row_outcomes.py")
NOT_DECIDING += ("reporting/sections", "reporting/terminal.py", "reporting/text.py")


def deciding_digest(package: Path = PACKAGE) -> str:
    """Return a digest of the files that decide a result; a change of any other file keeps the results that are there."""
    return _digest(package, (file for file in _files(package) if not _only_shows(file.relative_to(package))))


@cache
def source_folder() -> Path:
    """Return a folder that holds chainback alone: the one it is installed in may hold this environment's JAX as well."""
    folder = user_cache() / "source" / _digest(PACKAGE, _files(PACKAGE))
    if not folder.is_dir():
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent) as made:
            copy = Path(made) / "source"
            shutil.copytree(PACKAGE, copy / "chainback", ignore=shutil.ignore_patterns("__pycache__"))
            try:
                os.replace(copy, folder)
            except OSError:  # another process was quicker
                if not folder.is_dir():
                    raise
    return folder


def _only_shows(file: Path) -> bool:
    return any(file.is_relative_to(place) for place in NOT_DECIDING)


def _files(package: Path) -> Iterator[Path]:
    return (path for path in sorted(package.rglob("*")) if path.is_file() and path.suffix != ".pyc")


def _digest(package: Path, files: Iterator[Path]) -> str:
    digest = hashlib.blake2b(digest_size=16)
    for path in files:
        digest.update(str(path.relative_to(package)).encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()
