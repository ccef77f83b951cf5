"""A module that no process survives importing."""

import ctypes

ctypes.string_at(0)
