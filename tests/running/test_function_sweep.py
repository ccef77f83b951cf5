"""The sweep of elementary functions: a wrong function is rejected, a known fault is named."""

import dataclasses
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from chainback import verify
from chainback.errors import UsageError
from chainback.judging.judgement import Verdict
from chainback.operations.arithmetic import FLOAT32, FLOAT64
from chainback.operations.elementwise import JaxFunction, KnownFault, RoundingModel
from chainback.operations.jax_functions import JAX_FUNCTIONS
from chainback.processes.watch import Watch
from chainback.reporting.files import read_csv
from chainback.running import function_sweep
from chainback.running.batch import BatchMaker
from chainback.running.batch_judge import BatchJudge
from chainback.running.function_sweep import FunctionSweep, function_sweeps
from chainback.running.one_by_one import OneByOne
from chainback.running.programs import Programs, step

DEVICE = jax.devices()[0]
BY_NAME = {function.name: function for function in JAX_FUNCTIONS}


def rows(function: JaxFunction, called=None, execution: str = "jitted", monkeypatch=None, dtype: str = "float32"):
    if called is not None:
        monkeypatch.setattr(function_sweep, "find", lambda path: called)
    arithmetic = FLOAT32 if dtype == "float32" else FLOAT64
    return {
        (row["quantity"], row["argument"], row["method"]): row
        for row in FunctionSweep(function, execution, arithmetic, dtype, DEVICE).rows()
    }


def verdicts(found) -> dict[tuple[str, str], str]:
    return {(argument, method): row["verdict"] for (_, argument, method), row in found.items()}


SOME = [
    "jax.numpy.exp",
    "jax.numpy.sin",
    "jax.nn.relu",
    "jax.numpy.multiply",
    "jax.numpy.power(x, 2)",
    "jax.numpy.logaddexp",
]


@pytest.mark.parametrize("execution", ["jitted", "eager"])
@pytest.mark.parametrize("name", SOME)
def test_what_is_right_is_accepted(name: str, execution: str) -> None:
    found = rows(BY_NAME[name], execution=execution)
    assert set(verdicts(found).values()) <= {"accepted", "known"}
    assert all(row["rejected"] == 0 for row in found.values())
    assert found["value", "", "primal"]["sharp"] > 0.45
    assert found["value", "", "primal"]["dtype"] == "float32"
    assert len(found) == 1 + 2 * BY_NAME[name].computes.arity


def planted(factor):
    """A sine whose derivative is multiplied by factor(x), in forward and in reverse mode."""

    @jax.custom_jvp
    def wrong(x):
        return jnp.sin(x)

    wrong.defjvp(lambda primals, tangents: (jnp.sin(*primals), tangents[0] * jnp.cos(*primals) * factor(*primals)))
    return wrong


@pytest.mark.parametrize(
    "factor",
    [
        lambda x: 1 + 2.0**-15,
        lambda x: -1.0,
        lambda x: jnp.where(x == 3, jnp.nan, 1.0),
        lambda x: jnp.where(x == 0, 0.0, 1.0),
        lambda x: jnp.where(x == 100, 1 + 2.0**-15, 1.0),
    ],
    ids=["off by 2^-15", "sign", "NaN at 3", "zero at 0", "off at 100"],
)
def test_a_wrong_derivative_is_rejected_though_forward_and_reverse_agree(monkeypatch, factor) -> None:
    found = verdicts(rows(BY_NAME["jax.numpy.sin"], planted(factor), monkeypatch=monkeypatch))
    assert found == {("", "primal"): "accepted", ("0", "forward"): "rejected", ("0", "reverse"): "rejected"}


def test_a_wrong_value_is_rejected(monkeypatch) -> None:
    found = rows(BY_NAME["jax.numpy.sin"], lambda x: jnp.sin(x) * (1 + 2.0**-15), monkeypatch=monkeypatch)
    assert set(verdicts(found).values()) == {"rejected"}
    row = found["value", "", "primal"]
    assert row["margin_max"] > 1
    assert abs(row["got"] / row["expected"] - 1 - 2.0**-15) < 1e-6


def test_reverse_alone_may_be_wrong(monkeypatch) -> None:
    @jax.custom_vjp
    def reverse(x):
        return jnp.sin(x)

    reverse.defvjp(lambda x: (jnp.sin(x), x), lambda x, g: (-g * jnp.cos(x),))
    function = BY_NAME["jax.numpy.sin"]
    program = function_sweep._program

    def mixed(function, called):
        right, wrong = program(function, jnp.sin), jax.vjp
        return lambda x: (*right(x)[:2], *wrong(reverse, x)[1](jnp.ones_like(x)))

    monkeypatch.setattr(function_sweep, "_program", mixed)
    found = verdicts(rows(function))
    assert found == {("", "primal"): "accepted", ("0", "forward"): "accepted", ("0", "reverse"): "rejected"}


def test_one_argument_alone_may_be_wrong(monkeypatch) -> None:
    found = rows(BY_NAME["jax.numpy.multiply"], lambda x, y: jax.lax.stop_gradient(x) * y, monkeypatch=monkeypatch)
    assert verdicts(found) == {
        ("", "primal"): "accepted",
        ("0", "forward"): "rejected",
        ("0", "reverse"): "rejected",
        ("1", "forward"): "accepted",
        ("1", "reverse"): "accepted",
    }


@pytest.mark.parametrize("slope", [0.0, 1.0])
def test_a_kink_is_settled_where_jax_documents_it(monkeypatch, slope: float) -> None:
    @jax.custom_jvp
    def relu(x):
        return jnp.maximum(x, 0)

    relu.defjvp(lambda p, t: (relu(*p), t[0] * jnp.where(p[0] == 0, slope, jnp.where(p[0] > 0, 1.0, 0.0))))
    found = rows(BY_NAME["jax.nn.relu"], relu, monkeypatch=monkeypatch)
    assert found["derivative", "0", "reverse"]["verdict"] == ("rejected" if slope else "accepted")


def test_a_function_that_raises_is_rejected_by_name(monkeypatch) -> None:
    def raises(x):
        raise ValueError("no such rule")

    monkeypatch.setattr(function_sweep, "find", lambda path: raises)
    sweep = FunctionSweep(BY_NAME["jax.numpy.sin"], "jitted", FLOAT32, "float32", DEVICE)
    with pytest.raises(ValueError, match="no such rule"):
        sweep.rows()
    assert [row["verdict"] for row in sweep.failed("it raised")] == ["rejected"] * 3


def test_a_function_that_this_jax_lacks_is_not_there() -> None:
    missing = dataclasses.replace(BY_NAME["jax.numpy.sin"], path="jax.numpy.sine_of_the_future")
    (row,) = FunctionSweep(missing, "jitted", FLOAT32, "float32", DEVICE).rows()
    assert row["verdict"] == Verdict.NOT_THERE
    assert (row["points"], row["rejected"]) == (0, 0)


def test_a_known_fault_is_no_alarm_and_one_beside_it_is(monkeypatch) -> None:
    fault = planted(lambda x: jnp.where(jnp.abs(x) == 3, 2.0, 1.0))
    there = KnownFault("derivative", lambda x, t: x == 3.0, "twice too large at 3")
    both = dataclasses.replace(there, where=lambda x, t: np.abs(x) == 3.0)
    sine = BY_NAME["jax.numpy.sin"]
    excused = rows(dataclasses.replace(sine, known=(both,)), fault, monkeypatch=monkeypatch)
    row = excused["derivative", "0", "forward"]
    assert (row["verdict"], row["known"], row["rejected"], row["note"]) == ("known", 2, 0, "twice too large at 3")
    beside = rows(dataclasses.replace(sine, known=(there,)), fault, monkeypatch=monkeypatch)
    row = beside["derivative", "0", "forward"]
    assert (row["verdict"], row["known"], row["rejected"], row["worst_x"]) == ("rejected", 1, 1, -3.0)
    mended = rows(dataclasses.replace(sine, known=(both,)), jnp.sin, monkeypatch=monkeypatch)
    assert mended["derivative", "0", "forward"]["note"] == "mended: twice too large at 3"
    assert mended["derivative", "0", "forward"]["verdict"] == "accepted"


def test_a_documented_loss_is_shown_and_no_alarm() -> None:
    row = rows(BY_NAME["jax.nn.sigmoid"])["derivative", "0", "reverse"]
    assert row["verdict"] == "accepted"
    assert row["lost_everything"] > 50
    assert "above 17" in row["loses"]


def test_a_vacuous_model_shows() -> None:
    sine = BY_NAME["jax.numpy.sin"]
    blunt = dataclasses.replace(
        sine, computes=dataclasses.replace(sine.computes, roundings=(RoundingModel(), RoundingModel(1e7)))
    )
    assert rows(blunt)["derivative", "0", "reverse"]["sharp"] == 0.0


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    folder = tmp_path_factory.mktemp("functions")
    return verify(engines="none", functions=True, output=folder), folder


@pytest.mark.slow  # the gate in .ci/run sweeps all of them as well
def test_the_functions_alone(report) -> None:
    """The one whole sweep: nothing is wrong that is not known, and what is known is still so somewhere."""
    made, folder = report
    wrong = made.functions[made.functions["verdict"] == "rejected"]
    assert made.exit_code == 0, wrong[["function", "quantity", "argument", "execution", "worst_x", "note"]].to_string()
    back = read_csv(folder / "functions.csv", whole=True)
    assert list(back["digest"]) == list(made.functions["digest"])
    assert list(back["argument"]) == list(made.functions["argument"])
    assert set(back["execution"]) == {"jitted", "eager"}
    assert len(made.tolerance) == 0
    there = made.functions[made.functions["verdict"] != "not there"]
    assert {*there["function"]} | {*made.functions["function"]} == set(BY_NAME)
    assert (there["sharp"] > 0.4).mean() > 0.9
    # What is known and shows no more is reported as mended; most of it still shows on this JAX.
    known = {entry.why for function in JAX_FUNCTIONS for entry in function.known if entry.dtype != "float64"}
    shown = " ".join(note for note in made.functions["note"] if not note.startswith("mended"))
    assert sum(why in shown for why in known) >= 0.5 * len(known)


def test_a_function_that_took_its_process_along_costs_itself_alone() -> None:
    sine, cosine = (
        FunctionSweep(BY_NAME[f"jax.numpy.{name}"], "jitted", FLOAT32, "float32", DEVICE) for name in ("sin", "cos")
    )
    watch = Watch(fatal={step(str(sine), "sweep"): "the process died of SIGSEGV while it was swept"})
    one_by_one, judge = OneByOne(Programs({}, None, watch), BatchMaker(0, []), watch, []), BatchJudge()
    for place, sweep in enumerate((sine, cosine)):
        one_by_one.sweep(sweep, str, place)(judge)
    rows = [row for _, swept in sorted(judge.totals.functions.items()) for row in swept]
    assert [row["verdict"] for row in rows] == ["rejected"] * 3 + ["accepted"] * 3
    assert rows[0]["note"] == "the process died of SIGSEGV while it was swept"


def test_without_an_engine_functions_must_be_asked_for() -> None:
    with pytest.raises(UsageError, match="no engine to run"):
        verify(engines="none")


def test_float64_where_jax_has_it(tmp_path) -> None:
    code = """
import jax
jax.config.update("jax_enable_x64", True)
from chainback.running.function_sweep import function_sweeps
from chainback.operations.jax_functions import JAX_FUNCTIONS
from chainback.operations.arithmetic import FLOAT32
some = [f for f in JAX_FUNCTIONS if f.name in ("jax.numpy.exp", "jax.nn.sigmoid", "jax.numpy.divide", "jax.lax.erf")]
for sweep in function_sweeps(FLOAT32, jax.devices()[0], some):
    for row in sweep.rows():
        print(row["dtype"], row["verdict"] in ("accepted", "known"))
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        cwd=Path(__file__).parents[2],
    )
    lines = done.stdout.split("\n")
    assert lines.count("float64 True") == lines.count("float32 True") == 28, done.stdout + done.stderr


def test_every_function_is_swept_jitted_and_not() -> None:
    planned = [(sweep.function.name, sweep.execution) for sweep in function_sweeps(FLOAT32, DEVICE)]
    assert len(planned) == len(set(planned)) == 2 * len(JAX_FUNCTIONS)
