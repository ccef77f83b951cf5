"""A job under one version of JAX, in an environment of its own.

Environments are built by uv, with a Python for which that JAX has wheels. In each runs this very chainback, from its own
source, so that all that differs is JAX and what JAX requires. Results are kept by all that decides them: versions, machine,
flags, cases, and the source of chainback; a second run reads them.

Nothing here imports JAX.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.metadata
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

from packaging.requirements import Requirement

from chainback.environment import environment, user_cache
from chainback.errors import BuildError
from chainback.reporting.comparison import Reading, read

__all__ = ["DEFAULT_JOB", "Job", "Laboratory", "Run", "Tell", "cache_folder", "source_digest", "uv"]

try:
    from uv import find_uv_bin
except ImportError:  # it may be installed by other means

    def find_uv_bin() -> str:
        """Return where uv is."""
        raise FileNotFoundError


#: Pythons to build an environment with: this one first, then the others.
_PYTHONS = tuple(dict.fromkeys((f"{sys.version_info.major}.{sys.version_info.minor}", "3.12", "3.13", "3.11", "3.14")))
_PACKAGE = Path(__file__).parents[1]
#: Modules that do not run in another environment, or decide nothing there.
_ONLY_READ = (
    "actions",
    "baselines",
    "chronicle",
    "comparison",
    "faults",
    "peers",
    "pictures",
    "reproduction",
    "scripts",
)
_ONLY_READ += ("strategies", "versions")
#: Seconds that uv, and one run, may take.
_BUILD_S, _RUN_S = 1800.0, 6 * 3600.0
#: What pip installs with JAX for a platform.
_EXTRAS = {"gpu": "[cuda12]", "cuda": "[cuda12]", "tpu": "[tpu]"}
#: Told what is being done.
Tell = Callable[[str], None]


@dataclass(frozen=True)
class Job:
    """What is run under every version.

    Attributes:
        cases: As for `verify`.
        seed: As for `verify`.
        engines: Names, separated by commas, all or none; as on the command line.
        own: Engines of the user's own, as `package.module:name`.
        ensembles: Names, separated by commas, or all.
        case: The id of one case to run instead, or "".
        functions: Whether every elementary function is swept, too.
        platform: "cpu", "gpu", …; "" for JAX's own choice.
        xla_flags: For the environment variable XLA_FLAGS, in place of what it is now; "" leaves that.
    """

    cases: int = 20_000
    seed: int = 0
    engines: str = "all"
    own: tuple[str, ...] = ()
    ensembles: str = "all"
    case: str = ""
    functions: bool = True
    platform: str = ""
    xla_flags: str = ""

    def arguments(self) -> list[str]:
        """Return the command line of `verify`."""
        found = ["verify", "--quiet", "--engines", self.engines]
        found += [part for name in self.own for part in ("--engine", name)]
        found += ["--platform", self.platform] if self.platform else []
        if self.case:
            return [*found, "--case", self.case]
        found += ["--cases", str(self.cases), "--seed", str(self.seed), "--ensembles", self.ensembles]
        return found + (["--functions"] if self.functions else [])

    def variables(self) -> dict[str, str]:
        """Return the environment to run in."""
        kept = {name: value for name, value in os.environ.items() if name not in ("PYTHONHOME", "VIRTUAL_ENV")}
        return kept | {"PYTHONPATH": str(_source())} | ({"XLA_FLAGS": self.xla_flags} if self.xla_flags else {})


DEFAULT_JOB = Job()


@dataclass(frozen=True)
class Run:
    """What came of one version.

    Attributes:
        jax: The version, as it was resolved.
        python: Which Python it ran under.
        reading: Its report; None where there is none.
        failure: Why there is none.
        seconds: It took to run, or had taken.
        cached: Whether it was read, not run.
    """

    jax: str
    python: str = ""
    reading: Reading | None = None
    failure: str = ""
    seconds: float = 0.0
    cached: bool = False

    @property
    def verdict(self) -> str:
        """The gate's own verdict on this version."""
        codes = {0: "accepted", 1: "rejected", 3: "undecided"}
        return codes[self.reading.environment["exit_code"]] if self.reading else "not built"


@dataclass
class Laboratory:
    """Environments and results, built when they are first asked for."""

    folder: Path
    pre: bool
    tell: Tell
    _pythons: dict[str, Path] = field(default_factory=dict)

    def run(self, jax: str, job: Job) -> Run:
        """Run a job under a version of JAX, or read what an earlier run found."""
        try:
            python = self._environment(jax, job)
        except BuildError as error:
            return Run(jax, failure=str(error))
        spoken = subprocess.run([python, "-V"], capture_output=True, text=True, check=True).stdout.split()[-1]
        folder = self._place(jax, spoken, python, job)
        cached = (folder / "environment.json").is_file()
        if not cached:
            self.tell(f"running under jax {jax}, Python {spoken}")
            if failure := self._run(python, job, folder):
                return Run(jax, spoken, failure=failure)
        reading = read(folder)
        return Run(jax, spoken, reading, "", reading.environment["elapsed_s"], cached)

    def _place(self, jax: str, spoken: str, python: Path, job: Job) -> Path:
        """Return the folder for what this run finds: its name is a digest of all that decides it."""
        installed = sorted(path.name for path in python.parent.parent.glob("lib/python*/site-packages/*.dist-info"))
        here = environment(datetime.now(UTC))
        decides = [spoken, installed, job.arguments(), job.variables().get("XLA_FLAGS", ""), source_digest(_ONLY_READ)]
        decides += [here[name] for name in ("machine", "processor", "cores")]
        decides += [{k: v for k, v in here["variables"].items() if k != "XLA_FLAGS"}, platform.system()]
        name = hashlib.blake2b(json.dumps(decides, sort_keys=True).encode(), digest_size=8).hexdigest()
        return self.folder / "results" / f"jax-{jax}-{name}"

    def _run(self, python: Path, job: Job, folder: Path) -> str:
        """Run a job and keep its report; return why there is none, or ""."""
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent) as made:
            command = [str(python), "-m", "chainback", *job.arguments(), "--output", str(Path(made) / "report")]
            try:
                done = subprocess.run(
                    command, capture_output=True, text=True, env=job.variables(), timeout=_RUN_S, check=False
                )
            except subprocess.TimeoutExpired:
                return f"it did not end within {_RUN_S / 3600:g} hours"
            facts = Path(made) / "report" / "environment.json"
            if done.returncode not in (0, 1, 3) or not facts.is_file():
                return f"it ended with exit code {done.returncode}: {_last_line(done.stderr)}"
            known = json.loads(facts.read_text(encoding="utf-8")) | {"exit_code": done.returncode}
            facts.write_text(json.dumps(known, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
            if not known["complete"]:
                return f"it was cut short: {known.get('stopped', '')}"
            shutil.rmtree(folder, ignore_errors=True)
            os.replace(Path(made) / "report", folder)
        return ""

    def _environment(self, jax: str, job: Job) -> Path:
        """Return the Python of an environment with this JAX, built if need be.

        Raises:
            BuildError: It could not be built.
        """
        asked = [name.partition(":")[0].strip() for name in job.platform.split(",")]
        extra = next((_EXTRAS[name] for name in asked if name in _EXTRAS), "")
        # A pre-release of JAX needs one of jaxlib; of all other packages it needs none.
        wanted = [f"jax{extra}=={jax}", *(["jaxlib>=0.dev0"] if self.pre else []), *_requirements()]
        reasons = []
        for python in _PYTHONS:
            place = self.folder / "environments" / f"jax-{jax}{extra.strip('[]')}{'-pre' * self.pre}-python-{python}"
            interpreter = place / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
            if (place / "complete").is_file():
                return interpreter
            try:
                self._require_resolvable(python, wanted)
                base = _interpreter(python)
            except BuildError as error:
                reasons.append(str(error))
                continue
            self.tell(f"building an environment with jax {jax}, Python {python}")
            shutil.rmtree(place, ignore_errors=True)
            uv("venv", "--quiet", "--python", base, str(place))
            uv("pip", "install", "--quiet", "--python", str(interpreter), *wanted)
            (place / "complete").touch()
            return interpreter
        # Of the reasons, one that is not about a Python says more.
        raise BuildError(next((reason for reason in reasons if "ython" not in reason), reasons[-1]))

    def _require_resolvable(self, python: str, wanted: Sequence[str]) -> None:
        """Raise BuildError, with uv's reason, where these packages cannot be had together for a Python."""
        with tempfile.TemporaryDirectory() as folder:
            listed = Path(folder) / "requirements.in"
            listed.write_text("\n".join(wanted) + "\n")
            uv("pip", "compile", "--quiet", "--python-version", python, str(listed))


def _interpreter(python: str) -> str:
    """Return where a Python is, installed by uv if need be.

    Raises:
        BuildError: It is not there and cannot be installed.
    """
    with contextlib.suppress(BuildError):
        return uv("python", "find", "--quiet", python).strip()
    # pyenv's shims stand in uv's way: they are on the path, and do not run.
    root = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    if found := sorted(root.glob(f"versions/{python}.*/bin/python")):
        return str(found[-1])
    try:
        uv("python", "install", "--quiet", python)
        return uv("python", "find", "--quiet", "--managed-python", python).strip()
    except BuildError as error:
        raise BuildError(f"Python {python} is not there: {error}") from None


def _requirements() -> list[str]:
    """Return what chainback needs to run, but for JAX, and for what it needs to build environments."""
    try:
        listed = importlib.metadata.requires("chainback") or []
    except importlib.metadata.PackageNotFoundError:
        raise BuildError("chainback is not installed here, so that nobody knows what it requires") from None
    needed = [Requirement(line) for line in listed]
    return [str(r) for r in needed if r.marker is None and r.name not in ("jax", "jaxlib", "uv")]


@cache
def source_digest(but: tuple[str, ...] = ()) -> str:
    """Return a digest of chainback's own source, but for some modules."""
    digest = hashlib.blake2b(digest_size=16)
    for path in sorted(_PACKAGE.rglob("*")):
        if path.is_file() and path.suffix != ".pyc" and path.stem not in but:
            digest.update(str(path.relative_to(_PACKAGE)).encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


@cache
def _source() -> Path:
    """Return a folder that holds chainback alone: the one it is installed in may hold this environment's JAX as well."""
    folder = user_cache() / "source" / source_digest()
    if not folder.is_dir():
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent) as made:
            copy = Path(made) / "source"
            shutil.copytree(_PACKAGE, copy / "chainback", ignore=shutil.ignore_patterns("__pycache__"))
            try:
                os.replace(copy, folder)
            except OSError:  # somebody else was quicker
                if not folder.is_dir():
                    raise
    return folder


def cache_folder(folder: str | os.PathLike[str] | None) -> Path:
    """Return the folder for environments and results: the one that is named, or chainback's own in the user's cache."""
    return (Path(folder) if folder is not None else user_cache()).absolute()


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
        done = subprocess.run([command, *arguments], capture_output=True, text=True, timeout=_BUILD_S, check=False)
    except subprocess.TimeoutExpired:
        raise BuildError(f"uv did not end within {time.monotonic() - start:.0f} s") from None
    if done.returncode:
        raise BuildError(_reason(done.stderr))
    return done.stdout


def _reason(said: str) -> str:
    """Return uv's reason in one line."""
    parts = [line.strip(" ×╰─▶├│\t") for line in said.splitlines()]
    lines = [part for part in parts if part and not part.startswith(("hint:", "warning:"))]
    causes = [line.removeprefix("cause:").strip() for line in lines if line.startswith("cause:")]
    because = [line for line in lines if line.startswith("Because")]
    return (because or causes or lines or ["uv failed and did not say why"])[0]


def _last_line(said: str) -> str:
    return ([line.strip() for line in said.splitlines() if line.strip()] or ["it did not say why"])[-1][:240]
