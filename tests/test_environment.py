import json
from datetime import UTC, datetime

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
