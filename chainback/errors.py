"""Exceptions that chainback raises, and any exception as one sentence."""

from __future__ import annotations

__all__ = ["BuildError", "ChainbackError", "EngineError", "UsageError", "sentence"]


class ChainbackError(Exception):
    """Base of every exception that chainback raises on purpose."""


class UsageError(ChainbackError, ValueError):
    """An argument, a file or an option cannot be used; the message says what came and what to do."""


class BuildError(ChainbackError):
    """An environment could not be built; the message is the reason in one line."""


class EngineError(ChainbackError):
    """An engine returned no usable result; the message is one sentence that says what it did instead."""


def sentence(error: BaseException) -> str:
    """Return an exception as a sentence: its type and the first line of its message, short and printable.

    Args:
        error: Any exception, those of user code included, whose message may be unreadable.
    """
    try:
        text = (str(error).splitlines() or [""])[0]
    except Exception:  # even its message may raise
        text = "its message cannot be read"
    text = "".join(c if c.isprintable() else " " for c in text.encode("utf-8", "backslashreplace").decode("utf-8"))
    return f"{type(error).__name__}: {' '.join(text.split())[:240]}"
