"""What `explain` shows is the system itself: solved both ways, it gives the gradient."""

import io
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from chainback import Case, Chain, draw, explain, gradient, judge
from chainback.errors import UsageError

CHAIN = Chain.scalar([0.5, -1.2, 2.0], [0.1, 0.0, 0.3], ["sigmoid", "tanh", "identity"])
X, Y = np.float32([0.7]), np.float32([1.0])


def printed(found: object) -> str:
    console = Console(width=120, record=True, file=io.StringIO())
    console.print(found)
    return console.export_text()


@pytest.mark.parametrize(("depth", "width"), [(1, 1), (8, 1), (3, 2), (8, 3)])
def test_both_substitutions_give_the_gradient(depth: int, width: int) -> None:
    case = draw("alive", seed=1, depth=depth, width=width, batch=0, rows=4)[2]
    found = explain(case.chain, case.inputs, case.targets)
    tall = depth * width
    np.testing.assert_allclose(found.matrix @ found.inverse, np.eye(tall), atol=1e-4 * np.abs(found.inverse).max())
    np.testing.assert_allclose(found.inverse @ found.rhs.reshape(tall, -1), found.jacobian.reshape(tall, -1), rtol=1e-3)
    each = width * (width + 1)
    for ours in (found.forward_gradient, found.back_gradient):
        blocks = ours.reshape(depth, each)
        mine = Chain(
            blocks[:, : width * width].reshape(depth, width, width), blocks[:, width * width :], ("sin",) * depth
        )
        assert judge(Case(case.chain, case.inputs, case.targets), mine).accepted
    assert printed(found).count("Step ") == depth


def test_the_numbers_of_the_system_are_printed() -> None:
    text, found = printed(explain(CHAIN, X, Y)), explain(CHAIN, X, Y)
    for part in ("I − L", "(I − L)⁻¹", "Dᵀ", "Forward substitution", "Back substitution", "coupling", "float64"):
        assert part in text
    for number in (*found.matrix.ravel(), *found.inverse.ravel(), *found.adjoints.ravel(), *found.jacobian.ravel()):
        assert number == 0 or f"{number:.4g}" in text
    reverse = gradient(CHAIN, X, Y)
    assert f"{float(reverse.biases[0, 0]):.5g}"[:6] in text


def test_a_case_id_is_enough_and_its_name_is_shown() -> None:
    case_id = draw("lecture", seed=0, depth=3, width=1, batch=0, rows=8).ids[5]
    assert case_id in printed(explain(case_id))


@pytest.mark.parametrize(
    ("asked", "sentence"),
    [
        (("lecture@1:0:31x1:0:0",), "cannot explain 31 layers of width 1: nobody reads more than 8 layers of width 3"),
        (("lecture@1:0:3x1:0:0", X, Y), "`x` and `y` must not be given with a case"),
        (("nonsense",), "nonsense"),
        ((CHAIN, np.float32([1.0, 2.0]), Y), r"`inputs` must have shape \(1,\)"),
    ],
)
def test_what_cannot_be_explained_is_one_sentence(asked: tuple, sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence) as caught:
        explain(*asked)
    assert len(str(caught.value).splitlines()) == 1


def test_a_batch_is_refused() -> None:
    batch = draw("lecture", seed=0, depth=3, width=1, batch=0, rows=8)
    with pytest.raises(UsageError, match="cannot explain a batch"):
        explain(batch.chain, batch.inputs, batch.targets)


def test_the_matrices_are_drawn_zeros_left_blank() -> None:
    pictures = pytest.importorskip("chainback.reporting.pages.drawings")
    found = explain(CHAIN, X, Y)
    figure = pictures.draw_matrices(found.matrices)
    assert [len(trace.y) for trace in figure.data] == [3, 3, 1, 3, 8, 3, 3]
    assert [note.text for note in figure.layout.annotations] == list(found.matrices)
    system = np.array(figure.data[0].z, float)
    assert np.isnan(system[0, 1:]).all()
    np.testing.assert_allclose(np.sinh(system[1, 0]), found.matrix[1, 0], rtol=1e-6)


@pytest.mark.parametrize(("depth", "width"), [(3, 1), (2, 2)])
def test_both_substitutions_are_drawn_step_by_step(depth: int, width: int) -> None:
    case = draw("alive", seed=1, depth=depth, width=width, batch=0, rows=4)[2]
    found = explain(case)
    frames = list(found.matrices.values())
    _, local, couplings, _, forward, back, gradients = frames
    states = [f"[{k}]" if width > 1 else "" for k in range(width)]
    for i in range(1, depth + 1):
        for unit in states:
            step = forward.loc[f"D_{i} dp{unit}"].to_numpy()
            step = step + (forward.loc[f"C_{i} dx_{i - 1}{unit}"].to_numpy() if i > 1 else 0.0)
            np.testing.assert_allclose(forward.loc[f"dx_{i}{unit}"], step, rtol=1e-5, atol=1e-7)
            np.testing.assert_array_equal(forward.loc[f"D_{i} dp{unit}"], local.loc[f"x_{i}{unit}"])
    for i in reversed(range(1, depth)):
        coupling = couplings[[f"C_{i + 1}{unit}" for unit in states]].to_numpy()
        known, now = back.iloc[depth - 1 - i], back.iloc[depth - i]
        later, mine = ([f"λ_{place}{unit}" for unit in states] for place in (i + 1, i))
        np.testing.assert_allclose(now[mine], coupling.T @ known[later].to_numpy(), rtol=1e-5)
        assert not known[mine].any(), "a layer's adjoint is not known before its step"
    np.testing.assert_allclose(gradients.iloc[:2], np.tile(found.reference, (2, 1)), rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("console_width", [80, 120])
def test_nothing_is_cut_off_on_a_narrow_terminal(console_width: int) -> None:
    found = explain(draw("alive", seed=1, depth=3, width=3, batch=0, rows=4)[2])
    console = Console(width=console_width, record=True, file=io.StringIO())
    found.print(console)
    text = console.export_text()
    assert "…" not in text
    for number in (*found.matrix.ravel(), *found.inverse.ravel(), *found.jacobian.ravel()):
        assert number == 0 or f"{number:.4g}" in text


def test_the_command(tmp_path: Path) -> None:
    pytest.importorskip("plotly")
    command = [sys.executable, "-m", "chainback", "explain", "lecture@1:0:3x1:0:0", "--picture", "system.html"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert "Back substitution" in done.stdout
    assert (tmp_path / "system.html").exists()


def test_a_case_of_the_users_own_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = """
import numpy as np
from chainback import Case, Chain
chain = Chain.scalar([0.5, -1.2], [0.1, 0.0], ["sigmoid", "identity"])
case = Case(chain, np.float32([0.7]), np.float32([1.0]))
"""
    (tmp_path / "my_chain.py").write_text(source)
    monkeypatch.syspath_prepend(str(tmp_path))
    assert explain("my_chain:case").case.chain.depth == 2
    with pytest.raises(UsageError, match=r"'my_chain:chain' must be a chainback.Case\(chain, x, y\), got a Chain"):
        explain("my_chain:chain")
    with pytest.raises(UsageError, match="case 'my_chain:nothing' cannot be loaded: AttributeError"):
        explain("my_chain:nothing")
