"""Files of reports: CSV that reads back bit for bit, JSON, text written whole or not at all, folders that can be written."""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pandas as pd

from chainback.errors import UsageError, sentence
from chainback.reporting.columns import Kind
from chainback.reporting.schema import ENVIRONMENT_FILE, READABLE, RENAMED, TABLES, differences, kind_of

__all__ = ["read_csv", "read_environment", "writable_folder", "write_csv", "write_json", "write_text"]

_SCHEMAS = " or ".join(map(str, READABLE))


def write_csv(frame: pd.DataFrame, path: str | os.PathLike[str]) -> None:
    """Write a table as CSV, whole or not at all, so that `read_csv` gives back the same bits."""
    write_text(Path(path), frame.to_csv(index=False, lineterminator="\n", na_rep="nan"))


def write_json(facts: Any, path: str | os.PathLike[str]) -> None:
    """Write facts as JSON for people, whole or not at all."""
    write_text(Path(path), json.dumps(facts, indent=2, ensure_ascii=False) + "\n")


def write_text(path: Path, text: str) -> None:
    """Write a file, whole or not at all.

    Raises:
        UsageError: It cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_text(text, encoding="utf-8")
        os.replace(temporary, path)
    except OSError as error:
        temporary.unlink(missing_ok=True) if temporary.exists() else None
        raise UsageError(f"cannot write {path}: {error.strerror}: choose a place that can be written") from None


def writable_folder(folder: str | os.PathLike[str], files: Iterable[str] = ()) -> Path:
    """Return the folder, made if need be, after a file was really written to it, and none of `files` is a folder there.

    Raises:
        UsageError: It cannot be made, or not written.
    """
    path = Path(folder)
    probe = path / f".chainback.{os.getpid()}.part"
    try:
        path.mkdir(parents=True, exist_ok=True)
        probe.write_text("")
        probe.unlink()
        for name in files:
            if (path / name).is_dir():
                raise UsageError(f"cannot write {path / name}: it is a folder: choose another place")
    except OSError as error:
        raise UsageError(f"cannot write to folder {folder}: {error.strerror}: choose one with --output") from None
    return path


def read_csv(path: str | os.PathLike[str], table: str = "", *, whole: bool = False) -> pd.DataFrame:
    """Read a CSV file of a report exactly as it was written; columns of an older schema get the names they have now.

    Args:
        path: The file.
        table: Which of `TABLES` it holds; default: that of the file's name.
        whole: Whether it must have all the columns of the schema.

    Raises:
        UsageError: The file is missing, damaged, or of a schema that cannot be read.
    """
    table = table or Path(path).stem
    text = _cells(path)
    if "schema" not in text or not set(text["schema"]) <= set(map(str, READABLE)):
        raise UsageError(f"{path} is no report of schema {_SCHEMAS}: write it with this version of chainback")
    for schema in set(text["schema"]):
        text = text.rename(columns=RENAMED.get(int(schema), {}))
    if whole and table in TABLES and (wrong := differences(table, text.columns)):
        raise UsageError(f"cannot read {path}: {wrong[0]}: write the report again")
    try:
        return pd.DataFrame({name: _parsed(text[name], kind_of(name, table)) for name in text.columns})
    except ValueError as error:
        raise UsageError(f"cannot read {path}: it is damaged: {sentence(error)}") from None


def _cells(path: str | os.PathLike[str]) -> pd.DataFrame:
    """Return the cells of a CSV file as text.

    Raises:
        UsageError: The file is missing or damaged.
    """
    try:
        content = Path(path).read_text(encoding="utf-8")
        header, *rows = list(csv.reader(io.StringIO(content, newline=""), strict=True)) or [[]]
    except (OSError, ValueError, csv.Error) as error:
        reason = error.strerror if isinstance(error, OSError) else sentence(error)
        raise UsageError(f"cannot read {path}: {reason}") from None
    if not content.endswith("\n"):
        raise UsageError(f"cannot read {path}: it is cut off: write the report again")
    if wrong := [place for place, row in enumerate(rows, start=2) if len(row) != len(header)]:
        raise UsageError(f"cannot read {path}: row {wrong[0]} has not as many cells as there are columns")
    return pd.DataFrame(rows, columns=header, dtype=str)


def _parsed(column: Any, kind: Kind | None) -> Any:
    """Return text as what it stands for: Python reads each number to the nearest, as it was written."""
    if kind is not None and kind.is_text:
        return column
    if len(column) and set(column) <= {"True", "False"}:
        return column == "True"
    try:
        return column.map(int)
    except ValueError:
        if kind is Kind.WHOLE:
            raise
        return column.map(float)


def read_environment(folder: str | os.PathLike[str]) -> dict[str, Any]:
    """Read what produced a report.

    Raises:
        UsageError: The folder holds no report, or a damaged one.
    """
    path = Path(folder) / ENVIRONMENT_FILE
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}: name a folder that verify wrote") from None
    except ValueError:
        raise UsageError(f"cannot read {path}: it is damaged: write the report again") from None
    if not isinstance(facts, dict) or facts.get("schema") not in READABLE:
        raise UsageError(f"{path} is of no report of schema {_SCHEMAS}: write it with this version of chainback")
    return facts
