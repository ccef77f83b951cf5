"""Engines that take their process along, and a compiler that does."""

import ctypes
import dataclasses
import os
import re
import signal
import time
from pathlib import Path

import jax

from chainback import ENGINES
from chainback.running.device_truth import DeviceTruth

_RIGHT = ENGINES["reverse-scan"]


def right(*arguments):
    return _RIGHT(*arguments)


def segfaults(*_):
    ctypes.string_at(0)


def meets_an_illegal_instruction(*_):
    os.kill(os.getpid(), signal.SIGILL)


def ends_the_process_as_if_all_were_well(*_):
    os._exit(0)


def hangs(*_):
    """Inside C code that never lets another thread run."""
    re.match(r"(a+)+$", "a" * 64 + "b")


def eats_the_memory(*_):
    eaten = []
    while True:
        eaten.append(bytearray(b"x" * 50_000_000))
        time.sleep(0.01)


def segfaults_on_nine_layers(weights, biases, activations, inputs, targets):
    if weights.shape[1] == 9:
        ctypes.string_at(0)
    return _RIGHT(weights, biases, activations, inputs, targets)


def dies_the_first_time(*arguments):
    """Dies once, and never again: what a machine under pressure does."""
    if not Path("died").exists():
        Path("died").touch()
        ctypes.string_at(0)
    return _RIGHT(*arguments)


def _crash_while_traced(weights, biases, activations, x, y):
    """A compiler's crash: it comes before any program exists, in the thread that compiles."""
    if isinstance(x, jax.core.Tracer) and weights.shape[0] == 9:
        time.sleep(0.5)  # until the other thread compiles, too
        ctypes.string_at(0)
    return _RIGHT.gradient(weights, biases, activations, x, y)


def plant_a_crashing_compiler():
    for name in ("reverse-remat",):
        ENGINES[name] = dataclasses.replace(ENGINES[name], gradient=_crash_while_traced)
    return right


class _PlantedOnImport:
    """`saboteurs:compiler` is the honest engine, and importing it breaks the compilation of another one."""

    def __call__(self, *arguments):
        return _RIGHT(*arguments)


compiler = _PlantedOnImport()
if os.environ.get("CHAINBACK_TEST_CRASHING_COMPILER"):
    plant_a_crashing_compiler()


def _crash_while_working_out(self, case, arithmetic):
    ctypes.string_at(0)


oracle = _PlantedOnImport()
if os.environ.get("CHAINBACK_TEST_CRASHING_ORACLE"):
    DeviceTruth.envelope = _crash_while_working_out
