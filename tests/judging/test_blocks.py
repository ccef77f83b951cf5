"""A block is accepted on proof: nothing by a vacuous bound, NaN never, an exact zero by what cancels in it."""

import numpy as np
import pytest

from chainback.judging.blocks import judge_block
from chainback.judging.judgement import Verdict

A, R, U = Verdict.ACCEPTED, Verdict.REJECTED, Verdict.UNDECIDED
ONE = np.array([1.0, -2.0])
SHARP = np.array([1e-6, 1e-6])
VACUOUS = np.array([1e3, 1e3])


@pytest.mark.parametrize(
    ("got", "bound", "more", "verdict"),
    [
        (ONE + 5e-7, SHARP, {}, A),
        (ONE + 2e-6, SHARP, {}, R),
        (ONE * np.nan, SHARP, {}, R),
        (ONE[:1], SHARP, {}, R),
        (ONE, VACUOUS, {}, A),  # equal to the last bit
        (ONE + 1e-7, VACUOUS, {}, U),
        (ONE + 1e-7, VACUOUS, {"sampled": SHARP}, A),
        (ONE + 1e-5, VACUOUS, {"sampled": SHARP}, R),
        (ONE + 1e-5, VACUOUS, {"sampled": SHARP, "undecided": "overflow"}, U),
        (ONE + 5e-7, SHARP, {"sampled": SHARP * 1e-6}, A),  # where the derived bound is sharp it alone decides
        (
            np.array([0.5, -2.0]),
            np.array([0.6, 1e-6]),
            {"sampled": SHARP, "choices": np.array([0.6, 0.0])},
            A,
        ),  # a kink
        (np.array([0.3, -2.0]), np.array([0.6, 1e-6]), {"sampled": SHARP, "choices": np.array([0.6, 0.0])}, R),
        (ONE, np.full(2, np.inf), {}, A),
        (ONE + 1.0, np.full(2, np.inf), {}, U),
        (ONE + 1.0, np.full(2, np.nan), {}, R),
    ],
)
def test_the_verdict(got, bound, more, verdict) -> None:
    assert judge_block(got, ONE, bound, **more).verdict is verdict


def test_an_exact_zero_is_judged_by_the_magnitude_of_what_cancels() -> None:
    zero, bound = np.zeros(1), np.full(1, 1e-6)
    assert judge_block(np.full(1, 1e-9), zero, bound, sampled=np.full(1, 1e-8), magnitude=np.ones(1)).verdict is A
    assert judge_block(np.full(1, 1e-7), zero, bound, sampled=np.full(1, 1e-8), magnitude=np.ones(1)).verdict is R
    assert judge_block(np.full(1, 1e-9), zero, bound, sampled=np.full(1, 1e-8), magnitude=np.full(1, 1e-7)).verdict is U


def test_an_exact_zero_without_a_path_must_be_zero() -> None:
    assert judge_block(np.zeros(1), np.zeros(1), np.zeros(1)).verdict is A
    assert judge_block(np.full(1, 1e-30), np.zeros(1), np.zeros(1)).verdict is R


def test_a_rejection_names_its_worst_component() -> None:
    reference, got = np.ones((2, 3)), np.ones((2, 3))
    got[1, 2], got[0, 0] = 1.5, 1.1
    worst = judge_block(got, reference, np.full((2, 3), 1e-6)).worst
    assert worst is not None
    assert (worst.component, worst.got, worst.expected, worst.wrong) == ("[1, 2]", 1.5, 1.0, 2)


def test_another_dtype_is_rejected() -> None:
    found = judge_block(np.float64(1.0), np.ones(()), np.full((), 1e-6), dtype="float32")
    assert found.verdict is R
    assert found.why == "it has dtype float64, expected float32"
