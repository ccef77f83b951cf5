"""What is measured: two things side by side, in turns; and a process, with the memory that it and its children hold.

A time that was taken alone says as much about what else the machine did as about the program. So whatever is compared runs
in turns, in one process, and each round gives a ratio of its own: what disturbs a round disturbs both sides of it.
"""

from __future__ import annotations

import contextlib
import math
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import psutil

__all__ = ["Clock", "Finished", "Race", "Spread", "interleaved", "run_process"]

#: Tells seconds from some fixed moment on.
Clock = Callable[[], float]
#: A side of a round is repeated until it takes so many seconds, as a first call lets expect; but not more often than that.
_LEAST_S, _MOST_CALLS = 0.02, 5000
#: Seconds between two looks at a process, between two looks for its children, and how many of its last words are kept.
_LOOK_S, _FAMILY_S, _WORDS = 0.02, 0.5, 400


@dataclass(frozen=True)
class Spread:
    """A measured number: the median over rounds, and the quartiles around it."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, numbers: Sequence[float]) -> Spread:
        """Return the spread of some numbers; NaN where there are none."""
        if not numbers:
            return cls(math.nan, math.nan, math.nan)
        if len(numbers) == 1:
            return cls(numbers[0], numbers[0], numbers[0])
        low, median, high = statistics.quantiles(numbers, n=4, method="inclusive")
        return cls(median, low, high)


@dataclass(frozen=True)
class Race:
    """Two things that ran in turns.

    Attributes:
        ours: Seconds a call of the one took, round by round.
        theirs: The same of the other.
    """

    ours: tuple[float, ...]
    theirs: tuple[float, ...]

    def ratio(self, factor: float = 1.0) -> Spread:
        """Return ours / theirs, times a factor."""
        return Spread.of([factor * a / b for a, b in zip(self.ours, self.theirs, strict=True)])

    def inverse(self, factor: float = 1.0) -> Spread:
        """Return theirs / ours, times a factor."""
        return Spread.of([factor * b / a for a, b in zip(self.ours, self.theirs, strict=True)])

    @property
    def seconds(self) -> tuple[float, float]:
        """The median times of both."""
        return statistics.median(self.ours), statistics.median(self.theirs)


def interleaved(
    ours: Callable[[], Any],
    theirs: Callable[[], Any],
    *,
    rounds: int = 9,
    least_s: float = _LEAST_S,
    clock: Clock = time.perf_counter,
) -> Race:
    """Time two things in turns; in every other round the second goes first.

    Args:
        ours: Returns when its work is done. It is called twice before the first round, so that nothing is compiled in one.
        theirs: Likewise.
        rounds: How many.
        least_s: Seconds that each side of a round takes at least; calls are repeated for it.
        clock: Tells the time.
    """
    sides = (ours, theirs)
    calls = [_calls(side, least_s, clock) for side in sides]
    taken: tuple[list[float], list[float]] = ([], [])
    for number in range(rounds):
        for side in (0, 1) if number % 2 == 0 else (1, 0):
            start = clock()
            for _ in range(calls[side]):
                sides[side]()
            taken[side].append((clock() - start) / calls[side])
    return Race(tuple(taken[0]), tuple(taken[1]))


def _calls(side: Callable[[], Any], least_s: float, clock: Clock) -> int:
    side()
    start = clock()
    side()
    one = clock() - start
    return _MOST_CALLS if one * _MOST_CALLS < least_s else max(1, math.ceil(least_s / one))


@dataclass(frozen=True)
class Finished:
    """A process that has ended.

    Attributes:
        code: Its exit code; negative for a signal.
        seconds: From its start to its end.
        peak: The most bytes of memory that it and its children held together, when looked at every 20 ms.
        said: The last of what it printed.
    """

    code: int
    seconds: float
    peak: float
    said: str = ""


def run_process(
    arguments: Sequence[str], variables: Mapping[str, str], *, clock: Clock = time.perf_counter
) -> Finished:
    """Run this Python on some arguments, and watch what memory that takes.

    Args:
        arguments: Of the interpreter.
        variables: Environment variables to set besides those of this process.
        clock: Tells the time.
    """
    with tempfile.TemporaryFile() as words:
        start = clock()
        process = subprocess.Popen(
            [sys.executable, *arguments], env={**os.environ, **variables}, stdout=words, stderr=subprocess.STDOUT
        )
        try:
            code, peak = _watched(process)
        except BaseException:
            process.send_signal(signal.SIGTERM)
            raise
        seconds = clock() - start
        words.seek(max(0, words.tell() - _WORDS))
        return Finished(code, seconds, peak, words.read().decode("utf-8", "replace").strip())


def _watched(process: subprocess.Popen[Any]) -> tuple[int, float]:
    """Return the exit code of a process, and the most memory that it and its children held when looked at."""
    peak, looked, family = 0.0, -math.inf, []
    while process.poll() is None:
        with contextlib.suppress(psutil.Error):
            if time.monotonic() - looked > _FAMILY_S:  # to look for children takes as long as a hundred looks at memory
                family, looked = _family(process.pid), time.monotonic()
            peak = max(peak, sum(map(_held, family)))
        time.sleep(_LOOK_S)
    return process.returncode, peak or math.nan


def _family(process: int) -> list[psutil.Process]:
    """Return a process and all of its descendants."""
    parent = psutil.Process(process)
    return [parent, *parent.children(recursive=True)]


def _held(process: psutil.Process) -> int:
    """Return the bytes of memory that a process holds; 0 once it is gone."""
    try:
        return process.memory_info().rss
    except psutil.Error:
        return 0
