"""Pictures: whole without a network, and one clear sentence where the browser that draws them is absent."""

import re
from pathlib import Path

import pandas as pd
import pytest

from chainback.engines.registry import ENGINES
from chainback.errors import ChainbackError, UsageError

pictures = pytest.importorskip("chainback.reporting.pages.drawings")


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


def test_matrices_name_every_row_and_write_out_a_chain_of_three_layers_of_width_two() -> None:
    names = [f"p{i}" for i in range(18)]
    small = {"D": pd.DataFrame(1.5, ["x_1", "x_2", "x_3"], names)}
    figure = pictures.draw_matrices(small)
    assert figure.data[0].texttemplate == "%{text}"
    assert figure.layout.width > 18 * 55
    assert figure.layout.yaxis.dtick == 1
    large = pictures.draw_matrices(
        {"D": pd.DataFrame(1.5, [f"x_{i}" for i in range(96)], [f"p{i}" for i in range(96)])}
    )
    assert large.data[0].texttemplate is None
    assert large.layout.yaxis.tickfont.size < large.layout.height / 96


def test_each_part_of_the_lecture_has_its_legend_its_axes_and_one_hue_for_one_depth() -> None:
    drift = pd.DataFrame([(name, 1, 1e-7) for name in ENGINES], columns=["engine", "updates", "distance"])
    depth = pd.DataFrame([(0.1, 1, 1e-3), (1.0, 1, 2.0)], columns=["step", "depth", "mean_squared_error"])
    layers = pd.DataFrame(
        [(n, i, 1.0) for n in (1, 2, 3) for i in range(n)], columns=["depth", "layer", "gradient_norm"]
    )
    points = [("line", 3, 0.5, 1.0, 1.1), *(("log", n, 0.5, 1.0, 1.1) for n in (1, 2, 3))]
    examples = pd.DataFrame(points, columns=["target", "depth", "x", "wanted", "predicted"])
    figure = pictures.draw_lecture(drift, depth, layers, examples)
    legends: dict[str, list[str]] = {}
    hues: dict[str, set[str]] = {}
    for trace in figure.data:
        legends.setdefault(trace.legend or "legend", []).append(trace.name)
        hues.setdefault(trace.name, set()).add(trace.line.color)
    assert len(legends) == 5
    assert all(len(names) == len(set(names)) for names in legends.values())
    assert all(len(of_one) == 1 for of_one in hues.values())
    axes = [figure.layout[name] for name in figure.layout if name[1:].startswith("axis")]
    assert len(axes) == 10
    assert all(axis.title.text for axis in axes)


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
