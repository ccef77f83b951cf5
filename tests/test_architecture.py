"""The house: rooms on floors, which rooms import JAX, and what no module may do."""

import ast
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import chainback

PACKAGE = Path(chainback.__file__).parent
ROOT = PACKAGE.parent
MODULES = sorted(PACKAGE.rglob("*.py"))
#: Rooms: every folder of the package, and the modules that lie beside them.
ROOMS = {path.stem for path in PACKAGE.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()}
#: More floors than these, and nobody remembers them.
MOST_FLOORS = 12
#: Where a module may be imported by its name in a string, and what for.
BY_NAME = {
    "__init__.py": "the public names",
    "environment.py": "JAX, when a command runs",
    "engines/user_engines.py": "an engine of the user's own",
    "diagnosis/explanation.py": "a chain of the user's own",
    "processes/child_process.py": "what another process runs",
    "reporting/pages/html.py": "plotly, which may be missing",
    "studies/other_checkers.py": "torch, which may be missing",
}


def lint(root: Path) -> subprocess.CompletedProcess[str]:
    """Hold the package in a folder to the contracts of the pyproject.toml there."""
    code = (
        "import sys; sys.path.insert(0, '.'); from importlinter.cli import lint_imports_command as c; c(['--no-cache'])"
    )
    return subprocess.run(
        [sys.executable, "-c", code], cwd=root, capture_output=True, text=True, timeout=120, check=False
    )


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("importlinter")
    if not (ROOT / "pyproject.toml").exists():
        pytest.skip("chainback is installed without its repository")
    root = tmp_path_factory.mktemp("house")
    shutil.copy(ROOT / "pyproject.toml", root)
    shutil.copytree(PACKAGE, root / "chainback", ignore=shutil.ignore_patterns("__pycache__"))
    return root


@pytest.mark.xdist_group("house")
def test_the_contracts_are_kept(copy: Path) -> None:
    done = lint(copy)
    assert done.returncode == 0, done.stdout
    assert "Contracts: 4 kept, 0 broken." in done.stdout


@pytest.mark.xdist_group("house")
@pytest.mark.parametrize(
    ("module", "planted", "broken"),
    [
        (
            "operations/arithmetic.py",
            "from chainback.judging import judgement",
            "A room imports from lower floors only",
        ),
        (
            "problems/chain.py",
            "def f():\n    from chainback.reporting import report",
            "A room imports from lower floors",
        ),
        ("diagnosis/replay.py", "from chainback.studies import audit", "A room imports from lower floors only"),
        (
            "truth/chain_gradient.py",
            "from chainback.engines import networks",
            "The truth and the engines share no code",
        ),
        ("engines/forward.py", "from chainback.truth import chain_bound", "The truth and the engines share no code"),
        ("truth/chain_bound.py", "import jax.numpy as jnp", "Rooms that do not import JAX"),
        ("judging/tally.py", "def f():\n    from jaxlib import version", "Rooms that do not import JAX"),
        ("versions/upgrade.py", "import jax", "versions/ itself does not import JAX"),
        ("unheard_of.py", "", "A room imports from lower floors only"),
    ],
)
def test_a_planted_violation_breaks_its_contract(copy: Path, module: str, planted: str, broken: str) -> None:
    path = copy / "chainback" / module
    before = path.read_text() if path.exists() else None
    path.write_text((before or "") + "\n" + planted + "\n")
    try:
        done = lint(copy)
    finally:
        path.unlink() if before is None else path.write_text(before)
    assert done.returncode == 1, done.stdout
    said = [line for line in done.stdout.splitlines() if line.startswith(broken) and line.endswith("BROKEN")]
    assert said, done.stdout


def floors(pyproject: str) -> list[str]:
    contracts = tomllib.loads(pyproject)["tool"]["importlinter"]["contracts"]
    return next(contract["layers"] for contract in contracts if contract["id"] == "floors")


def test_there_are_few_floors_and_each_room_stands_on_one() -> None:
    found = floors((ROOT / "pyproject.toml").read_text())
    named = [room for floor in found for room in floor.split(" | ")]
    assert len(found) <= MOST_FLOORS
    assert sorted(named) == sorted(ROOMS - {"__init__"})


def test_few_modules_lie_outside_of_a_room() -> None:
    assert {path.name for path in PACKAGE.glob("*.py")} == {"__init__.py", "__main__.py", "errors.py", "environment.py"}


@pytest.mark.parametrize("room", sorted(path.parent for path in PACKAGE.rglob("*/__init__.py")), ids=lambda p: p.name)
def test_a_rooms_docstring_names_its_files(room: Path) -> None:
    tree = ast.parse((room / "__init__.py").read_text())
    said = ast.get_docstring(tree) or ""
    files = {path.stem for path in room.glob("*.py")} | {path.parent.name for path in room.glob("*/__init__.py")}
    assert [name for name in sorted(files - {"__init__"}) if f"`{name}`" not in said] == []
    assert all(isinstance(node, ast.Expr) for node in tree.body), "a room's __init__ is its map, and nothing else"


def imported(source: str) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def private(source: str) -> list[str]:
    return [name for name in imported(source) if "._src" in name]


def test_nothing_of_jax_is_imported_that_is_private() -> None:
    assert {path.name: found for path in MODULES if (found := private(path.read_text()))} == {}
    assert private("from jax._src import core") != []


def by_name(source: str) -> bool:
    """Whether a module imports others by a name in a string."""
    return "import_module" in source or "__import__" in source


def test_modules_are_imported_by_a_string_in_few_places() -> None:
    found = {str(path.relative_to(PACKAGE)) for path in MODULES if by_name(path.read_text())}
    assert found == set(BY_NAME)
    assert by_name("import importlib\nimportlib.import_module('chainback')")


def run_python(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)


NO_JAX = "import sys; {}; sys.exit('jax' in sys.modules)"


@pytest.mark.parametrize(
    "statement",
    [
        "import chainback",
        "import chainback.cli.main",
        "import chainback.running.verify",
        "import chainback.running.batch_judge",  # it never calls back into JAX
        "from chainback import Case, Chain, judge, draw, rebuild, strategies, compare, merge, show",
        "import chainback.truth.chain_bound, chainback.processes.worker, chainback.versions.history",
    ],
)
def test_rooms_without_jax_do_not_load_it(statement: str) -> None:
    assert run_python(NO_JAX.format(statement)).returncode == 0


def test_the_test_above_can_fail() -> None:
    assert run_python(NO_JAX.format("import chainback.engines.registry")).returncode == 1


def test_public_names_resolve() -> None:
    for name in chainback.__all__:
        assert getattr(chainback, name) is not None
    assert len(chainback.__all__) <= 30
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        chainback.nonsense  # noqa: B018


def test_type_checkers_see_the_public_names() -> None:
    """Imports for type checkers, the table of modules and `__all__` name the same things."""
    tree = ast.parse((PACKAGE / "__init__.py").read_text())
    (block,) = (node for node in tree.body if isinstance(node, ast.If))
    seen = {alias.name: node.module for node in block.body if isinstance(node, ast.ImportFrom) for alias in node.names}
    modules = {name: f"chainback.{path}".rpartition(".")[0] for name, path in chainback._MODULES.items()}
    assert seen == {name: f"chainback.{module}" for name, module in chainback._HOMES.items()} | modules
    assert set(seen) == set(chainback.__all__)


def test_no_module_bears_the_name_of_a_public_name() -> None:
    """Else `chainback.verify` would be a module once that was imported."""
    assert ROOMS & set(chainback.__all__) == {"errors"}


def test_the_top_level_holds_what_it_may() -> None:
    if not (ROOT / "pyproject.toml").exists():
        pytest.skip("chainback is installed without its repository")
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False).stdout
    tops = {line.split("/")[0] for line in tracked.splitlines() if not line.startswith(".")}
    assert tops <= {"pyproject.toml", "README.md", "chainback", "properties", "tests", "reports"}


def test_tests_mirror_the_rooms() -> None:
    here = Path(__file__).parent
    folders = {path.name for path in here.iterdir() if path.is_dir() and not path.name.startswith(("_", "."))}
    assert folders - {"support", "tools"} <= ROOMS


#: Names that stand for one thing in the whole package, and the modules that may define them.
ONCE = {
    "Array": {"operations/arithmetic.py", "engines/networks.py"},  # without JAX, and with it
    "FLOAT64": {"operations/arithmetic.py"},
    "FALSE_ALARM": {"judging/statistics.py"},
}


def defines(source: str, name: str) -> bool:
    """Whether a module assigns a name, or one that only a leading underscore tells from it."""
    targets = [t for node in ast.parse(source).body if isinstance(node, ast.Assign) for t in node.targets]
    return any(isinstance(target, ast.Name) and target.id.lstrip("_") == name for target in targets) or any(
        f"class {name}(" in line for line in source.splitlines()
    )


@pytest.mark.parametrize("name", ONCE)
def test_names_that_stand_for_one_thing_are_defined_once(name: str) -> None:
    found = {str(path.relative_to(PACKAGE)) for path in MODULES if defines(path.read_text(), name)}
    assert found == ONCE[name]


def test_a_second_definition_is_noticed() -> None:
    assert defines("import numpy\n_FLOAT64 = 1\n", "FLOAT64")
    assert not defines("from a import FLOAT64\n", "FLOAT64")


def files_by_room(package: Path) -> dict[str, set[str]]:
    """Return the files of every room of a package, and its modules that lie beside the rooms, which hold none."""
    rooms = {f"{path.parent.relative_to(package).as_posix()}/": path.parent for path in package.rglob("*/__init__.py")}
    files = {
        name: {path.name for path in room.iterdir() if path.is_file()} - {"__init__.py"} for name, room in rooms.items()
    }
    return files | {path.name: set() for path in package.glob("*.py")}


def table_of_rooms(text: str) -> dict[str, tuple[str, str, set[str]]]:
    """Return (floor, JAX, files) of each room in the table of a map."""
    section = text.partition("\n## Rooms and floors\n")[2].partition("\n## ")[0]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in section.splitlines() if "`" in line]
    return {
        room.strip("`"): (floor, jax, set(re.findall(r"`([^`]+)`", files)))
        for floor, room, _, jax, files in (row for row in rows if len(row) == 5)
    }


def test_the_map_names_every_room_and_file(tmp_path: Path) -> None:
    found = table_of_rooms((PACKAGE / "README.md").read_text())
    assert {room: files for room, (_, _, files) in found.items()} == files_by_room(PACKAGE)
    # Negative controls: a file and a room that no map names, and a file that is not there.
    copied = tmp_path / "chainback"
    shutil.copytree(PACKAGE, copied, ignore=shutil.ignore_patterns("__pycache__"))
    assert files_by_room(copied) == files_by_room(PACKAGE)
    (copied / "truth" / "planted.py").touch()
    assert files_by_room(copied)["truth/"] - found["truth/"][2] == {"planted.py"}
    (copied / "planted").mkdir()
    (copied / "planted" / "__init__.py").touch()
    assert set(files_by_room(copied)) - set(found) == {"planted/"}
    (copied / "truth" / "envelope.py").unlink()
    assert found["truth/"][2] - files_by_room(copied)["truth/"] == {"envelope.py"}


def test_the_map_knows_floors_and_which_rooms_import_jax() -> None:
    found = table_of_rooms((PACKAGE / "README.md").read_text())
    pyproject = (ROOT / "pyproject.toml").read_text()
    contracts = tomllib.loads(pyproject)["tool"]["importlinter"]["contracts"]
    (free,) = (contract["source_modules"] for contract in contracts if contract["id"] == "jax-free")
    number = {
        room: str(floor) for floor, rooms in enumerate(reversed(floors(pyproject)), 1) for room in rooms.split(" | ")
    }
    for path, (floor, jax, _) in found.items():
        room = path.split("/")[0].removesuffix(".py")
        assert floor == number.get(room, ""), path
        assert jax != "yes" or f"chainback.{room}" not in free, path
        imports_it = any("jax" in imported(file.read_text()) for file in (PACKAGE / room).glob("*.py"))
        assert jax == "yes" or not imports_it, path


def missing_paths(text: str, *roots: Path) -> set[str]:
    """Return the paths between backticks that are in none of the folders."""
    paths = re.findall(r"`([\w./-]+(?:/|\.py|\.toml|\.txt|/run))`", text)
    return {path for path in paths if not any((root / path).exists() for root in roots)}


def test_paths_in_the_map_and_in_contributing_exist() -> None:
    if not (ROOT / ".github").exists():
        pytest.skip("chainback is installed without its repository")
    for document in (PACKAGE / "README.md", ROOT / ".github" / "CONTRIBUTING.md"):
        text = document.read_text().partition("\n## Rooms and floors\n")
        text = text[0] + text[2].partition("\n## ")[2]
        rooms = [path for path in PACKAGE.iterdir() if path.is_dir()]
        assert missing_paths(text, ROOT, PACKAGE, *rooms) == set(), document
        assert missing_paths(text + " `truth/unheard_of.py`", ROOT, PACKAGE, *rooms) == {"truth/unheard_of.py"}
