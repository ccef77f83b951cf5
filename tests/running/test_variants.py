"""Any order, any device: honest engines are accepted wherever flags, precisions and devices legally change rounding.

JAX reads its flags once, when it starts, so each variant runs in a process of its own.
"""

import json
import os
import subprocess
import sys
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from chainback import ENGINES, verify
from chainback.engines.networks import codes
from chainback.engines.registry import Engine
from chainback.environment import environment

SUPPORT = Path(__file__).parents[1] / "support"
FEATURES = environment(datetime.now(UTC))["processor"]["features"].split()
DEVICES = 8
#: JAX before 0.4.34 loses the tail of exact GELU, and is rejected where GELU occurs.
TAILED = tuple(map(int, jax.__version__.split(".")[:3])) >= (0, 4, 34)
#: Scalars and matrices, every activation, in few compilations.
SMALL = {
    "ensembles": ["mixed", "wide"] if TAILED else ["lecture", "kinks"],
    "depths": [4],
    "cases": 200,
    "activations": False,
    "samples": False,
}
SOME = ["forward-scan", "reverse-scan", "triangular-substitution"]
FAST_MATH = "--xla_cpu_enable_fast_math=true"
DISHONOURED = " ".join(f"--xla_cpu_fast_math_honor_{what}=false" for what in ("nans", "infs", "division", "functions"))


def sharded(engine: Engine) -> Any:
    """The engine with its batch split over all devices, as a user who trains in parallel runs it."""
    mesh = Mesh(np.array(jax.devices()), ("batch",))
    split, whole = NamedSharding(mesh, PartitionSpec("batch")), NamedSharding(mesh, PartitionSpec())
    run = jax.jit(
        jax.vmap(engine.gradient, in_axes=(0, 0, None, 0, 0)),
        in_shardings=(split, split, whole, split, split),
        out_shardings=(split, split),
    )

    def gradients(weights, biases, activations, inputs, targets):
        rows = len(inputs)
        padding = -rows % DEVICES
        w, b, x, y = (np.concatenate([a, np.repeat(a[-1:], padding, 0)]) for a in (weights, biases, inputs, targets))
        parts = run(w, b, codes(activations), x, y)
        for part in parts:
            shards = {shard.device: shard.data.shape[0] for shard in part.addressable_shards}
            assert len(shards) == DEVICES
            assert set(shards.values()) == {(rows + padding) // DEVICES}
        return tuple(np.asarray(part)[:rows] for part in parts)

    gradients.__qualname__ = f"sharded {engine.name}"
    return gradients


def two_devices_swapped(engine: Engine) -> Any:
    """A negative control: what the second and the third device computed comes back in the other's place."""
    right = sharded(engine)

    def gradients(*arguments):
        each = -(-len(arguments[-1]) // DEVICES)
        parts = [np.array(part) for part in right(*arguments)]
        for part in parts:
            part[each : 3 * each] = np.roll(part[each : 3 * each], each, axis=0)
        return tuple(parts)

    gradients.__qualname__ = f"swapped {engine.name}"
    return gradients


def run_variant(engines: str | list[str], made: str = "", ask_sigmoid: bool = False, **options: Any) -> dict[str, Any]:
    """What this process sees of one campaign; called in a process that was started with a variant's flags."""
    chosen: Any = engines
    if made:
        assert len(jax.devices()) == DEVICES
        chosen = [{"sharded": sharded, "swapped": two_devices_swapped}[made](ENGINES[name]) for name in engines]
    report = verify(engines=chosen, **options)
    found = {
        "exit_code": report.exit_code,
        "engines": list(report.tolerance["engine"].unique()),
        "reasons": [rejection.reason for rejection in report.rejections],
        "rejected": [sorted(set(report.tolerance.query("rejected > 0")[column])) for column in ("engine", "ensemble")],
        "digests": list(report.tolerance["digest"]),
        "model": report.environment["matmul_precision"],
        "variables": report.environment["variables"],
        "swept": report.activations.query("verdict == 'rejected'").to_dict("records"),
    }
    if ask_sigmoid:
        z = np.full(1024, -104, np.float32)
        found["nan"] = bool(np.isnan(jax.jit(jax.nn.sigmoid)(z)).any())
    return found


def variant(flags: str = "", precision: str = "", **options: Any) -> dict[str, Any]:
    """Run a campaign in a process with these flags, and return what it saw; skip where this jaxlib knows no such flag."""
    variables = {
        **os.environ,
        "XLA_FLAGS": flags,
        "JAX_PLATFORMS": "cpu",
        "PYTHONPATH": os.pathsep.join((str(SUPPORT), str(Path(__file__).parent))),
    }
    variables.pop("JAX_DEFAULT_MATMUL_PRECISION", None)
    if precision:
        variables["JAX_DEFAULT_MATMUL_PRECISION"] = precision
    arguments = json.dumps({"engines": SOME, **SMALL, **options})
    command = [sys.executable, "-c", "import test_variants; test_variants.main()", arguments]
    done = subprocess.run(
        command, capture_output=True, text=True, cwd=SUPPORT.parents[1], env=variables, timeout=300, check=False
    )
    for line in done.stderr.splitlines():
        if "Unknown flag" in line and done.returncode:
            pytest.skip(f"this jaxlib stops at {line[line.index('Unknown flag') :].strip()}")
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout)


@cache
def plain() -> dict[str, Any]:
    return variant()


def changes_bits(seen: dict[str, Any]) -> bool:
    """Whether a variant's gradients differ from the plain run's in any bit."""
    return seen["digests"] != plain()["digests"]


@pytest.mark.parametrize(
    "flags",
    [
        pytest.param("--xla_backend_optimization_level=0", id="unoptimised"),
        pytest.param("--xla_cpu_max_isa=SSE4_2", id="without fused multiply-add", marks=pytest.mark.slow),
        pytest.param("--xla_disable_hlo_passes=fusion,algsimp", id="without fusion", marks=pytest.mark.slow),
        pytest.param(FAST_MATH, id="reassociated", marks=pytest.mark.slow),
    ],
)
def test_honest_engines_are_accepted_under_flags_that_change_rounding(flags: str) -> None:
    seen = variant(flags)
    assert seen["exit_code"] == 0, seen["reasons"]
    assert seen["engines"] == SOME
    assert seen["variables"]["XLA_FLAGS"] == flags
    if "fma" in FEATURES:
        assert changes_bits(seen), "the flag changes no bit here, so it tests nothing"


def test_a_broken_engine_is_rejected_under_them_too() -> None:
    seen = variant("--xla_backend_optimization_level=0", engines=["broken_engines:scaled_bias"])
    assert seen["exit_code"] == 1
    assert seen["rejected"] == [["broken_engines:scaled_bias"], sorted(SMALL["ensembles"])]
    assert "db_1[0]: got" in seen["reasons"][0]


@pytest.mark.slow
def test_a_cpu_multiplies_in_float32_whatever_the_legacy_precision_says() -> None:
    seen = variant(precision="bfloat16")
    assert seen["exit_code"] == 0, seen["reasons"]
    assert not changes_bits(seen)
    assert (seen["model"], seen["variables"]["JAX_DEFAULT_MATMUL_PRECISION"]) == ("float32", "bfloat16")


@pytest.mark.parametrize("made", ["sharded", "swapped"])
def test_engines_sharded_over_eight_devices_are_judged(made: str) -> None:
    names = list(ENGINES) if made == "sharded" else ["reverse-scan"]
    flags = f"--xla_force_host_platform_device_count={DEVICES}"
    seen = variant(flags, made=made, engines=names, ensembles=SMALL["ensembles"][:1])
    assert seen["engines"] == [f"test_variants:{made} {name}" for name in names]
    assert seen["exit_code"] == (made == "swapped"), seen["reasons"]


def test_fast_math_without_nan_and_infinity_is_seen_where_sigmoid_becomes_nan() -> None:
    """With 1/(1 + e^-z) by an approximate reciprocal, ∞ · 0: NaN below z = -88.7, in vectors and not in scalars."""
    seen = variant(
        f"{FAST_MATH} {DISHONOURED}",
        ask_sigmoid=True,
        engines=["reverse-scan", "triangular-substitution"],
        ensembles=["saturated"],
        cases=1000,
        activations=True,
    )
    lost = [row for row in seen["swept"] if row["margin_max"] == float("inf")]
    if not seen["nan"]:  # this processor divides exactly
        assert (seen["rejected"], lost) == ([[], []], [])
        return
    assert seen["exit_code"] == 1
    assert {row["activation"] for row in lost} == {"sigmoid", "silu"}
    assert {row["method"] for row in lost} == {"primal", "forward", "reverse"}
    assert all(row["worst_z"] < -88 for row in lost)
    assert seen["rejected"][0] in ([], ["reverse-scan"]), "a closed form has no infinity to lose"
    assert not TAILED or all("got nan, expected" in reason for reason in seen["reasons"])


def main() -> None:
    """Run one campaign as the arguments ask, and print what it saw."""
    print(json.dumps(run_variant(**json.loads(sys.argv[1]))))
