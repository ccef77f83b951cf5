"""The table of primitives: every family, imported."""

from chainback.operations.primitives import (
    arithmetic,
    choices,
    conversions,
    convolutions,
    discrete,
    extremes,
    functions,
    generic,
    indexing,
    lines,
    products,
    random_keys,
    sorting,
    special_functions,
    structural,
    sums,
)
from chainback.operations.primitives.record import TABLE

__all__ = ["FAMILIES", "TABLE"]

FAMILIES = (
    arithmetic,
    functions,
    special_functions,
    discrete,
    random_keys,
    conversions,
    structural,
    indexing,
    choices,
    sums,
    extremes,
    lines,
    sorting,
    generic,
    products,
    convolutions,
)
