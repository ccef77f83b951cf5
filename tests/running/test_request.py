"""A request: every argument in one place, refused in one sentence where it cannot be used, written as a command line."""

import dataclasses
from pathlib import Path
from typing import Any

import click
import numpy as np
import pytest
from click.testing import CliRunner

from chainback.cli.options import request_of, request_options
from chainback.errors import UsageError
from chainback.problems.ensembles import ENSEMBLES
from chainback.running.request import Request

#: One value of each argument that has an option, and is no default.
OTHERS: dict[str, Any] = {
    "cases": 1234,
    "duration": 0.25,
    "seed": 7,
    "depths": (1, 8),
    "widths": (2,),
    "ensembles": ("lecture", "wide"),
    "engines": ("all", "mine:gradients", "mine:others"),
    "platform": "cpu:0,cpu:1",
    "truth": "cpu",
    "judged_as": "tf32",
    "functions": True,
    "sharp_floor": 0.25,
    "case": "lecture@1:0:3x1:0:1/9",
    "shard": "1/2",
    "output": Path("out"),
    "junit": Path("junit.xml"),
    "resume": True,
    "time_limit": 90.5,
    "memory_limit": 2.5e9,
    "distributed": True,
    "coordinator": "127.0.0.1:4000",
    "processes": 2,
    "process": 0,
}


def parsed(*arguments: str) -> Request:
    """The request that the options of `verify` make."""
    found = []

    @click.command()
    @request_options()
    def verify(**options: Any) -> None:
        found.append(request_of(**options, supervised=True))

    done = CliRunner().invoke(verify, arguments, standalone_mode=False)
    assert done.exception is None, done.exception
    return found[0]


def test_every_argument_has_an_option_but_those_that_only_a_caller_sets() -> None:
    without = {f.name for f in dataclasses.fields(Request) if "option" not in f.metadata}
    assert without == {"activations", "samples", "supervised", "patience"}
    assert without | set(OTHERS) == {f.name for f in dataclasses.fields(Request)}


@pytest.mark.parametrize("left_out", ["shard", "distributed"])
def test_a_request_is_what_its_command_line_says(left_out: str) -> None:
    hosts = ("distributed", "coordinator", "processes", "process")
    chosen = {k: v for k, v in OTHERS.items() if k != left_out and (left_out == "shard" or k not in hosts)}
    request = Request(**chosen, supervised=True)
    command = request.command()
    assert command[0] == "verify"
    assert parsed(*command[1:]) == request
    assert parsed() == Request(output=Path("chainback-report"), supervised=True)


@pytest.mark.parametrize(
    ("engines", "options"),
    [
        ("all", []),
        ("none", ["--engines", "none"]),
        ("reverse-scan", ["--engines", "reverse-scan"]),
        (("reverse-scan", "triangular-dense"), ["--engines", "reverse-scan,triangular-dense"]),
        (("mine:f", "mine:g"), ["--engines", "none", "--engine", "mine:f", "--engine", "mine:g"]),
        (("all", "mine:f"), ["--engine", "mine:f"]),
    ],
)
def test_engines_are_two_options(engines: Any, options: list[str]) -> None:
    assert Request(engines=engines).command() == ["verify", *options]


def test_what_has_no_option_is_refused() -> None:
    with pytest.raises(UsageError, match="`samples` has no option on the command line"):
        Request(samples=False).command()
    with pytest.raises(UsageError, match="a command line takes no callable"):
        Request(engines=[print]).command()


def test_it_is_frozen_and_equal_to_one_of_the_same_arguments() -> None:
    request = Request(depths=np.array([3, 5]), ensembles=iter(["lecture"]), engines=["reverse-scan"])
    assert request == Request(depths=[3, 5], ensembles=("lecture",), engines=("reverse-scan",))
    with pytest.raises(dataclasses.FrozenInstanceError):
        request.seed = 1  # type: ignore[misc]


def test_how_many_cases() -> None:
    assert Request().most_cases == 20_000
    assert Request(cases=5, duration=1.0).most_cases == 5
    assert Request(duration=1.0).most_cases == 1_000_000_000
    assert [family.name for family in Request().families] == list(ENSEMBLES)
    assert [family.name for family in Request(ensembles=["wide", "wide"]).families] == ["wide"]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"cases": 0}, "`cases` must be at least 1, got 0"),
        ({"cases": -5}, "`cases` must be at least 1, got -5"),
        ({"cases": "5"}, "`cases` must be a whole number, got '5'"),
        ({"cases": 2.5}, "`cases` must be a whole number, got 2.5"),
        ({"cases": 10**12}, "`cases` must be at most 1,000,000,000, got 1,000,000,000,000: split the run by seeds"),
        ({"seed": -1}, "`seed` must be at least 0"),
        ({"seed": None}, "`seed` must be a whole number, got None"),
        ({"depths": []}, "`depths` must be numbers from 1"),
        ({"depths": [0]}, "`depths` must be numbers from 1"),
        ({"depths": 8}, "`depths` must be whole numbers, got 8"),
        ({"widths": [100_000]}, "`widths` must be numbers from 1 to 4096"),
        ({"ensembles": ()}, "`ensembles` must name at least one"),
        ({"ensembles": ["lectrue"]}, "ensemble 'lectrue' is not known"),
        ({"sharp_floor": 1.5}, "`sharp_floor` must be a share from 0 to 1, got 1.5"),
        ({"duration": 0}, "`duration` must be above 0 seconds, got 0"),
        ({"duration": float("nan")}, "`duration` must be above 0 seconds, got nan"),
        ({"shard": "5/4"}, "`shard` must be K/M, the K-th of M parts, such as 1/4, got '5/4'"),
        ({"case": "nothing"}, "case id 'nothing' is none"),
        ({"resume": True}, "`resume` needs `output`"),
        ({"time_limit": 0.0}, "`time_limit` must be above 0, got 0.0"),
        ({"memory_limit": -1.0}, "`memory_limit` must be above 0, got -1.0"),
        ({"time_limit": 5.0}, "`time_limit` needs `supervised`"),
        ({"memory_limit": 1e9}, "`memory_limit` needs `supervised`"),
        ({"shard": "1/2", "processes": 2}, "`shard` cannot be chosen where each process takes its own"),
    ],
)
def test_what_cannot_be_used_is_refused_in_one_sentence(arguments: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence.replace("(", r"\(")) as caught:
        Request(**arguments)
    assert "\n" not in str(caught.value)
