"""Mutants of the truth, the bounds and the judge: some by hand, and a sample of all that `mutation.py` makes."""

import random
from pathlib import Path

import battery
import mutation
import pytest
from battery import CHECKS, originals, survives
from mutation import EQUIVALENTS, Key, Mutant, all_mutants, equivalents, main, still_alive, unlisted


def test_the_original_survives() -> None:
    assert survives(originals())


#: (module, what stands there, what stands there instead): each must be found once, and be killed.
MUTANTS = (
    ("chain_gradient", "residual = states[-1] - targets", "residual = states[-1] + targets"),
    ("recurrences", "np.swapaxes(couplings, 1, 2)[::-1]", "couplings[::-1]"),
    ("recurrences", "matvec(C, previous) + right, couplings", "matvec(C, previous), couplings"),
    ("chain_gradient", "slopes[:, :, None] * weights, residual)", "weights, residual)"),
    ("recurrences", "diagonals[width + row - column, column", "diagonals[width + column - row, column"),
    ("recurrences", "= -couplings[:, row, column]", "= couplings[:, row, column]"),
    ("recurrences", "for chain in chains]", "for _ in chains for chain in (0,)]"),
    (
        "chain_gradient",
        "slopes[layers] = activation(name).slope(arguments[layers])",
        "slopes[layers] = activation(name).slope(states[layers])",
    ),
    ("chain_forward_error", "self.affine = gamma(width + 1, self.u) +", "self.affine = gamma(width, self.u) +"),
    ("chain_forward_error", "gamma(width + 1, self.u) + arithmetic.product_roundoff", "gamma(width + 1, self.u)"),
    ("chain_forward_error", "+ (2 * width + 2) * tiny", ""),
    ("chain_forward_error", "self.local_error += np.where(biases < tiny, biases, 0.0)", "pass"),
    ("chain_forward_error", "& (activation(name).second_max == 0.0)", "| (activation(name).second_max == 0.0)"),
    (
        "chain_forward_error",
        "exact_states[i] = exact_arguments[i] & (value_scales[i] == 0.0)",
        "exact_states[i] = exact_arguments[i]",
    ),
    (
        "recurrences",
        "if (np.abs(residual) <= _CONVERGED * magnitude).all():",
        "if (np.abs(residual) <= _CONVERGED * magnitude).any():",
    ),
    ("recurrences", "if (np.abs(residual) <= _CONVERGED * magnitude).all():", "if True:"),
    (
        "chain_forward_error",
        "if not (deep and recurrence.solve(chunk)):",
        "if not (deep and (recurrence.solve(chunk) or True)):",
    ),
    ("chain_forward_error", "(total * u <= unit)", "(total * u <= 2 * unit)"),
    ("chain_forward_error", "return (unit >= tiny) &", "return (unit >= 0) &"),
    (
        "chain_forward_error",
        "E_δ = (curvature + 0.5 * third * E_z) * E_z + slope_rounding",
        "E_δ = curvature * E_z + slope_rounding",
    ),
    ("chain_forward_error", "E_x = (slope + 0.5 * second * E_z) * E_z", "E_x = slope * E_z"),
    ("chain_forward_error", "curvature = np.where(np.abs(z - crease) <= E_z, second, curvature)", "pass"),
    (
        "chain_forward_error",
        "near = (np.abs(z - kink) <= E_z) & ((E_z > 0.0) | (not model.settled))",
        "near = np.abs(z - kink) <= E_z",
    ),
    ("chain_forward_error", "E_δ = np.where(near, jump, E_δ)", "pass"),
    ("chain_forward_error", "E_δ = np.minimum(E_δ, jump)", "pass"),
    ("chain_forward_error", "+ model.slope_rounding * u * model.lipschitz", ""),
    (
        "chain_bound",
        "local_error = (1.0 + u) * E_δ * Λ + u * G + slope_underflow",
        "local_error = u * G + slope_underflow",
    ),
    (
        "chain_bound",
        "local_error = (1.0 + u) * E_δ * Λ + u * G + slope_underflow",
        "local_error = (1.0 + u) * E_δ * Λ + u * G",
    ),
    ("chain_bound", "factor = (1.0 + u) * (slopes + E_δ)", "factor = (1.0 + u) * slopes"),
    ("chain_bound", "(1.0 + κ) * local_error + κ * G)[1:] + 2 * width * tiny", "(1.0 + κ) * local_error + κ * G)[1:]"),
    ("chain_bound", "rhs[:-1] = rhs[:-1] + matvec(np.swapaxes(flushed, 1, 2), G)[1:]", "pass"),
    ("chain_bound", "tail[first] * head[second])", "tail[first])"),
    (
        "chain_bound",
        "underflow = 8.0 * depth * width**2 * total * ends * loss",
        "underflow = 8.0 * depth * width * total * ends * loss",
    ),
    ("chain_bound", "total, peak = _products(norms[1:])", "total, peak = _products(norms)"),
    ("chain_bound", "(largest < arithmetic.largest) & ~vacuous", "(largest < arithmetic.largest)"),
    ("chain_bound", "return np.minimum(every, peak[0] ** 2), peak[0]", "return every, peak[0]"),
    ("chain_bound", "decided &= largest < arithmetic.largest", "pass"),
    ("chain_bound", "decided = error_bounds.decided & np.isfinite(bounds)", "decided = np.isfinite(bounds)"),
    ("envelope", "place - (end - block.size)", "place"),
    ("envelope", "if place < end:", "if place <= end:"),
    ("envelope", "index[0] + 1}", "index[0]}"),
    ("envelope", "row[end - block.size : end]", "row[: block.size]"),
    ("judgement", "error <= within.bound)", "error < within.bound)"),
    ("judgement", "error <= within.bound)", "~(error > within.bound))"),
    ("judgement", "error <= within.bound)", "deviation <= within.bound)"),
    ("judgement", "return decided & False if self.malformed", "return decided if self.malformed"),
    ("judgement", "return decided | True if self.malformed", "return decided if self.malformed"),
    ("judgement", "if array.dtype != primal.dtype:", "if False:"),
    ("judgement", "if array.shape != tuple(primal.shape):", "if False:"),
    ("judgement", "if Verdict.REJECTED in seen:", "if seen == {Verdict.REJECTED}:"),
    ("judgement", "seen = set(verdicts) - {Verdict.NOT_RUN}", "seen = set(verdicts)"),
)


@pytest.mark.parametrize(("module", "there", "instead"), MUTANTS)
def test_a_mutant_is_killed(module: str, there: str, instead: str) -> None:
    sources = originals()
    assert sources[module].count(there) == 1, "the list of mutants has rotted"
    assert not survives(sources | {module: sources[module].replace(there, instead)}, first=module)


#: The complete run is `python tests/tools/mutation.py`: a few minutes.
SAMPLE = 100


def listed() -> dict[Key, str]:
    return equivalents(EQUIVALENTS.read_text())


def test_a_sample_of_all_mutants_is_killed_or_listed() -> None:
    chosen = random.Random(1).sample(all_mutants(), SAMPLE)
    assert unlisted([mutant for mutant in chosen if still_alive(mutant)], listed()) == []


def test_every_entry_of_the_list_is_a_mutant_and_has_a_reason() -> None:
    assert set(listed()) <= {mutant.key for mutant in all_mutants()}
    assert all(reason.endswith(".") for reason in listed().values())


def one(place: str, after: str) -> Mutant:
    (found,) = (mutant for mutant in all_mutants() if mutant.place == place and mutant.after == after)
    return found


def test_a_battery_without_one_of_its_checks_is_noticed() -> None:
    before, after = (
        "return margin_of(abs(self.got - self.expected), self.bound)",
        "return margin_of(abs(self.got + self.expected), self.bound)",
    )
    mutant = one("judgement.Component.margin", after)
    assert not still_alive(mutant)
    fewer = tuple(check for check in CHECKS if check.__name__ != "assert_worst")
    assert still_alive(mutant, checks=fewer)
    text = f"SURVIVED judgement.Component.margin, line {mutant.line}\n- {before}\n+ {after}"
    assert unlisted([mutant], listed()) == [text]


def test_a_mutant_that_hangs_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(battery, "PATIENCE", 0.5)
    there = "    for layer in zip(*layers, strict=True):\n"
    assert originals()["recurrences"].count(there) == 1
    assert not survives(
        {
            **originals(),
            "recurrences": originals()["recurrences"].replace(
                there, "    while True:\n        layer = [part[0] for part in layers]\n"
            ),
        }
    )


def test_what_is_no_python_is_no_mutant() -> None:
    with pytest.raises(SyntaxError):
        survives({**originals(), "chain_gradient": "("})


def test_the_exit_code_tells_whether_the_list_is_right(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = "judgement.Steps.failed"
    assert main(place) == 0
    assert capsys.readouterr().out.endswith("s\n")
    path = tmp_path / "equivalents.txt"
    monkeypatch.setattr(mutation, "EQUIVALENTS", path)
    path.write_text("")
    assert main(place) == 1
    assert "SURVIVED judgement.Steps.failed" in capsys.readouterr().out
    path.write_text(EQUIVALENTS.read_text() + f"# No reason.\n{place}\n- failures = []\n+ pass\n")
    assert main(place) == 1
    assert "NO SURVIVOR judgement.Steps.failed\n- failures = []\n+ pass" in capsys.readouterr().out


def test_nothing_is_listed_twice() -> None:
    text = "# One,\n# of two lines.\nf\n- a\n+ b\n+ c\n\n# Two.\ng\n- a\n+ b\n"
    assert equivalents(text) == {
        ("f", "a", "b"): "One, of two lines.",
        ("f", "a", "c"): "One, of two lines.",
        ("g", "a", "b"): "Two.",
    }
    with pytest.raises(ValueError, match="listed twice"):
        equivalents(text + "+ b\n")


#: Lines of code, and what they must become.
LINES = {
    "E = δ * (a + b)": {
        "E = δ / (a + b)",
        "E = δ",
        "E = (a + b)",
        "E = δ * (a - b)",
        "E = δ * (a)",
        "E = δ * (b)",
        "pass",
    },
    "E += a": {"E -= a", "E = a", "pass"},
    "E = a < b": {"E = a <= b", "E = a >= b", "E = a != b", "E = True", "E = False", "pass"},
    "E = a is not b": {"E = a is b", "E = True", "E = False", "pass"},
    "E = a and b and c": {
        *("E = a or b and c", "E = a and b or c", "pass"),
        *("E = b and c", "E = a and c", "E = a and b"),
    },
    "E = 3.0 if not a else -b": {
        *(
            "E = 4.0 if not a else -b",
            "E = 2.0 if not a else -b",
            "E = 6.0 if not a else -b",
            "E = 0.0 if not a else -b",
        ),
        *("E = -3.0 if not a else -b", "E = 3.0 if a else -b", "E = 3.0 if not a else b", "E = 3.0 if True else -b"),
        *("E = 3.0 if False else -b", "E = 3.0 if (not (not a)) else -b", "pass"),
    },
    "E = np.maximum(a, b)": {"E = np.minimum(a, b)", "E = a", "E = np.maximum(a)", "pass"},
    "E = f(a, -b, k=True)": {
        *("E = a", "E = f(a, k=True)", "E = f(-b, a, k=True)", "E = f(a, b, k=True)", "E = f(a, -b, k=False)"),
        *("E = f(a, -b)", "pass"),
    },
    "E = (a + b).max(axis=(x, y))": {
        *(
            "E = (a - b).max(axis=(x, y))",
            "E = (a).max(axis=(x, y))",
            "E = (b).max(axis=(x, y))",
            "E = (a + b)",
            "pass",
        ),
        *(
            "E = (a + b).min(axis=(x, y))",
            "E = (a + b).max()",
            "E = (a + b).max(axis=(x,))",
            "E = (a + b).max(axis=(y,))",
        ),
    },
    "E = a[b:c, d]": {"E = a[:c, d]", "E = a[b:, d]", "E = a[d, b:c]", "pass"},
    "E = f'{a + b}', np.nan": {
        *("E = f'{a - b}', np.nan", "E = f'{a}', np.nan", "E = f'{b}', np.nan", "E = f'{a + b}', 0.0", "pass"),
    },
    "for i in a: raise": {"for i in (): raise", "for i in a: pass"},
    "E = [i for i in a if b]": {
        *("E = [i for i in () if b]", "E = [i for i in a if True]", "E = [i for i in a if False]", "pass"),
    },
    "def f(a: int = 1): return b": {
        *("def f(a: int = 2): return b", "def f(a: int = 0): return b", "def f(a: int = -1): return b"),
        "def f(a: int = 1): return None",
    },
    'import a; b: int; __all__ = [1]; "text"; E = "text"': {'import a; b: int; __all__ = [1]; "text"; pass'},
}


@pytest.mark.parametrize("line", LINES)
def test_the_mutants_of_a_line(line: str) -> None:
    found = [mutant.after for mutant in mutation.mutants("m", f"x = λ\n{line}\n") if mutant.line == 2]
    assert len(found) == len(set(found))
    assert set(found) == LINES[line]


def test_exceptions_and_decorators_have_mutants_too() -> None:
    text = "@d\ndef f():\n    try:\n        pass\n    except BaseException:\n        raise\n"
    assert [(m.place, m.before, m.after) for m in mutation.mutants("m", text)] == [
        ("m.f", "@d", ""),
        ("m.f", "except BaseException:", "except ():"),
        ("m.f", "except BaseException:", "except Exception:"),
        ("m.f", "raise", "pass"),
    ]
