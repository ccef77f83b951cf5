import json
import os
import platform
import subprocess
import sys
from datetime import UTC, datetime

import pytest

from chainback.environment import environment, version


def test_it_names_versions_machine_and_flags(monkeypatch) -> None:
    monkeypatch.setenv("XLA_FLAGS", "--xla_cpu_enable_fast_math=true")
    monkeypatch.setenv("SECRET_TOKEN", "hush")
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", "hush")
    facts = environment(datetime(2026, 1, 1, tzinfo=UTC))
    assert facts["time"] == "2026-01-01T00:00:00+00:00"
    assert {"jax", "jaxlib", "numpy"} <= set(facts["packages"])
    assert facts["variables"]["XLA_FLAGS"] == "--xla_cpu_enable_fast_math=true"
    assert "hush" not in json.dumps(facts)
    assert facts["processor"]["model"] or facts["machine"]


def test_a_package_that_is_not_there_has_no_version() -> None:
    assert version("no-such-package") == ""


_FAULTS = """
import resource, sys, threading
import numpy as np
from chainback import environment

if sys.argv[1] == "kept":
    environment._keep_memory()

def work():
    for _ in range(300):
        [np.ones(1 << 17) for _ in range(8)]

work_in_a_thread = threading.Thread(target=work)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
work_in_a_thread.start(), work_in_a_thread.join()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="needs glibc")
def test_memory_that_arrays_leave_is_kept() -> None:
    kept, returned = (
        int(subprocess.run([sys.executable, "-c", _FAULTS, how], capture_output=True, text=True, check=True).stdout)
        for how in ("kept", "returned")
    )
    assert kept < 5_000  # eight times 256 pages, once
    assert returned > 5 * kept


_START = "from chainback.environment import start_jax; start_jax()"
_COMPILE = "import jax; print(jax.jit(lambda x: 2 * x + 1)(20.5))"


def test_a_compiled_program_that_cannot_be_read_is_compiled_anew_without_a_warning(tmp_path) -> None:
    settings = {"JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0", "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1"}
    variables = os.environ | settings | {"JAX_COMPILATION_CACHE_DIR": str(tmp_path), "JAX_PLATFORMS": "cpu"}

    def stderr_of(*lines: str) -> str:
        command = [sys.executable, "-c", "\n".join(lines)]
        done = subprocess.run(command, capture_output=True, text=True, env=variables, check=True)
        assert done.stdout == "42.0\n"
        return done.stderr

    assert stderr_of(_START, _COMPILE) == ""
    kept = [file for file in tmp_path.iterdir() if file.is_file()]
    assert kept
    for file in kept:
        file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    assert "Error reading persistent compilation cache entry" in stderr_of(_COMPILE), "JAX itself warns"
    assert stderr_of(_START, _COMPILE) == ""
