from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from made_up_versions import MadeUp


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., MadeUp]:
    """Put made-up versions in place of the index and of every environment."""

    def install(of: Any, broken: tuple[str, ...] = ()) -> MadeUp:
        made = MadeUp(tmp_path, of, broken)
        made.install(monkeypatch)
        return made

    return install
