"""Pages: every fact is there, nothing comes from a network, and a real browser shows them without an error."""

import html
import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import broken_engines
import pandas as pd
import pytest

import chainback
from chainback import compare, verify
from chainback.judging.tally import Rejection
from chainback.reporting.pages.html import comparison_page, document, report_page, text, write_page
from chainback.reporting.report import Report
from chainback.reporting.schema import frame_of
from chainback.reporting.sections.section import Charts, Section

SMALL: dict[str, Any] = {"ensembles": ["lecture", "kinks"], "cases": 40, "depths": [2, 3], "samples": False}
#: 4.8 MB of plotly, compressed, are 1.9 MB in base64.
MOST_BYTES = 3_000_000
BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)


@pytest.fixture(scope="module")
def accepted() -> Report:
    return verify(engines=["reverse-scan", "triangular-substitution"], **SMALL)


@pytest.fixture(scope="module")
def rejected() -> Report:
    return verify(engines=[broken_engines.scaled_bias], **SMALL, activations=False)


def visible(page: str) -> str:
    """Return the words of a page, without its scripts and its style."""
    bare = re.sub(r"<(script|style)\b.*?</\1>", "", page, flags=re.S)
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", bare)).split())


def test_every_fact_is_there(accepted: Report) -> None:
    words = visible(report_page(accepted))
    assert words.index("ACCEPTED") < words.index("jax ") < words.index("Engines")
    for engine in ("reverse-scan", "triangular-substitution"):
        assert engine in words
    for heading in ("Worst cases", "Error against depth", "Margins by ensemble", "Agreement of the engines", "Steps"):
        assert heading in words
    for heading in ("Activations alone", "Environment", "sigmoid slope, forward, jitted"):
        assert heading in words
    worst = accepted.tolerance.sort_values("margin_max").iloc[-1]
    assert f"chainback replay {worst['worst_case']} --engines " in words, "of equally bad engines any is named"
    for fact in ("seed", "sharp_floor", str(accepted.environment["time"]), "processor, features"):
        assert fact in words


def test_a_rejected_report_says_so_first_and_how_to_look_closer(rejected: Report) -> None:
    words = visible(report_page(rejected))
    assert "ACCEPTED" not in words
    assert "REJECTED" in words[:200]
    for rejection in rejected.rejections:
        assert rejection.case_id in words
        assert rejection.sentence in words


def test_the_text_of_a_log_says_the_same(accepted: Report, rejected: Report) -> None:
    for report in (accepted, rejected):
        words, log = visible(report_page(report)), text(report)
        cells = {cell.strip().replace("\\|", "|") for line in log.splitlines() for cell in line.split(" | ")}
        assert len(cells) > 50
        for cell in cells:
            plain = " ".join(re.sub(r"^[#|* ]+|[| ]+$", "", cell).split())
            assert plain in words or not plain.strip("-: ")


def test_what_others_named_is_escaped(accepted: Report) -> None:
    evil = "<script>alert('x')</script>&\""
    tolerance = accepted.tolerance.assign(engine=evil, worst_case=evil, ensemble=evil)
    report = replace(
        accepted,
        tolerance=tolerance,
        rejections=(Rejection(evil, evil, evil, 3, 1, 0, evil, reason=evil),),
        environment=accepted.environment | {"stopped": evil, "variables": {evil: evil}, "complete": False},
    )
    page = report_page(report)
    assert "<script>alert" not in page
    assert evil in visible(page)


def test_nothing_comes_from_a_network(accepted: Report) -> None:
    page = report_page(accepted)
    assert re.findall(r"<[^>]*\b(?:src|href)=(?!\"data:)[^>]*>", page) == []
    assert re.findall(r"url\(|@import", re.sub(r"<script.*?</script>", "", page, flags=re.S)) == []


def test_a_page_is_small_and_soon_written(accepted: Report, tmp_path: Path) -> None:
    write_page(accepted, tmp_path / "report.html")
    assert (tmp_path / "report.html").stat().st_size < MOST_BYTES


def test_without_plotly_the_page_has_its_tables_and_says_how_to_get_charts(
    accepted: Report, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("chainback.reporting.pages.charts", "chainback.reporting.pages.drawings", "plotly"):
        monkeypatch.setitem(sys.modules, name, None)
    page = report_page(accepted)
    assert len(page) < 200_000
    assert "<script" not in page
    assert "pip install 'chainback[pictures]'" in visible(page)
    assert "Error against depth" in visible(page)


def test_empty_reports_have_pages() -> None:
    nothing = Report(pd.DataFrame(), pd.DataFrame(), pd.DataFrame(), {})
    words = visible(report_page(nothing))
    assert "UNDECIDED" in words
    assert "INCOMPLETE" in words


def test_the_head_of_an_unfinished_run_claims_no_more_cases_than_were_asked_for(accepted: Report) -> None:
    assert "· 40 cases" in visible(report_page(accepted))
    unfinished = replace(accepted, environment=accepted.environment | {"complete": False})
    assert "· 40 cases asked for" in visible(report_page(unfinished))


def test_an_answer_that_is_no_number_has_a_page() -> None:
    report = verify(engines=[broken_engines.returns_nan], **SMALL, activations=False)
    assert "REJECTED" in visible(report_page(report))[:200]


def test_a_function_that_is_rejected_is_named() -> None:
    row = {"schema": 1, "function": "jax.nn.gelu(x)", "argument": "0", "quantity": "derivative", "method": "forward"}
    row |= {"execution": "jitted", "second": "", "points": 3, "verdict": "rejected", "margin_max": 598.0, "note": ""}
    row |= {"error_u_max": 1e5, "worst_x": -5.4375, "sharp": 1.0, "dtype": "float32"}
    functions = frame_of("functions", [row])
    report = Report(pd.DataFrame(), pd.DataFrame(), pd.DataFrame(), {"complete": True}, functions=functions)
    words = visible(report_page(report))
    assert "jax.nn.gelu(x) derivative, 0, forward, jitted 598" in words
    assert "-5.4375" in words


def test_curves_show_where_digits_are_lost(accepted: Report) -> None:
    curves = accepted.curves
    assert len(curves) == len(accepted.activations)
    way = (curves["quantity"] == "slope") & (curves["method"] == "forward") & (curves["execution"] == "jitted")
    sigmoid = curves[way & (curves["activation"] == "sigmoid")].iloc[0]
    by_z = {float(name): float(sigmoid[name]) for name in curves.columns if re.fullmatch(r"-?[\d.]+", name)}
    assert len(by_z) == 96
    assert by_z[min(by_z, key=lambda z: abs(z - 30.0))] == pytest.approx(2.0**24, rel=0.01)
    assert by_z[min(by_z, key=abs)] < 10.0
    of_rows = accepted.activations["error_u_max"].to_numpy()
    largest = curves[[name for name in curves.columns if re.fullmatch(r"-?[\d.]+", name)]].max(axis=1).to_numpy()
    assert largest == pytest.approx(of_rows, rel=0.01, abs=1e-9)
    assert "curve" not in accepted.activations


def test_a_comparison_has_a_page(accepted: Report, rejected: Report) -> None:
    same = comparison_page(compare(accepted, accepted))
    assert "NOTHING WORSE" in visible(same)
    assert len(same) < 50_000
    fewer = replace(accepted, tolerance=accepted.tolerance[accepted.tolerance["engine"] != "reverse-scan"])
    worse = visible(comparison_page(compare(accepted, fewer)))
    assert "WORSE in 4 rows" in worse[:200]
    assert "WORSE missing tolerance: reverse-scan batched kinks 2 1" in worse


@pytest.fixture(scope="module")
def often_rejected() -> Report:
    wide: dict[str, Any] = {**SMALL, "cases": 400, "depths": [2, 3, 4, 5]}
    return verify(engines=["reverse-scan", broken_engines.scaled_bias], **wide, activations=False)


def test_of_many_rejections_the_first_are_open_and_none_is_left_out(often_rejected: Report) -> None:
    many = replace(
        often_rejected,
        rejections=tuple(
            Rejection(f"e{i}", "batched", "lecture", 3, 1, 0, f"c{i}", reason=f"r{i}") for i in range(300)
        ),
    )
    page = report_page(many)
    opened = re.sub(r"<details>.*?</details>", "", page, flags=re.S)
    assert [f">c{i}</td>" in opened for i in (0, 11, 12)] == [True, True, False]
    assert "<summary>Rejected, 188 more; 100 others stand in rejections.csv</summary>" in page
    assert ">c199</td>" in page


def test_tables_have_headers_and_charts_have_names(accepted: Report) -> None:
    page = report_page(accepted)
    assert "<th>" not in page
    assert page.count("<th scope=col") > 20
    charts = re.findall(r'<div class="chart"([^>]*)>', page)
    assert all('role="img"' in chart and 'aria-label="' in chart and "min-height" in chart for chart in charts)
    assert 'aria-label="Error against depth: lecture, a chart: its numbers stand in the table below"' in page


def test_what_has_no_error_has_no_worst_place(accepted: Report) -> None:
    assert "identity value, primal, jitted 0 0 – – 0 accepted" in visible(report_page(accepted))


def test_axes_that_fit_their_values_have_two_ticks_or_more() -> None:
    panels = pytest.importorskip("chainback.reporting.pages.panels")
    for values in ([0.3, 1.0], [1.0], [], [float("nan"), float("inf")], [9_700, 43_000], [1e-3, 0.4, 1e3], [3.2, 8.1]):
        axis = panels.fine(values, 1e-3)
        low, high = axis["range"]
        inside = [tick for tick in axis["tickvals"] if 10**low <= tick <= 10**high]
        assert len(inside) >= 2, values
        assert all(10**low <= value <= 10**high for value in values if 0 < value < 1e300), values
    assert panels.fine([9_700, 43_000])["ticktext"] == ["5,000", "10,000", "20,000", "50,000"]
    assert panels.fine([0.0, 0.05], 0.01)["ticktext"][0] == "≤ 0.01"


def test_one_depth_alone_is_drawn_with_every_dash_and_its_own_value(accepted: Report) -> None:
    charts = pytest.importorskip("chainback.reporting.pages.charts")
    rows = accepted.tolerance[accepted.tolerance["depth"] == 2]
    for figure in charts.errors_by_depth(rows).values():
        looks = [(trace.line.color, trace.line.dash, trace.line.width) for trace in figure.data]
        assert len(set(looks)) == len(looks), "no two lines look alike"
        for trace in figure.data:
            assert trace.mode == "lines"
            assert len(set(trace.customdata)) == 1
            assert min(trace.x) < 2 < max(trace.x)


def test_one_absurd_error_does_not_press_all_others_flat(accepted: Report) -> None:
    charts = pytest.importorskip("chainback.reporting.pages.charts")
    absurd = charts.errors_by_depth(accepted.tolerance.assign(error_u_max=2.8e16))
    assert {figure.layout.yaxis.range[1] for figure in absurd.values()} == {10}
    assert all(max(figure.data[-1].y) == 2.8e16 for figure in absurd.values()), "and it is drawn where it is"


@pytest.mark.parametrize("name", ["accepted", "often_rejected"])
def test_a_phone_scrolls_no_verdict_sideways_and_no_chart_is_broader_than_paper(
    name: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    report = request.getfixturevalue(name)
    variables = {"XLA_FLAGS": "--xla_disable_hlo_passes=" + ",".join(["fusion", "algsimp"] * 4)}
    page = report_page(replace(report, environment=report.environment | {"variables": variables}))
    assert measured(page, tmp_path) == {"over": [], "widest": 400, "printed": 680}


def test_that_measure_can_fail(accepted: Report, tmp_path: Path) -> None:
    page = report_page(accepted).replace("class=stacked", "")
    found = measured(page.replace("330 : 680", "330 : 1100"), tmp_path)
    assert "error-against-depth" in found["over"]
    assert found["printed"] == 1100


_MEASURE = """
<script>
new MutationObserver(() => {
  for (const folded of document.querySelectorAll("details")) { folded.open = true; }
  const over = [...document.querySelectorAll(".scroll")].filter((box) => box.scrollWidth > box.clientWidth);
  const found = { over: over.map((box) => box.closest("section").id), widest: document.documentElement.scrollWidth };
  dispatchEvent(new Event("beforeprint"));
  const printed = [...document.querySelectorAll(".main-svg")].map((chart) => Number(chart.getAttribute("width")));
  found.printed = Math.max(...printed);
  parent.postMessage(found, "*");
}).observe(document.body, { attributeFilter: ["data-drawn"] });
</script>
"""
_FRAME = """
<title></title><script>onmessage = (event) => { document.title = JSON.stringify(event.data); };</script>
<iframe src="report.html" width="400" height="900" style="border: 0"></iframe>
"""


def measured(page: str, folder: Path) -> dict[str, Any]:
    """Return what a phone has to scroll sideways, and how broad the broadest chart is when it prints."""
    (folder / "report.html").write_text(page + _MEASURE)
    (folder / "frame.html").write_text(_FRAME)  # a window of a browser may not be as narrow as a phone
    return titled(browse(folder / "frame.html", "--dump-dom"))


def titled(done: subprocess.CompletedProcess[str]) -> Any:
    """Return what a script left as the title of a page."""
    return json.loads(html.unescape(re.findall(r"<title>(.*?)</title>", done.stdout)[0]))


def browse(page: Path, *flags: str) -> subprocess.CompletedProcess[str]:
    if BROWSER is None:
        pytest.skip("no chromium and no google-chrome is installed here")
    command = [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--hide-scrollbars"]
    command += ["--disable-background-networking", f"--user-data-dir={page.parent / 'profile'}"]
    command += ["--enable-logging=stderr", "--virtual-time-budget=60000", *flags, page.as_uri()]
    return subprocess.run(command, capture_output=True, text=True, timeout=180, check=False)


def errors(done: subprocess.CompletedProcess[str]) -> list[str]:
    return [line for line in done.stderr.splitlines() if "CONSOLE" in line]


@pytest.mark.parametrize("width", [400, 1200])
def test_a_browser_shows_it_without_an_error(accepted: Report, tmp_path: Path, width: int) -> None:
    write_page(accepted, tmp_path / "report.html")
    picture = tmp_path / "page.png"
    done = browse(tmp_path / "report.html", f"--window-size={width},1500", f"--screenshot={picture}")
    assert errors(done) == []
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert picture.stat().st_size > 30_000, "there is more than an empty page"


def test_a_browser_draws_every_chart(accepted: Report, tmp_path: Path) -> None:
    write_page(accepted, tmp_path / "report.html")
    drawn = browse(tmp_path / "report.html", "--dump-dom").stdout
    wanted = 2 + 1 + accepted.activations["activation"].nunique()  # by ensemble, the margins, by activation
    assert f'data-drawn="{wanted}"' in drawn
    assert drawn.count('class="plot-container') == wanted


def test_what_is_written_in_a_field_of_colours_stands_out_from_it(tmp_path: Path) -> None:
    """The page gives all text its own ink, but what stands on a colour keeps plotly's: a dark ✕ on dark was not seen."""
    charts = pytest.importorskip("chainback.reporting.pages.charts")
    rows = [{"jax": jax, "engine": "reverse-scan", "digest": jax, "verdict": "rejected"} for jax in ("0.5", "0.6")]
    figure = charts.bits(pd.DataFrame(rows))
    page = document(None, "bits", "", "", [], [Section("Bits", draw=lambda charts: Charts({"": figure}))])
    assert set(inks(page, tmp_path)) == {"rgb(255, 255, 255)", "rgb(68, 68, 68)"}
    assert len(set(inks(page.replace(" :not(.heatmap-label) >", ""), tmp_path))) == 1, "the negative control"


def inks(page: str, folder: Path) -> list[str]:
    """Return the colours of what is written in the fields of colours."""
    (folder / "report.html").write_text(page + _INKS)
    return titled(browse(folder / "report.html", "--dump-dom"))


_INKS = """
<script>
new MutationObserver(() => {
  const written = [...document.querySelectorAll(".heatmap-label text")].filter((text) => text.textContent === "✕");
  document.title = JSON.stringify(written.map((text) => getComputedStyle(text).fill));
}).observe(document.body, { attributeFilter: ["data-drawn"] });
</script>
"""


def test_the_browser_test_can_fail(accepted: Report, tmp_path: Path) -> None:
    page = report_page(accepted).replace("Plotly.newPlot", "Plotly.newPlotted")
    (tmp_path / "report.html").write_text(page)
    assert errors(browse(tmp_path / "report.html", f"--screenshot={tmp_path / 'page.png'}"))


def run(*arguments: str, cwd: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join((str(Path(__file__).parents[1] / "support"), str(Path(chainback.__file__).parents[1])))
    return subprocess.run(
        [sys.executable, "-m", "chainback", *arguments],
        capture_output=True,
        text=True,
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": path, "COLUMNS": "200", **variables},
        timeout=240,
        check=False,
    )


def test_the_commands_write_pages_open_them_and_say_their_facts_in_a_ci_log(tmp_path: Path) -> None:
    asked = (
        "--engines",
        "none",
        "--engine",
        "broken_engines:right",
        "--cases",
        "20",
        "--depths",
        "2",
        "--ensembles",
        "lecture",
    )
    browser = f"{sys.executable} -c 'import sys; print(sys.argv[1])' %s"
    done = run("verify", *asked, "--output", "out", "--open", cwd=tmp_path, CI="1", BROWSER=browser)
    assert done.returncode == 0, done.stderr
    assert "#### Error against depth" in done.stdout
    assert "environment.json and report.html." in done.stdout
    assert (tmp_path / "out" / "report.html").resolve().as_uri() in done.stdout
    assert "ACCEPTED" in visible((tmp_path / "out" / "report.html").read_text())[:100]
    alone = {name: value for name, value in os.environ.items() if name == "CI"}
    compared = run("compare", "out", "out", "--output", "changes.csv", cwd=tmp_path, **alone)
    assert compared.returncode == 0
    assert compared.stdout.splitlines()[-1] == "Wrote changes.csv and changes.html."
    for_a_pull_request = run("compare", "out", "out", "--output", "changes.csv", "--markdown", cwd=tmp_path, **alone)
    assert "Wrote" not in for_a_pull_request.stdout
    assert "Wrote changes.csv and changes.html." in for_a_pull_request.stderr
    assert "NOTHING WORSE" in visible((tmp_path / "changes.html").read_text())[:100]
