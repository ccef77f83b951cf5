"""uv and the index: what is offered, what a reason is, and what is said where uv is not."""

from pathlib import Path

import pytest

from chainback import upgrade
from chainback.errors import BuildError
from chainback.versions import packages
from chainback.versions.environments import Environments
from chainback.versions.packages import minors


def test_minor_releases(monkeypatch: pytest.MonkeyPatch) -> None:
    offered = ["0.10.0", "0.9.0.1", "0.9.0", "0.5.3", "0.5.0", "0.4.31", "0.4.30", "0.4.29", "0.11.0rc1"]
    monkeypatch.setattr(packages, "offered", lambda pre: [o for o in offered if pre or "rc" not in o])
    assert minors() == ["0.4.30", "0.4.31", "0.5.3", "0.9.0.1", "0.10.0"]


@pytest.mark.parametrize(
    ("output", "reason"),
    [
        ("error: No solution\n  cause: Because a\n         And because b\n\nhint: do this", "Because a"),
        (
            "  × No solution found:\n  ╰─▶ Because there is no version of jax==9",
            "Because there is no version of jax==9",
        ),
        ("warning: x\nerror: it broke\n", "error: it broke"),
        ("", "uv failed and did not say why"),
    ],
)
def test_uvs_reason_in_one_line(output: str, reason: str) -> None:
    assert packages._reason(output) == reason


def test_without_uv_there_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def nowhere() -> str:
        raise FileNotFoundError

    monkeypatch.setattr(packages, "find_uv_bin", nowhere)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert upgrade("0.4.38", ["0.5.0"], environments=Environments(tmp_path)).exit_code == 5
    packages.offered.cache_clear()
    with pytest.raises(BuildError, match="uv is not there: pip install uv"):
        upgrade("0.4.38", ["newest"], environments=Environments(tmp_path))
