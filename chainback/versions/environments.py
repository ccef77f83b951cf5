"""A request run under one version of JAX, in an environment of its own.

Environments are built by uv, with a Python for which that JAX has wheels. In each runs this very chainback, from its own
source, so that all that differs is JAX and what JAX requires. Results are kept by all that decides them: versions, machine,
flags, cases, and the source of chainback; a second run reads them.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

from chainback.environment import environment, user_cache
from chainback.errors import BuildError
from chainback.reporting.reading import Reading, read
from chainback.running.request import Request
from chainback.versions import packages
from chainback.versions.source import deciding_digest, source_folder

__all__ = ["DEFAULT_REQUEST", "Environments", "Run"]

#: What is run under every version unless another request is handed in.
DEFAULT_REQUEST = Request(cases=20_000, functions=True)
#: Pythons to build an environment with: this one first, then the others.
_PYTHONS = tuple(dict.fromkeys((f"{sys.version_info.major}.{sys.version_info.minor}", "3.12", "3.13", "3.11", "3.14")))
#: Seconds that one run may take.
_LIMIT_S = 6 * 3600.0
#: What pip installs with JAX for a platform.
_EXTRAS = {"gpu": "[cuda12]", "cuda": "[cuda12]", "tpu": "[tpu]"}


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
class Environments:
    """An environment for each version of JAX, and the results of requests in them, both made when first asked for.

    Attributes:
        folder: Where both are kept; default: chainback's own in the user's cache folder.
        pre: Whether release candidates and nightly builds count, where the index that uv and pip are set to has them.
        xla_flags: For the environment variable XLA_FLAGS, in place of what it is now; "" leaves that.
        log: Called with what is being done.
    """

    folder: Path = field(default_factory=user_cache)
    pre: bool = False
    xla_flags: str = ""
    log: Callable[[str], None] = lambda line: None

    def run(self, jax: str, request: Request) -> Run:
        """Run a request under a version of JAX, or read what an earlier run found."""
        try:
            interpreter = self._interpreter(jax, request.platform or "")
        except BuildError as error:
            return Run(jax, failure=str(error))
        done = subprocess.run([interpreter, "-V"], capture_output=True, text=True, check=True)
        python = done.stdout.split()[-1]
        folder = self._result_folder(jax, python, interpreter, request)
        cached = (folder / "environment.json").is_file()
        if not cached:
            self.log(f"running under jax {jax}, Python {python}")
            if failure := self._run(interpreter, request, folder):
                return Run(jax, python, failure=failure)
        reading = read(folder)
        return Run(jax, python, reading, "", reading.environment["elapsed_s"], cached)

    def _result_folder(self, jax: str, python: str, interpreter: Path, request: Request) -> Path:
        """Return the folder for a result: its name is a digest of all that decides it."""
        installed = sorted(p.name for p in interpreter.parent.parent.glob("lib/python*/site-packages/*.dist-info"))
        here = environment(datetime.now(UTC))
        flags = self._variables().get("XLA_FLAGS", "")
        command = replace(request, output=None, junit=None).command()
        decides = [python, installed, command, flags, deciding_digest()]
        decides += [here[name] for name in ("machine", "processor", "cores")]
        decides += [{k: v for k, v in here["variables"].items() if k != "XLA_FLAGS"}, platform.system()]
        name = hashlib.blake2b(json.dumps(decides, sort_keys=True).encode(), digest_size=8).hexdigest()
        return self.folder.absolute() / "results" / f"jax-{jax}-{name}"

    def _variables(self) -> dict[str, str]:
        """Return the environment variables to run with."""
        kept = {name: value for name, value in os.environ.items() if name not in ("PYTHONHOME", "VIRTUAL_ENV")}
        return kept | {"PYTHONPATH": str(source_folder())} | ({"XLA_FLAGS": self.xla_flags} if self.xla_flags else {})

    def _run(self, interpreter: Path, request: Request, folder: Path) -> str:
        """Run a request and keep its report; return why there is none, or ""."""
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent) as made:
            report = Path(made) / "report"
            command = [str(interpreter), "-m", "chainback", *replace(request, output=report).command(), "--quiet"]
            try:
                done = subprocess.run(
                    command, capture_output=True, text=True, env=self._variables(), timeout=_LIMIT_S, check=False
                )
            except subprocess.TimeoutExpired:
                return f"it did not end within {_LIMIT_S / 3600:g} hours"
            facts = report / "environment.json"
            if done.returncode not in (0, 1, 3) or not facts.is_file():
                return f"it ended with exit code {done.returncode}: {_last_line(done.stderr)}"
            known = json.loads(facts.read_text(encoding="utf-8")) | {"exit_code": done.returncode}
            facts.write_text(json.dumps(known, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
            if not known["complete"]:
                return f"it was cut short: {known.get('stopped', '')}"
            shutil.rmtree(folder, ignore_errors=True)
            os.replace(report, folder)
        return ""

    def _interpreter(self, jax: str, platforms: str) -> Path:
        """Return the Python of an environment with this JAX, built if need be.

        Raises:
            BuildError: It could not be built.
        """
        asked = [name.partition(":")[0].strip() for name in platforms.split(",")]
        extra = next((_EXTRAS[name] for name in asked if name in _EXTRAS), "")
        # A pre-release of JAX needs one of jaxlib; of all other packages it needs none.
        wanted = [f"jax{extra}=={jax}", *(["jaxlib>=0.dev0"] if self.pre else []), *packages.requirements()]
        reasons = []
        for python in _PYTHONS:
            name = f"jax-{jax}{extra.strip('[]')}{'-pre' * self.pre}-python-{python}"
            place = self.folder.absolute() / "environments" / name
            interpreter = place / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
            if (place / "complete").is_file():
                return interpreter
            try:
                packages.require_resolvable(python, wanted)
                base = packages.python(python)
            except BuildError as error:
                reasons.append(str(error))
                continue
            self.log(f"building an environment with jax {jax}, Python {python}")
            shutil.rmtree(place, ignore_errors=True)
            packages.uv("venv", "--quiet", "--python", base, str(place))
            packages.uv("pip", "install", "--quiet", "--python", str(interpreter), *wanted)
            (place / "complete").touch()
            return interpreter
        # Of the reasons, one that is not about a Python says more.
        raise BuildError(next((reason for reason in reasons if "ython" not in reason), reasons[-1]))


def _last_line(output: str) -> str:
    return ([line.strip() for line in output.splitlines() if line.strip()] or ["it did not say why"])[-1][:240]
