"""Index families by name; built in, or entry points of the group `mishards.index`."""

from __future__ import annotations

from functools import lru_cache

from mishards.core.errors import InvalidParameter, PluginError
from mishards.core.plugins import load
from mishards.index.protocol import IndexFamily

AUTOINDEX = "AUTOINDEX"
"""What a user names who leaves the choice to us."""
AUTOINDEX_FAMILY = "HNSW"
"""What is built for AUTOINDEX."""

BUILTIN = {
    "FLAT": "mishards.index.flat:FlatFamily",
    "IVF_FLAT": "mishards.index.ivf:IvfFlatFamily",
    "IVF_SQ8": "mishards.index.ivf:IvfSq8Family",
    "IVF_PQ": "mishards.index.ivf:IvfPqFamily",
    "HNSW": "mishards.index.hnsw:HnswFamily",
}


@lru_cache(maxsize=64)
def family(name: str) -> IndexFamily:
    """The family called `name`; AUTOINDEX (or no name) gives HNSW.

    Raises:
        InvalidParameter: lists the names that exist.
    """
    wanted = AUTOINDEX_FAMILY if name in (AUTOINDEX, "") else name
    if ":" in wanted:
        # A module named by a client is never imported.
        raise InvalidParameter(f"invalid index type {name!r}")
    try:
        found: IndexFamily = load("index", wanted, BUILTIN)()
    except PluginError as error:
        known = ", ".join(sorted({AUTOINDEX, *BUILTIN}))
        raise InvalidParameter(f"invalid index type {name!r}; known are: {known}") from error
    return found
