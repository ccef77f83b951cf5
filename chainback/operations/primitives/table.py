"""The table of primitives: every family, imported."""

from chainback.operations.primitives import discrete, elementwise, products, reductions, structural
from chainback.operations.primitives.record import TABLE

__all__ = ["FAMILIES", "TABLE"]

FAMILIES = (elementwise, discrete, structural, reductions, products)
