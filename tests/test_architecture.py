"""The floors of the package: what may import what, and what must not import JAX."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import chainback

PACKAGE = Path(chainback.__file__).parent
#: From the ground up. A module imports only from modules before it; JAX is imported only behind the line.
FLOORS = (
    *("errors", "environment", "rounding", "activations", "case", "ensembles"),
    *("oracle", "spread", "bounds", "judgement"),
    *("moments", "yardstick", "tally", "actions", "pointwise"),
    *("curves", "known_faults", "functions", "report", "counts", "comparison"),
    *("sections", "pictures", "panels", "charts", "findings", "changes", "stylesheet", "page", "showing"),
    *("plan", "drawn", "pipes", "supervision", "hosts", "timing", "figures"),
    *("baselines", "isolation", "versions", "chronicle", "strategies"),
    "--- the JAX line ---",
    *(
        "programs",
        "lifting",
        "engines.limits",
        "engines.engine",
        "engines.forward",
        "engines.reverse",
        "engines.closed_forms",
    ),
    *(
        "engines.triangular",
        "engines",
        "sweep",
        "function_sweep",
        "device",
        "device_oracle",
        "protocol",
        "runner",
        "campaign",
    ),
    "gathering",
    *("explanation", "scripts", "reproduction", "faults"),
    *("peers", "training", "quantecon.figures", "quantecon.problems", "quantecon.check", "quantecon.timing"),
    *("quantecon.examples", "quantecon.depth", "quantecon", "benchmarks"),
)
#: Above everything; they reach the rest through the package's lazy names.
ROOF = ("__init__", "cli", "__main__")
LINE = FLOORS.index("--- the JAX line ---")


def modules() -> dict[str, Path]:
    names = {}
    for path in PACKAGE.rglob("*.py"):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        names[".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts)] = path
    return names


def imports(source: str) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def violations(name: str, source: str) -> list[str]:
    place, wrong = FLOORS.index(name), []
    for found in imports(source):
        if found.split(".")[0] in ("jax", "jaxlib"):
            wrong += [f"{name} imports {found}"] * (place < LINE)
            wrong += [f"{name} imports the private {found}"] * ("_src" in found)
        inner = found.removeprefix("chainback.")
        if found != inner and inner in FLOORS and FLOORS.index(inner) >= place:
            wrong.append(f"{name} imports {inner}, which is not below it")
    return wrong


def test_every_module_has_a_floor() -> None:
    assert set(modules()) == (set(FLOORS) | set(ROOF)) - {FLOORS[LINE]}


@pytest.mark.parametrize("name", [name for name in FLOORS if not name.startswith("---")])
def test_modules_import_from_below_only(name: str) -> None:
    assert violations(name, modules()[name].read_text()) == []


@pytest.mark.parametrize(
    ("name", "planted"),
    [
        ("oracle", "import jax.numpy as jnp"),
        ("oracle", "from chainback.engines.triangular import linearise"),
        ("bounds", "from chainback import judgement"),
        ("campaign", "from jax._src import core"),
        ("case", "def f():\n    from chainback.report import Report"),
    ],
)
def test_a_planted_violation_is_found(name: str, planted: str) -> None:
    assert violations(name, modules()[name].read_text() + "\n" + planted)


def run_python(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)


NO_JAX = "import sys; {}; sys.exit('jax' in sys.modules)"


@pytest.mark.parametrize(
    "statement",
    [
        "import chainback",
        "import chainback.cli",
        "from chainback import Case, Chain, judge, draw, rebuild, Report, strategies",
        "import chainback.oracle, chainback.bounds, chainback.ensembles, chainback.plan",
    ],
)
def test_below_the_line_nothing_loads_jax(statement: str) -> None:
    assert run_python(NO_JAX.format(statement)).returncode == 0


def test_the_test_above_can_fail() -> None:
    assert run_python(NO_JAX.format("import chainback.engines")).returncode == 1


def test_public_names_resolve_and_no_module_bears_a_commands_name() -> None:
    for name in chainback.__all__:
        assert getattr(chainback, name) is not None
    assert not {"verify", "replay", "audit", "compare", "upgrade", "bisect", "lecture", "bench", "explain"} & set(
        modules()
    )
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        chainback.nonsense  # noqa: B018


def test_the_top_level_holds_what_it_may() -> None:
    root = PACKAGE.parent
    if not (root / "pyproject.toml").exists():
        pytest.skip("chainback is installed without its repository")
    tracked = subprocess.run(["git", "ls-files"], cwd=root, capture_output=True, text=True, check=False).stdout
    tops = {line.split("/")[0] for line in tracked.splitlines() if not line.startswith(".")}
    assert tops <= {"pyproject.toml", "README.md", "chainback", "properties", "tests", "reports"}
