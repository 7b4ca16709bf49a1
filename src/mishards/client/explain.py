"""Reading the explanation of a search from what a Milvus client gives.

pymilvus hands on none of an answer's `status.extra_info` but a few numbers. The one text of an
answer that it does hand on is the token that continues an iterator, which such a search has no
other use for: the explanation stands there, and in `status.extra_info["explain"]` for clients that
see the status.
"""

from __future__ import annotations

import json
from typing import Any


def explanation(result: Any) -> dict[str, Any] | None:
    """What a search with the parameter `explain` did and why; None where it had it not.

    Args:
        result: of `MilvusClient.search` or `AsyncMilvusClient.search`.

    Returns:
        The JSON object that `docs/tracing.md` describes.
    """
    found = getattr(result, "get_search_iterator_v2_results_info", None)
    text = "" if found is None else found().token
    if not text.startswith("{"):
        return None
    told: dict[str, Any] = json.loads(text)
    return told
