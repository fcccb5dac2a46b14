"""Prompts: base queries with their splits, and pairs of a query without and with an instruction."""

from trimtab.prompts.pairs import PromptPair, digest, make_pairs, pairs_from
from trimtab.prompts.queries import (
    SPLITS,
    Drawn,
    Split,
    base_queries,
    default_queries,
    draw_queries,
    load_queries,
    query_list,
    sample_queries,
    split_queries,
)

__all__ = [
    "Drawn",
    "PromptPair",
    "SPLITS",
    "Split",
    "base_queries",
    "default_queries",
    "digest",
    "draw_queries",
    "load_queries",
    "make_pairs",
    "pairs_from",
    "query_list",
    "sample_queries",
    "split_queries",
]
