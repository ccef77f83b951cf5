"""Pictures: whole without a network, and one clear sentence where the browser that draws them is absent."""

import re
from pathlib import Path

import pandas as pd
import pytest

from chainback import ChainbackError
from chainback.engines import ENGINES

pictures = pytest.importorskip("chainback.pictures")


def engines() -> pd.DataFrame:
    rows = []
    for place, version in enumerate(("0.5", "0.6", "0.7")):
        for name in ENGINES:
            figures = {"error_u_rms": 10.0 + place, "run_ns_per_layer": 100.0, "digest": "0" if place else "1"}
            verdict = "rejected" if name == "reverse-scan" and place == 0 else "accepted"
            rows.append({"jax": version, "engine": name, "verdict": verdict, **figures})
    return pd.DataFrame(rows)


def test_a_history_is_drawn_with_every_engine_every_change_and_every_rejection() -> None:
    figure = pictures.draw_history(engines())
    assert {trace.name for trace in figure.data if trace.type == "scatter"} == set(ENGINES)
    styles = [(trace.line.color, trace.line.dash) for trace in figure.data if trace.type == "scatter"]
    assert len(set(styles)) == len(ENGINES), "no two engines look alike"
    bits = next(trace for trace in figure.data if trace.type == "heatmap")
    assert [list(row) for row in bits.z] == [[0, 1, 1]] * len(ENGINES)
    assert [list(row) for row in bits.text].count(["✕", "", ""]) == 1


def test_html_needs_no_network(tmp_path: Path) -> None:
    pictures.save(pictures.draw_history(engines()), tmp_path / "history.html")
    text = (tmp_path / "history.html").read_text()
    assert not re.search(r"<(script|link)[^>]+(src|href)=", text)
    assert "triangular-substitution" in text


def test_without_a_browser_there_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    figure = pictures.draw_history(engines())

    def absent(*_: object, **__: object) -> None:
        raise RuntimeError("Kaleido requires Google Chrome to be installed.\n\nEither download it, or …")

    monkeypatch.setattr(type(figure), "to_image", absent)
    with pytest.raises(
        ChainbackError, match=r"cannot draw a.svg: .*Chrome to be installed.*or ask for .html"
    ) as caught:
        pictures.save(figure, tmp_path / "a.svg")
    assert len(str(caught.value).splitlines()) == 1
    assert not (tmp_path / "a.svg").exists()
