"""The same cases under other versions of JAX, each in an environment of its own: upgrade, bisect, history.

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
import re
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
from typing import Any

from packaging.requirements import Requirement
from packaging.version import InvalidVersion, Version
from rich.box import SIMPLE_HEAD
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from chainback.comparison import Comparison, Reading, compare, read
from chainback.environment import environment, version
from chainback.errors import BuildError, UsageError
from chainback.report import markdown_table, records

__all__ = ["Bisection", "Job", "Laboratory", "Run", "Upgrade", "bisect", "cache_folder", "minors", "upgrade"]

try:
    from uv import find_uv_bin
except ImportError:  # it may be installed by other means

    def find_uv_bin() -> str:
        """Return where uv is."""
        raise FileNotFoundError


#: Pythons to build an environment with: this one first, then the others.
_PYTHONS = tuple(dict.fromkeys((f"{sys.version_info.major}.{sys.version_info.minor}", "3.12", "3.13", "3.11", "3.14")))
_PACKAGE = Path(__file__).parent
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


@dataclass(frozen=True)
class Upgrade:
    """What changes in the gradients from one version of JAX to others.

    Attributes:
        old: The run to compare with.
        new: The others.
        comparisons: By version, where both ran.
    """

    old: Run
    new: tuple[Run, ...]
    comparisons: dict[str, Comparison]

    @property
    def exit_code(self) -> int:
        """5 where an environment could not be built, else the worst of the comparisons': 1 worse, 3 not finished, 0."""
        if any(run.reading is None for run in (self.old, *self.new)):
            return 5
        codes = [comparison.exit_code for comparison in self.comparisons.values()]
        return next((code for code in (1, 3) if code in codes), 0)

    def print(self, console: Console | None = None) -> None:
        """Print the table, the comparisons and the verdict."""
        (console or Console()).print(self)

    def __rich__(self) -> RenderableType:
        table = Table(box=SIMPLE_HEAD, pad_edge=False)
        for name, justify in zip(_HEADER, ("left", "left", "left", "right", "left", "left"), strict=True):
            table.add_column(name, justify=justify)  # type: ignore[arg-type]
        for cells in self._rows():
            table.add_row(*cells)
        failures = [Text(f"{run.jax}: {run.failure}", style="yellow") for run in self._failed()]
        parts: list[RenderableType] = [table, *failures]
        for comparison in self.comparisons.values():
            parts += [comparison, Text("")]
        return Group(*parts)

    def markdown(self) -> str:
        """Return the same as Markdown, for a pull request."""
        failures = [f"* {run.jax}: {run.failure}" for run in self._failed()]
        parts = [markdown_table(_HEADER, self._rows()), *failures, *(c.markdown() for c in self.comparisons.values())]
        return "\n\n".join(parts)

    @property
    def worse(self) -> list[dict[str, Any]]:
        """The rows that got worse, of all comparisons."""
        return [row | {"row": f"{name}: {row['row']}"} for name, c in self.comparisons.items() for row in c.worse]

    def write(self, folder: str | os.PathLike[str]) -> None:
        """Write each version's report, and each comparison."""
        for run in (self.old, *self.new):
            if run.reading is not None:
                shutil.copytree(run.reading.name, Path(folder) / run.jax, dirs_exist_ok=True)
        for name, comparison in self.comparisons.items():
            comparison.to_csv(Path(folder) / name / "comparison.csv")

    def _failed(self) -> list[Run]:
        return [run for run in (self.old, *self.new) if run.failure]

    def _rows(self) -> list[list[str]]:
        rows = []
        for run in (self.old, *self.new):
            against = self.comparisons.get(run.jax)
            said = "compared with" if run is self.old else against.outcome if against else ""
            rows.append([run.jax, run.python, run.verdict, f"{run.seconds:.0f}", "yes" if run.cached else "no", said])
        return rows


_HEADER = ("jax", "python", "verdict", "seconds", "cached", "against the old one")


@dataclass(frozen=True)
class Bisection:
    """Where something first changed.

    Attributes:
        metric: What: "verdict", "drift" or "digest".
        unchanged: The last version that is as the good one was.
        changed: The first that is not; "" where nothing changed.
        between: Versions in between that could not be run.
        runs: All that were tried, in order.
        comparison: Of `unchanged` with `changed`; None where nothing changed.
    """

    metric: str
    unchanged: str
    changed: str
    between: tuple[str, ...] = ()
    runs: tuple[Run, ...] = ()
    comparison: Comparison | None = None

    @property
    def exit_code(self) -> int:
        """0 where it was found, 3 where there is nothing to find."""
        return 0 if self.changed else 3

    def print(self, console: Console | None = None) -> None:
        """Print what was tried and what was found."""
        (console or Console()).print(self)

    def __rich__(self) -> RenderableType:
        tried = [f"{run.jax}: {run.failure or run.verdict}{' (cached)' if run.cached else ''}" for run in self.runs]
        if not self.changed:
            return Group(
                *map(Text, tried), Text(f"No {self.metric} changed: there is nothing to find.", style="yellow")
            )
        found = f"The first {self.metric} changed from jax {self.unchanged} to {self.changed}"
        skipped = f"; in between, {', '.join(self.between)} could not be run" if self.between else ""
        return Group(*map(Text, tried), self.comparison or "", Text(f"{found}{skipped}.", style="bold"))


def upgrade(
    old: str = "installed",
    new: Sequence[str] = ("newest",),
    *,
    job: Job = Job(),
    pre: bool = False,
    cache: str | os.PathLike[str] | None = None,
    output: str | os.PathLike[str] | None = None,
    tell: Tell | None = None,
) -> Upgrade:
    """Run the same cases under an old and under new versions of JAX, and compare.

    Args:
        old: A version, or "installed", or "newest".
        new: Likewise.
        job: What to run.
        pre: Whether release candidates and nightly builds count, where the index that uv and pip are set to has them.
        cache: Folder for environments and results; default: chainback's own in the user's cache folder.
        output: Folder to write the reports and comparisons to.
        tell: Told what is being done.

    Returns:
        All runs and comparisons. A version that cannot be installed does not keep the others from being run.

    Raises:
        UsageError: A version is none, or the installed one is asked for and there is none.
        BuildError: uv is not there, or the index cannot be asked.
    """
    laboratory = Laboratory(cache_folder(cache), pre, tell or (lambda what: None))
    wanted = [_resolve(name, pre) for name in (old, *new)]
    runs = {name: laboratory.run(name, job) for name in dict.fromkeys(wanted)}
    first, others = runs[wanted[0]], tuple(runs[name] for name in dict.fromkeys(wanted[1:]))
    comparisons = {
        run.jax: compare(first.reading.name, run.reading.name) for run in others if first.reading and run.reading
    }
    made = Upgrade(first, others, comparisons)
    if output is not None:
        made.write(output)
    return made


def bisect(
    good: str,
    bad: str,
    *,
    metric: str | None = None,
    rows: str = "",
    job: Job = Job(),
    pre: bool = False,
    cache: str | os.PathLike[str] | None = None,
    tell: Tell | None = None,
) -> Bisection:
    """Find the release of JAX in which something first changed, by halving the versions that the index offers.

    Args:
        good: A version that is as it should be.
        bad: One that is not; older or newer.
        metric: "verdict", "drift" or "digest"; default: the first of these that differs between the two.
        rows: Look only at rows in whose name this text occurs, such as "reverse-scan batched lecture" or "gelu".
        job: What to run.
        pre: Whether release candidates and nightly builds count.
        cache: As for `upgrade`.
        tell: Told what is being done.

    Raises:
        UsageError: A version is none, or the metric is unknown.
        BuildError: uv is not there, the index cannot be asked, or `good` or `bad` cannot be run.
    """
    if metric is not None and metric not in _METRICS:
        raise UsageError(f"`metric` must be one of {', '.join(_METRICS)}, got {metric!r:.40}")
    laboratory = Laboratory(cache_folder(cache), pre, tell or (lambda what: None))
    first, last = _resolve(good, pre), _resolve(bad, pre)
    tried = {name: laboratory.run(name, job) for name in (first, last)}
    for run in tried.values():
        if run.reading is None:
            raise BuildError(f"jax {run.jax} cannot be run: {run.failure}")
    chosen = metric or next((m for m in _METRICS if _differs(tried[first], tried[last], m, rows)), _METRICS[-1])
    if not _differs(tried[first], tried[last], chosen, rows):
        return Bisection(chosen, last, "", runs=tuple(tried.values()))
    inner = [name for name in _offered(pre) if Version(name) in _Between(first, last)]
    inner.sort(key=Version, reverse=Version(first) > Version(last))
    unchanged, changed, candidates, failed = first, last, inner, []
    while candidates:
        middle = candidates[len(candidates) // 2]
        tried[middle] = run = laboratory.run(middle, job)
        if run.reading is None:  # as good as not there
            candidates = [name for name in candidates if name != middle]
            failed.append(middle)
        elif _differs(tried[first], run, chosen, rows):
            changed, candidates = middle, candidates[: candidates.index(middle)]
        else:
            unchanged, candidates = middle, candidates[candidates.index(middle) + 1 :]
    between = tuple(name for name in failed if Version(name) in _Between(unchanged, changed))
    comparison = compare(tried[unchanged].reading.name, tried[changed].reading.name)  # type: ignore[union-attr]
    return Bisection(chosen, unchanged, changed, between, tuple(tried.values()), comparison)


#: What may change, the gravest first.
_METRICS = ("verdict", "drift", "digest")


class _Between:
    def __init__(self, a: str, b: str) -> None:
        self._low, self._high = sorted((Version(a), Version(b)))

    def __contains__(self, name: Version) -> bool:
        return self._low < name < self._high


def _differs(good: Run, other: Run, metric: str, rows: str) -> bool:
    assert good.reading is not None
    assert other.reading is not None
    compared = records(compare(good.reading.name, other.reading.name).frame)
    for row in compared:
        if rows not in f"{row['table']} {row['row']}" or row["outcome"] in ("missing", "new"):
            continue
        if {
            "verdict": row["verdict_old"] != row["verdict_new"],
            "drift": row["outcome"] == "drifted",
            "digest": row["outcome"] != "identical",
        }[metric]:
            return True
    return False


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
        extra = {"gpu": "[cuda12]", "cuda": "[cuda12]", "tpu": "[tpu]"}.get(job.platform, "")
        wanted = [f"jax{extra}=={jax}", *_requirements()]
        reasons = []
        for python in _PYTHONS:
            place = self.folder / "environments" / f"jax-{jax}{extra.strip('[]')}-python-{python}"
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
            _uv("venv", "--quiet", "--python", base, str(place))
            _uv("pip", "install", "--quiet", "--python", str(interpreter), *self._prerelease(), *wanted)
            (place / "complete").touch()
            return interpreter
        # Of the reasons, one that is not about a Python says more.
        raise BuildError(next((reason for reason in reasons if "ython" not in reason), reasons[-1]))

    def _require_resolvable(self, python: str, wanted: Sequence[str]) -> None:
        """Raise BuildError, with uv's reason, where these packages cannot be had together for a Python."""
        with tempfile.TemporaryDirectory() as folder:
            listed = Path(folder) / "requirements.in"
            listed.write_text("\n".join(wanted) + "\n")
            _uv("pip", "compile", "--quiet", "--python-version", python, *self._prerelease(), str(listed))

    def _prerelease(self) -> list[str]:
        return ["--prerelease", "allow"] if self.pre else []


def _interpreter(python: str) -> str:
    """Return where a Python is, installed by uv if need be.

    Raises:
        BuildError: It is not there and cannot be installed.
    """
    with contextlib.suppress(BuildError):
        return _uv("python", "find", "--quiet", python).strip()
    # pyenv's shims stand in uv's way: they are on the path, and do not run.
    root = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    if found := sorted(root.glob(f"versions/{python}.*/bin/python")):
        return str(found[-1])
    try:
        _uv("python", "install", "--quiet", python)
        return _uv("python", "find", "--quiet", "--managed-python", python).strip()
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
    folder = _default_cache() / "source" / source_digest()
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


def _default_cache() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or (os.environ.get("LOCALAPPDATA") if os.name == "nt" else None)
    return (Path(base) if base else Path.home() / ".cache") / "chainback"


def cache_folder(folder: str | os.PathLike[str] | None) -> Path:
    """Return the folder for environments and results: the one that is named, or chainback's own in the user's cache."""
    return (Path(folder) if folder is not None else _default_cache()).absolute()


def _resolve(name: str, pre: bool) -> str:
    """Return the version that a name means.

    Raises:
        UsageError: It means none.
    """
    if name == "installed":
        found = version("jax")
        if not found:
            raise UsageError("no JAX is installed here: say which version to start from")
        return found
    if name == "newest":
        return _offered(pre)[0]
    try:
        return str(Version(name))
    except InvalidVersion:
        raise UsageError(f"{name!r:.40} is no version of JAX: write one such as 0.10.2, installed or newest") from None


@cache
def _offered(pre: bool) -> list[str]:
    """Return the versions of JAX that the index offers, the newest first.

    Raises:
        BuildError: The index cannot be asked.
    """
    asked = ["tool", "run", "--quiet", "pip", "index", "versions", "jax", "--ignore-requires-python"]
    listed = re.search(r"Available versions: (.*)", _uv(*asked, *(["--pre"] if pre else [])))
    if listed is None:
        raise BuildError("the package index does not say which versions of JAX it has")
    return sorted((part.strip() for part in listed[1].split(",")), key=Version, reverse=True)


def _uv(*arguments: str) -> str:
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


def minors(first: str = "0.4.30") -> list[str]:
    """Return the last release of each minor version of JAX that the index offers, from one on, oldest first.

    Before 0.5 every release is a minor one.
    """
    of_minor: dict[tuple[int, ...], Version] = {}
    for name in map(Version, _offered(False)):
        if name >= Version(first):
            place = name.release[: 3 if name < Version("0.5") else 2]
            of_minor[place] = max(name, of_minor.get(place, name))
    return [str(name) for name in sorted(of_minor.values())]
