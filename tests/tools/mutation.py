"""Systematic mutants of the truth, the bounds and the judge: which of them does the battery not kill?

    python tests/tools/mutation.py              every mutant, a few minutes on one core
    python tests/tools/mutation.py chain_bound       those of one module
    python tests/tools/mutation.py chain_bound._products

A mutant is the module's source with one small piece of text replaced. It is killed if the battery of `battery.py` fails,
warns or raises on it, or takes too long. A survivor must stand in `equivalent_mutants.txt` under the reason why no
result can tell it from the original. The exit code is 1 if one does not, or if an entry there is no survivor any more.

What is replaced, wherever it stands in code:

    a + b, a * b, a ** b, a & b   the opposite operator (for a power: the product); a alone; b alone; likewise a += b, a = b
    a < b, a == b, a is b, …      the neighbours of the operator: at the boundary, the other way, never, always
    a and b                       `or`; each part left out
    -a, not a, ~a                 a
    if a, … if a else …           always, never, not a
    numbers, True, inf, nan       ± 1, doubled, 0, negative; False; −inf and 0; 0
    f(a, b, k=c), a.f(b)          a; without b; with b before a; without k; maximum for minimum, any for all, …
    a[b:c, d]                     without a bound of the slice; d before b; a tuple of axes without one of them
    statements                    nothing in their place; `return None`; a loop over nothing; an `except` that catches
                                  nothing, or only `Exception`; a function or class without its decorator

What is left alone: docstrings, annotations and the aliases they use, imports and `__all__`, which decide no number and no
verdict; the text of strings, for which sentences and labels are compared in full by the battery; and the order of
arguments in functions that are symmetric in them (minimum, maximum, fmin, add, multiply; the axes of swapaxes; γ_n, a
function of n u alone).
"""

from __future__ import annotations

import ast
import sys
import time
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any, NamedTuple

from battery import MODULES, originals, survives

#: Function, line as it is, line as it becomes.
Key = tuple[str, str, str]
EQUIVALENTS = Path(__file__).with_name("equivalent_mutants.txt")


class Edit(NamedTuple):
    """Text to put in place of source[start:end]."""

    start: int
    end: int
    text: str

    def applied(self, source: str) -> str:
        """The text with the edit made."""
        return source[: self.start] + self.text + source[self.end :]


class Mutant(NamedTuple):
    """One mutant: where it is, what it changes, and the lines that it changes."""

    module: str
    place: str
    line: int
    before: str
    after: str
    edit: Edit

    @property
    def key(self) -> Key:
        """What identifies a mutant for as long as its line stays as it is: no line number."""
        return self.place, self.before, self.after

    @property
    def source(self) -> str:
        """The whole mutated source of the module."""
        return self.edit.applied(originals()[self.module])


class Source:
    """A module's text, by the positions of its syntax tree (lines from 1, columns in bytes)."""

    def __init__(self, text: str) -> None:
        self.text = text
        self._lines = text.splitlines(keepends=True)
        self._starts = [0, *accumulate(map(len, self._lines))]

    def _offset(self, line: int, column: int) -> int:
        return self._starts[line - 1] + len(self._lines[line - 1].encode()[:column].decode())

    def start(self, node: Any) -> int:
        """Where a node begins."""
        return self._offset(node.lineno, node.col_offset)

    def end(self, node: Any) -> int:
        """Where a node ends."""
        return self._offset(node.end_lineno, node.end_col_offset)

    def of(self, node: Any) -> str:
        """The text of a node."""
        return self.text[self.start(node) : self.end(node)]

    def instead(self, node: Any, text: str) -> Edit:
        """The edit that puts a text in place of a node."""
        return Edit(self.start(node), self.end(node), text)

    def operator(self, left: Any, right: Any, symbol: str) -> tuple[int, int]:
        """Where the operator between two neighbours stands."""
        place = self.text.index(symbol, self.end(left), self.start(right))
        return place, place + len(symbol)

    def line(self, offset: int) -> int:
        """The number of the line of an offset."""
        return self.text.count("\n", 0, offset) + 1

    def lines(self, edit: Edit) -> tuple[str, str]:
        """The lines that an edit touches, as they are and as they become, each in one line."""
        first = self.text.rfind("\n", 0, edit.start) + 1
        last = self.text.find("\n", edit.end)
        before, after = self.text[first:last], self.text[first : edit.start] + edit.text + self.text[edit.end : last]
        return " ".join(before.split()), " ".join(after.split())


BINARY: dict[type, tuple[str, str]] = {
    ast.Add: ("+", "-"),
    ast.Sub: ("-", "+"),
    ast.Mult: ("*", "/"),
    ast.Div: ("/", "*"),
    ast.Pow: ("**", "*"),
    ast.BitAnd: ("&", "|"),
    ast.BitOr: ("|", "&"),
}
COMPARISONS: dict[type, tuple[str, tuple[str, ...]]] = {
    ast.Lt: ("<", ("<=", ">=", "!=")),
    ast.LtE: ("<=", ("<", ">", "==")),
    ast.Gt: (">", (">=", "<=", "!=")),
    ast.GtE: (">=", (">", "<", "==")),
    ast.Eq: ("==", ("!=", "<=", ">=")),
    ast.NotEq: ("!=", ("==", "<", ">")),
    ast.Is: ("is", ("is not",)),
    ast.IsNot: ("is not", ("is",)),
    ast.In: ("in", ("not in",)),
    ast.NotIn: ("not in", ("in",)),
}
UNARY: dict[type, str] = {ast.Not: "not", ast.USub: "-", ast.Invert: "~"}
NAMES = {
    "minimum": ("maximum",),
    "maximum": ("minimum",),
    "fmin": ("fmax", "minimum"),
    "min": ("max",),
    "max": ("min",),
    "any": ("all",),
    "all": ("any",),
    "argmax": ("argmin",),
    "zeros": ("ones",),
    "zeros_like": ("ones_like",),
    "ones": ("zeros",),
    "BaseException": ("Exception",),
}
LIMITS = {"inf": ("-np.inf", "0.0"), "nan": ("0.0",)}
SYMMETRIC = {"minimum", "maximum", "fmin", "add", "multiply", "swapaxes", "gamma"}
ATOMS = (ast.Name, ast.Constant, ast.Attribute, ast.Subscript, ast.Call, ast.Tuple, ast.List, ast.Set, ast.Dict)


def binary(source: Source, node: ast.BinOp) -> Iterator[Edit]:
    """a + b: a − b, a, b."""
    symbol, other = BINARY[type(node.op)]
    start, end = source.operator(node.left, node.right, symbol)
    yield Edit(start, end, other)
    yield source.instead(node, source.text[source.start(node) : start].rstrip())
    yield source.instead(node, source.text[end : source.end(node)].lstrip())


def augmented(source: Source, node: ast.AugAssign) -> Iterator[Edit]:
    """a += b: a −= b, a = b."""
    symbol, other = BINARY[type(node.op)]
    start, end = source.operator(node.target, node.value, symbol + "=")
    yield Edit(start, end, other + "=")
    yield Edit(start, end, "=")


def comparison(source: Source, node: ast.Compare) -> Iterator[Edit]:
    """a < b: a <= b, a >= b, a != b, always, never."""
    (operator,), (right,) = node.ops, node.comparators
    symbol, others = COMPARISONS[type(operator)]
    for other in others:
        yield Edit(*source.operator(node.left, right, symbol), other)
    yield from forced(source, node)


def forced(source: Source, node: ast.expr) -> Iterator[Edit]:
    """Always, and never."""
    yield source.instead(node, "True")
    yield source.instead(node, "False")


def condition(source: Source, node: Any) -> Iterator[Edit]:
    """if a: always, never, not a."""
    yield from forced(source, node.test)
    yield source.instead(node.test, f"(not ({source.of(node.test)}))")


def boolean(source: Source, node: ast.BoolOp) -> Iterator[Edit]:
    """a and b: a or b, a, b."""
    symbol, other = ("and", "or") if isinstance(node.op, ast.And) else ("or", "and")
    places = [source.operator(left, right, symbol) for left, right in pairwise(node.values)]
    for start, end in places:
        yield Edit(start, end, other)
    starts = [source.start(node), *(end for _, end in places)]
    ends = [*(start for start, _ in places), source.end(node)]
    parts = [source.text[start:end].strip() for start, end in zip(starts, ends, strict=True)]
    for k in range(len(parts)):
        yield source.instead(node, f" {symbol} ".join(parts[:k] + parts[k + 1 :]))


def unary(source: Source, node: ast.UnaryOp) -> Iterator[Edit]:
    """−a: a."""
    yield Edit(source.start(node), source.start(node) + len(UNARY[type(node.op)]), "")


def constant(source: Source, node: ast.Constant) -> Iterator[Edit]:
    """Numbers: ± 1, doubled, 0, negative; truth values: the other."""
    value = node.value
    if isinstance(value, bool):
        yield source.instead(node, str(not value))
    elif isinstance(value, int | float):
        for other in dict.fromkeys((value + 1, value - 1, 2 * value, 0 * value, -value)):
            if other != value:
                yield source.instead(node, repr(other))


def named(source: Source, node: ast.Attribute | ast.Name) -> Iterator[Edit]:
    """Functions and constants that have an opposite."""
    name = node.attr if isinstance(node, ast.Attribute) else node.id
    end = source.end(node)
    for other in NAMES.get(name, ()):
        yield Edit(end - len(name), end, other)
    for other in LIMITS.get(name, ()):
        yield source.instead(node, other)


def grouped(source: Source, node: ast.expr) -> str:
    """The text of an expression, fit to stand anywhere."""
    return source.of(node) if isinstance(node, ATOMS) else f"({source.of(node)})"


def listed(source: Source, node: ast.Call, start: int, parts: Iterable[str]) -> Edit:
    """A call with other arguments."""
    return Edit(start, source.end(node), f"({', '.join(parts)})")


def call(source: Source, node: ast.Call) -> Iterator[Edit]:
    """f(a, b, k=c): a; f(a, k=c); f(b, a, k=c); f(a, b). a.f(b): a."""
    name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
    start = source.text.index("(", source.end(node.func))
    if len(node.args) == 1 and isinstance(node.args[0], ast.GeneratorExp):
        return
    arguments = [source.of(argument) for argument in node.args]
    keywords = [source.of(keyword) for keyword in node.keywords]
    if node.args and not isinstance(node.args[0], ast.Starred):
        yield source.instead(node, grouped(source, node.args[0]))
    if isinstance(node.func, ast.Attribute) and not (
        isinstance(node.func.value, ast.Name) and node.func.value.id == "np"
    ):
        yield source.instead(node, grouped(source, node.func.value))
    for k in range(1, len(arguments)):
        yield listed(source, node, start, arguments[:k] + arguments[k + 1 :] + keywords)
        if name not in SYMMETRIC or (name == "swapaxes" and k == 1):
            swapped = [*arguments[: k - 1], arguments[k], arguments[k - 1], *arguments[k + 1 :]]
            yield listed(source, node, start, swapped + keywords)
    for k in range(len(keywords)):
        yield listed(source, node, start, arguments + keywords[:k] + keywords[k + 1 :])


def keyword(source: Source, node: ast.keyword) -> Iterator[Edit]:
    """axis=(0, 1): axis=(1,), axis=(0,)."""
    if node.arg == "axis" and isinstance(node.value, ast.Tuple):
        parts = [source.of(part) for part in node.value.elts]
        for k in range(len(parts)):
            yield source.instead(node.value, f"({', '.join(parts[:k] + parts[k + 1 :])},)")


def subscript(source: Source, node: ast.Subscript) -> Iterator[Edit]:
    """a[b, c]: a[c, b]; a[b:c]: a[b:], a[:c]."""
    indices = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
    for left, right in pairwise(indices):
        between = source.text[source.end(left) : source.start(right)]
        yield Edit(source.start(left), source.end(right), source.of(right) + between + source.of(left))
    for index in indices:
        if isinstance(index, ast.Slice):
            for bound in (index.lower, index.upper):
                if bound is not None:
                    yield source.instead(bound, "")


def statement(source: Source, node: ast.stmt) -> Iterator[Edit]:
    """Nothing."""
    yield source.instead(node, "pass")


def returned(source: Source, node: ast.Return) -> Iterator[Edit]:
    """return None."""
    if node.value is not None:
        yield source.instead(node.value, "None")


def loop(source: Source, node: ast.For | ast.comprehension) -> Iterator[Edit]:
    """Over nothing; a comprehension's filter always, never."""
    yield source.instead(node.iter, "()")
    for test in getattr(node, "ifs", ()):
        yield from forced(source, test)


def handler(source: Source, node: ast.ExceptHandler) -> Iterator[Edit]:
    """except (): nothing is caught."""
    if node.type is not None:
        yield source.instead(node.type, "()")


def decorated(source: Source, node: ast.FunctionDef | ast.ClassDef) -> Iterator[Edit]:
    """Without the decorator."""
    for decorator in node.decorator_list:
        yield Edit(source.start(decorator) - 1, source.end(decorator), "")


OPERATORS: tuple[tuple[Any, Any], ...] = (
    (ast.BinOp, binary),
    (ast.AugAssign, augmented),
    (ast.Compare, comparison),
    ((ast.If, ast.IfExp, ast.While), condition),
    (ast.BoolOp, boolean),
    (ast.UnaryOp, unary),
    (ast.Constant, constant),
    ((ast.Attribute, ast.Name), named),
    (ast.Call, call),
    (ast.keyword, keyword),
    (ast.Subscript, subscript),
    ((ast.Assign, ast.AnnAssign, ast.AugAssign, ast.Expr, ast.Raise, ast.Break, ast.Continue), statement),
    (ast.Return, returned),
    ((ast.For, ast.comprehension), loop),
    (ast.ExceptHandler, handler),
    ((ast.FunctionDef, ast.ClassDef), decorated),
)


def left_alone(node: ast.AST) -> bool:
    """Whether a node is a docstring, an import, a field without a value, or a name for imports and annotations only."""
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
        return True
    if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
        return node.targets[0].id in ("__all__", "Array")
    return isinstance(node, ast.Import | ast.ImportFrom) or (isinstance(node, ast.AnnAssign) and node.value is None)


def reached(node: ast.AST, place: str) -> Iterator[tuple[str, ast.AST]]:
    """Every node of code, with the function that it is in."""
    if isinstance(node, ast.FunctionDef | ast.ClassDef):
        place = f"{place}.{node.name}"
    yield place, node
    for field, value in ast.iter_fields(node):
        if field in ("annotation", "returns", "ctx", "format_spec"):
            continue
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.AST) and not left_alone(child):
                yield from reached(child, place)


def mutants(module: str, text: str) -> Iterator[Mutant]:
    """Every mutant of a module, in the order of its lines; no source twice."""
    source, seen, found = Source(text), {hash(text)}, []
    for place, node in reached(ast.parse(text), module):
        for kinds, operator in OPERATORS:
            if isinstance(node, kinds):
                found += [(edit, place) for edit in operator(source, node)]
    for edit, place in sorted(found, key=lambda pair: pair[0].start):
        mutated = hash(edit.applied(text))
        if mutated not in seen:
            seen.add(mutated)
            yield Mutant(module, place, source.line(edit.start), *source.lines(edit), edit)


def all_mutants() -> list[Mutant]:
    """The mutants of all modules."""
    return [mutant for module in MODULES for mutant in mutants(module, originals()[module])]


def equivalents(text: str) -> dict[Key, str]:
    """Read the list of equivalent mutants: each mutant's key, and the reason above it.

    A reason is a run of lines that begin with `# `; then the function's name; then `- ` the line as it is and, for each
    mutant of it, `+ ` the line as the mutant has it.
    """
    found: dict[Key, str] = {}
    reason, place, before, fresh = "", "", "", False
    for line in filter(str.strip, text.splitlines()):
        mark, rest = line[0], line[2:].strip()
        if mark == "#":
            reason, fresh = (f"{reason} {rest}" if fresh else rest), True
            continue
        fresh = False
        if mark == "-":
            before = rest
        elif mark == "+":
            key = (place, before, rest)
            if key in found:
                raise ValueError(f"listed twice: {key}")
            found[key] = reason
        else:
            place = line.strip()
    return found


def still_alive(mutant: Mutant, **how: Any) -> bool:
    """Whether the battery finds nothing wrong with a mutant; the judge's own mutants meet its checks first."""
    return survives(originals() | {mutant.module: mutant.source}, first=mutant.module, **how)


def unlisted(survivors: Iterable[Mutant], excused: Collection[Key]) -> list[str]:
    """What to say of each survivor that is not in the list."""
    return [f"SURVIVED {m.place}, line {m.line}\n- {m.before}\n+ {m.after}" for m in survivors if m.key not in excused]


def stale(survivors: Iterable[Mutant], excused: Collection[Key]) -> list[str]:
    """What to say of each entry of the list that is no survivor."""
    gone = set(excused) - {mutant.key for mutant in survivors}
    return [f"NO SURVIVOR {place}\n- {before}\n+ {after}" for place, before, after in sorted(gone)]


def main(only: str = "") -> int:
    """Run the mutants whose function's name begins so; print the figures and what is wrong; return the exit code."""
    began, total, alive = time.perf_counter(), Counter(), []
    for mutant in all_mutants():
        if mutant.place.startswith(only):
            total[mutant.module] += 1
            if still_alive(mutant):
                alive.append(mutant)
    excused = {key: reason for key, reason in equivalents(EQUIVALENTS.read_text()).items() if key[0].startswith(only)}
    wrong = unlisted(alive, excused) + stale(alive, excused)
    print("\n".join(wrong), end="\n" * bool(wrong))
    for module, count in total.items():
        left = sum(mutant.module == module for mutant in alive)
        print(f"{module}: {count} mutants, {count - left} killed, {left} survived")
    print(f"{len(alive)} survivors, {len(excused)} listed as equivalent, {time.perf_counter() - began:.0f} s")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
