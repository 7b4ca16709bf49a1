"""The filter language: parsing, type check, evaluation on Arrow columns and on rows, pruning.

Invariant: `compile_filter` is the only way in, and raises `FilterError` alone.
"""

from mishards.expr.filter import Filter, compile_filter

__all__ = ["Filter", "compile_filter"]
