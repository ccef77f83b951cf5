"""The lecture: its figures, under both random streams, and what makes the command say no."""

import dataclasses

import jax
import numpy as np
import pytest
from click.testing import CliRunner

import chainback
from chainback import ENGINES, lecture
from chainback.cli.main import cli
from chainback.errors import UsageError
from chainback.studies.quantecon.check import check
from chainback.studies.quantecon.examples import example_rows
from chainback.studies.quantecon.figures import PRINTED, STREAMS, same_digits
from chainback.studies.quantecon.lecture import FILES
from chainback.studies.quantecon.problems import first_example

pytestmark = pytest.mark.xdist_group("the lecture")  # it runs once


@pytest.fixture(scope="module")
def lectured(tmp_path_factory):
    return lecture(output=tmp_path_factory.mktemp("lecture"), loop_updates=200)


def test_every_figure_agrees(lectured) -> None:
    assert [row for row in lectured.rows if not row.agrees] == []
    assert lectured.exit_code == 0
    assert set(lectured.drift["engine"]) == set(ENGINES)
    assert 0 < lectured.apart < 5e-5


@pytest.mark.parametrize("stream", list(STREAMS))
def test_the_check_has_the_printed_digits(stream: str) -> None:
    if jax.default_backend() != "cpu":
        pytest.skip("the digits are those of a CPU")
    rows = {row.what: row for row in check(stream)}
    assert all(row.agrees for row in rows.values())
    assert [what for what in PRINTED[stream] if "Example" not in what and not rows[what].same] == []


@pytest.mark.parametrize("stream", list(STREAMS))
def test_example_1_has_the_printed_figures_under_both_streams(stream: str) -> None:
    rows = example_rows(stream, {"triangular-dense": first_example(stream, "triangular-dense")})
    assert [row for row in rows if not row.agrees] == []
    other = next(name for name in STREAMS if name != stream)
    other_rows = example_rows(other, {"triangular-dense": first_example(stream, "triangular-dense")})
    assert not all(row.agrees for row in other_rows)


def test_gradients_vanish_with_depth(lectured) -> None:
    norms = lectured.layers.set_index(["depth", "layer"])["gradient_norm"]
    assert norms[10, 1] < 1e-6 * norms[10, 10]
    assert norms[3, 1] > 1e-3 * norms[3, 3]


def test_a_wrong_engine_makes_the_lecture_disagree(lectured, monkeypatch: pytest.MonkeyPatch) -> None:
    right = ENGINES["reverse-scan"]

    def wrong(*arguments):
        dweights, dbiases = right.gradient(*arguments)
        return dweights * 1.001, dbiases

    monkeypatch.setitem(ENGINES, "reverse-scan", dataclasses.replace(right, gradient=wrong))
    rows = check("since 0.5")
    rows += example_rows("since 0.5", {"reverse-scan": first_example("since 0.5", "reverse-scan")})
    assert {row.what for row in rows if not row.agrees} == {
        "update by reverse-scan: error / bound",
        "Example 1 by reverse-scan: distance in units",
    }
    assert dataclasses.replace(lectured, rows=tuple(rows)).exit_code == 1
    assert "DISAGREES in 2" in dataclasses.replace(lectured, rows=tuple(rows)).sentences()[-1]
    assert dataclasses.replace(lectured, rows=()).exit_code == 1


def test_a_figure_that_is_off_in_its_last_digits_is_no_longer_the_same() -> None:
    assert same_digits(("1.0165801",), [np.float32(1.0165801)])
    assert not same_digits(("1.0165801",), [np.float32(1.0165803)])


def test_bad_arguments_are_one_sentence() -> None:
    with pytest.raises(UsageError, match="`stream` must be one of"):
        lecture(stream="none")
    with pytest.raises(UsageError, match="`loop_updates` must be a multiple of 200"):
        lecture(loop_updates=7)


def command(*arguments: str) -> tuple[int, str]:
    ran = CliRunner().invoke(cli, ["lecture", *arguments], standalone_mode=False)
    assert ran.exception is None, ran.output
    return ran.return_value, ran.output


def test_the_command_prints_every_figure_and_ends_by_what_they_say(lectured, monkeypatch, tmp_path) -> None:
    monkeypatch.setattr(chainback, "lecture", lambda **options: lectured)
    code, said = command()
    assert code == 0
    for row in lectured.rows:
        assert all(figure in said for figure in row.printed)
    assert f"AGREES in all {len(lectured.rows)} figures" in said
    off = tuple(dataclasses.replace(row, agrees=row.what != "δ") for row in lectured.rows)
    monkeypatch.setattr(chainback, "lecture", lambda **options: dataclasses.replace(lectured, rows=off))
    code, said = command()
    assert code == 1
    assert f"DISAGREES in 1 of {len(off)}: δ" in said


def test_the_tables_and_the_picture_are_whole(lectured, monkeypatch, tmp_path) -> None:
    pytest.importorskip("plotly")
    monkeypatch.setattr(chainback, "lecture", lambda **options: lectured)
    picture = tmp_path / "lecture.html"
    assert command("--picture", str(picture))[0] == 0
    page = picture.read_text()
    for words in (
        "Example 1: ",
        "Example 2: log x",
        "Drift of the parameters",
        "Norm of the gradient by layer",
        *ENGINES,
    ):
        assert words in page
    assert "<script src=" not in page
    lectured.write(tmp_path / "tables")
    assert sorted(path.name for path in (tmp_path / "tables").iterdir()) == sorted(FILES)


def test_a_picture_that_needs_a_browser_is_one_sentence_without_one(lectured, monkeypatch, tmp_path) -> None:
    pytest.importorskip("kaleido")
    monkeypatch.setenv("BROWSER_PATH", str(tmp_path / "no-such-browser"))
    monkeypatch.setattr(chainback, "lecture", lambda **options: lectured)
    ran = CliRunner().invoke(cli, ["lecture", "--picture", str(tmp_path / "lecture.png")], standalone_mode=False)
    assert isinstance(ran.exception, chainback.errors.ChainbackError)
    assert str(ran.exception).endswith("install Chrome or Chromium, or ask for .html")
    assert not (tmp_path / "lecture.png").exists()
