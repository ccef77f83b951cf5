"""Pictures: whole without a network, and one clear sentence where the browser that draws them is absent."""

import re
from pathlib import Path

import pandas as pd
import pytest

from chainback import ChainbackError, UsageError
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
    """The browser that plotly's own exporter looks for is not there, for real."""
    pytest.importorskip("kaleido")
    monkeypatch.setenv("BROWSER_PATH", str(tmp_path / "no-such-browser"))
    with pytest.raises(ChainbackError) as caught:
        pictures.save(pictures.draw_history(engines()), tmp_path / "a.svg")
    said = "cannot draw a.svg: Kaleido requires Google Chrome to be installed: install Chrome or Chromium, or ask for .html"
    assert str(caught.value) == said
    assert list(tmp_path.iterdir()) == []


def test_a_browser_that_does_not_start_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError(("The browser seemed to close immediately.", "more"))

    monkeypatch.setattr(pictures.plotly.io, "write_images", broken)
    with pytest.raises(ChainbackError, match=r"^cannot draw a.svg: .*close immediately.*or ask for .html$") as caught:
        pictures.save(pictures.draw_history(engines()), tmp_path / "a.svg")
    assert len(str(caught.value).splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


def test_without_kaleido_there_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    figure = pictures.draw_history(engines())
    monkeypatch.setattr(pictures.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ChainbackError, match=r"cannot draw a.svg: kaleido is not there: pip install"):
        pictures.save(figure, tmp_path / "a.svg")


def test_other_pictures_and_other_places_are_refused(tmp_path: Path) -> None:
    figure = pictures.draw_history(engines())
    with pytest.raises(UsageError, match=r"cannot draw a.jpg: a picture ends in .html, .svg or .png"):
        pictures.save(figure, tmp_path / "a.jpg")
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match=r"cannot write .*a.svg: "):
        pictures.save(figure, tmp_path / "file" / "a.svg")
