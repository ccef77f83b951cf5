"""The exceptions that a caller of chainback may meet."""

from __future__ import annotations

__all__ = ["ChainbackError", "EngineError", "UsageError"]


class ChainbackError(Exception):
    """Base of every exception that chainback raises on purpose."""


class UsageError(ChainbackError, ValueError):
    """Something that was asked for, or handed in, cannot be used; the message says what came and what to do."""


class EngineError(ChainbackError):
    """An engine gave no usable answer; the message is one sentence that says what it did instead."""
