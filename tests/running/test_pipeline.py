"""A run streams: cut off and gone on with it ends as it would have without the break; a clock ends it whole."""

import json
import threading
import time
from typing import Any

import numpy as np
import pandas as pd
import pytest

from chainback import verify
from chainback.errors import UsageError
from chainback.reporting.schema import COUNTS_FILE
from chainback.running import pipeline
from chainback.running.batch import BatchMaker

RUN: dict[str, Any] = {
    "engines": ["reverse-scan", "triangular-substitution"],
    "ensembles": ["lecture", "kinks"],
    "cases": 400,
    "depths": [3],
    "samples": False,
    "activations": False,
}
TIMES = ["compile_s", "run_s"]


def cut_off(folder, after: int, **more: Any):
    """Run until so many cases are done, and be interrupted there."""

    def interrupt(done: int, *_: Any) -> None:
        if done >= after:
            raise KeyboardInterrupt

    return verify(**RUN | more, output=folder, progress=interrupt)


@pytest.fixture(scope="module")
def whole():
    return verify(**RUN)


def assert_same(found, whole) -> None:
    assert found.complete
    assert found.verdict is whole.verdict
    for name in ("tolerance", "steps", "agreement"):
        mine, others = (getattr(report, name).drop(columns=TIMES, errors="ignore") for report in (found, whole))
        pd.testing.assert_frame_equal(mine, others, check_exact=True)


def test_a_run_that_was_cut_off_ends_as_it_would_have(tmp_path, whole) -> None:
    first = cut_off(tmp_path, 100)
    assert not first.complete
    assert first.exit_code == 3
    kept = json.loads((tmp_path / COUNTS_FILE).read_text())
    assert 0 < kept["at"][0] < 16
    again = cut_off(tmp_path, 250, resume=True)
    assert not again.complete
    assert_same(verify(**RUN, output=tmp_path, resume=True), whole)
    assert not (tmp_path / COUNTS_FILE).exists()


def test_a_batch_counted_twice_would_show(tmp_path, whole) -> None:
    cut_off(tmp_path, 100)
    kept = json.loads((tmp_path / COUNTS_FILE).read_text())
    kept["at"][0] -= 1
    (tmp_path / COUNTS_FILE).write_text(json.dumps(kept))
    with pytest.raises(AssertionError):
        assert_same(verify(**RUN, output=tmp_path, resume=True), whole)


def test_an_empty_folder_is_the_beginning(tmp_path, whole) -> None:
    assert_same(verify(**RUN, output=tmp_path, resume=True), whole)
    with pytest.raises(UsageError, match="finished: nothing is left to resume"):
        verify(**RUN, output=tmp_path, resume=True)


def test_another_run_is_not_gone_on_with(tmp_path) -> None:
    cut_off(tmp_path, 100)
    with pytest.raises(UsageError, match="holds another run: it has another seed"):
        verify(**RUN, seed=1, output=tmp_path, resume=True)
    with pytest.raises(UsageError, match="it has another engines"):
        verify(**RUN | {"engines": ["reverse-scan"]}, output=tmp_path, resume=True)
    text = (tmp_path / COUNTS_FILE).read_text()
    (tmp_path / COUNTS_FILE).write_text(text[: len(text) // 2])
    with pytest.raises(UsageError, match="it is damaged"):
        verify(**RUN, output=tmp_path, resume=True)
    with pytest.raises(UsageError, match="`resume` needs `output`"):
        verify(**RUN, resume=True)


def test_a_clock_ends_a_run_whole_and_there_is_more(tmp_path) -> None:
    endless = {name: value for name, value in RUN.items() if name != "cases"} | {"duration": 0.01}
    first = verify(**endless, output=tmp_path)
    more = verify(**endless, output=tmp_path, resume=True)
    assert first.complete
    assert more.complete
    assert more.environment["elapsed_s"] > first.environment["elapsed_s"]
    longer = verify(**endless | {"duration": 2.0}, output=tmp_path, resume=True)
    assert longer.accepted
    counted = [int(report.tolerance["cases"].sum()) if len(report.tolerance) else 0 for report in (first, more, longer)]
    assert counted[0] <= counted[1] < counted[2] < 1_000_000_000


@pytest.mark.parametrize("duration", [0, -1.0, np.nan])
def test_a_duration_is_above_0(duration: float) -> None:
    with pytest.raises(UsageError, match="`duration` must be above 0 seconds"):
        verify(**RUN | {"duration": duration})


def test_many_cores_make_several_batches_at_once_and_change_nothing(monkeypatch, whole) -> None:
    at_work, most, lock = 0, 0, threading.Lock()
    make = BatchMaker.batch

    def slow(*arguments: Any) -> Any:
        nonlocal at_work, most
        with lock:
            at_work += 1
            most = max(most, at_work)
        time.sleep(0.05)
        try:
            return make(*arguments)
        finally:
            with lock:
                at_work -= 1

    monkeypatch.setattr(BatchMaker, "batch", slow)
    for cores, at_once in ((2, 1), (16, 4)):
        monkeypatch.setattr(pipeline.os, "cpu_count", lambda cores=cores: cores)
        most = 0
        assert_same(verify(**RUN), whole)
        assert most == at_once
