"""`retrieve search`: queries by words, pictures, recordings or ids against an index.

With words alone it imports ONNX Runtime, tokenizers, pyarrow, numpy and FAISS, never torch: the
text tower opens in a thread while the others are imported. With `--rerank` a pair scorer, on torch,
puts the best of them in a new order. Prints nothing.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmcli.core.errors import SpaceMismatch, UsageError
from mmcli.engine.device import check_words
from mmcli.index.layout import check, open_index, query_files
from mmcli.index.living import item_files, living_files, narrow, open_items, open_vectors
from mmcli.workflows.output_files import refuse_page
from mmcli.workflows.queries.file import Query, QueryPart
from mmcli.workflows.search.collapse import keep_best, search_groups
from mmcli.workflows.search.result_rows import display_name, order_columns, result_row

if TYPE_CHECKING:
    from mmcli.index.items import ItemTable
    from mmcli.index.search import Hits
    from mmcli.workflows.search.rerank import Reranked, SearchReranker


@dataclass(frozen=True)
class SearchConfig:
    """What `mmcli retrieve search` can be told. columns: of the items; None is all.

    collapse: a column; of items that share its value only the best is given.
    rerank: an aligner that scores pairs, which puts the best `rerank_top` in a new order; then
    `score` and `min_score` are its own, and `retrieval_score` is the index's.
    """

    index: str
    queries: tuple[Query, ...]
    k: int = 10
    min_score: float | None = None
    columns: tuple[str, ...] | None = None
    several: bool = False
    html: str | None = None
    force: bool = False
    verify: str = "once"
    device: str = "auto"
    precision: str = "auto"
    rerank: str | None = None
    rerank_top: int = 50
    collapse: str | None = None
    where: str | None = None
    hybrid: bool = False
    keywords_only: bool = False


@dataclass
class SearchResult:
    """Rows to print, their columns, and what should be said beside them."""

    rows: list[dict[str, Any]]
    columns: list[str]
    warnings: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def search(config: SearchConfig) -> SearchResult:
    """The best `k` items for each query.

    Raises BadInput for a damaged index or a query file that cannot be read, SpaceMismatch when an
    encoder is no longer that of the index, UsageError when a kind of query is not possible.
    """
    if config.k < 1:
        raise UsageError(f"`-k {config.k}`: must be at least 1", "the default is 10")
    if config.min_score is not None and math.isnan(config.min_score):
        raise UsageError("`--min-score nan`: must be a number", "as in `--min-score 0.3`")
    check_words(config.device, config.precision)
    if not config.queries:
        raise UsageError(
            "nothing to search for", "give a text, --image, --speech, --video or --like"
        )
    if config.rerank:
        from mmcli.workflows.search.rerank import check_rerankable

        check_rerankable(config.queries, config.k, config.rerank_top)
    refuse_page(config.html, config.force)
    folder = Path(config.index)
    manifest = open_index(folder)
    kinds: set[str] = {part.kind for query in config.queries for part in query.parts}
    if not config.keywords_only:
        _check_possible(config, manifest, kinds)
    names = living_files(manifest)
    if not config.keywords_only:
        names += [name for kind in sorted(kinds) for name in query_files(manifest, kind)]
    check(folder, manifest, names, config.verify)
    if any(part.given for query in config.queries for part in query.parts if part.kind == "like"):
        config = _with_whole_ids(config, open_items(folder, manifest))
    if config.hybrid or config.keywords_only:
        from mmcli.workflows.search.keywords import check_keywords

        check_keywords(config.index, manifest, config.queries, config.keywords_only, config.verify)
    reranker = _open_reranker(config, manifest) if config.rerank else None

    from mmcli.workflows.queries.vectors import QueryVectors

    result = SearchResult([], [])
    with QueryVectors(folder, manifest, config.queries, result.notes, result.warnings) as vectors:
        from mmcli.index.search import search as nearest

        index = None if config.keywords_only else open_vectors(folder, manifest)
        items = open_items(folder, manifest)
        wanted, constant = _columns(config, items, manifest)
        items.check_columns([config.collapse] if config.collapse else [])
        if index is not None:
            queries, exclude = vectors.combined(index, items, config.device, config.precision)
    narrowed = None if config.where is None else _matching(config.where, folder, manifest)
    if index is not None and narrowed is not None:
        index = narrow(index, narrowed)
    least = None if reranker else config.min_score

    def by_vectors(rows: int, least: float | None = least) -> "list[Hits]":
        return nearest(index, queries, rows, manifest["metric"], min_score=least, exclude=exclude)

    ask = by_vectors
    if config.hybrid or config.keywords_only:
        from mmcli.workflows.search.keywords import KeywordSearch

        words = KeywordSearch(folder, manifest, config.queries, narrowed)
        ask = partial(words.alone, least=least)
        if index is not None:
            ask = partial(words.fused, partial(by_vectors, least=None), exclude, least=least)

    hits: list[Hits | Reranked]
    if reranker:
        deep = config.rerank_top if config.collapse else config.k
        ordered = reranker.rerank(ask(config.rerank_top), items, deep, config.min_score)
        if config.collapse:
            ordered = keep_best(ordered, items, config.collapse, config.k)
        hits = [*ordered]
    elif config.collapse:
        hits = [*search_groups(ask, items, config.collapse, config.k)]
    else:
        hits = [*ask(config.k)]
    root = manifest.get("source_root")
    kept = [name for name in wanted if name not in constant]
    taken = items.take([row for hit in hits for row in hit.rows], kept)
    found = iter([{name: {**constant, **item}[name] for name in wanted} for item in taken])
    for query, hit in zip(config.queries, hits, strict=True):
        name = query.name if config.several else None
        before = getattr(hit, "retrieval", (None,) * len(hit.scores))
        for rank, (score, own) in enumerate(zip(hit.scores, before, strict=True), 1):
            result.rows.append(result_row(next(found), rank, score, name, root, own))
    result.columns = [*(["query"] if config.several else []), "rank", "score"]
    result.columns += ["retrieval_score"] if reranker else []
    result.columns += [display_name(column) for column in wanted]
    if config.html:
        from mmcli.workflows.search.page import write_page

        write_page(config.html, config.index, config.queries, hits, items, root)
    return result


def _open_reranker(config: SearchConfig, manifest: dict[str, Any]) -> "SearchReranker":
    from mmcli.workflows.search.rerank import SearchReranker

    return SearchReranker(
        config.rerank or "",
        config.index,
        manifest,
        config.queries,
        config.device,
        config.precision,
        config.verify,
    )


def _matching(where: str, folder: Path, manifest: dict[str, Any]) -> Any:
    """The rows whose columns fulfil a condition."""
    from mmcli.data.where import matching_rows

    return matching_rows(item_files(folder, manifest), where)


def _with_whole_ids(config: SearchConfig, table: "ItemTable") -> SearchConfig:
    """The same queries, `--like a=1` read as the item `a=1` where the index has one."""

    def meant(part: QueryPart) -> QueryPart:
        if part.kind != "like" or not part.given or not table.has(part.given):
            return part
        return QueryPart("like", part.given)

    queries = [replace(q, parts=tuple(map(meant, q.parts))) for q in config.queries]
    return replace(config, queries=tuple(queries))


def _check_possible(config: SearchConfig, manifest: dict[str, Any], kinds: set[str]) -> None:
    """Refuse a kind of query before anything slow is loaded."""
    plans = manifest.get("queries") or {}
    for kind in sorted(kinds - {"like"}):
        if kind not in plans:
            can = ", ".join(sorted(plans)) or "none"
            why = f"no {kind} encoder is known for it"
            if kind == "text" and manifest.get("why_no_text"):
                why = str(manifest["why_no_text"])
            raise SpaceMismatch(
                f"`{config.index}` is in space `{manifest['space'] or 'unknown'}`: {why}",
                f"queries it takes: {can}, and `--like ID`",
            )


def _columns(
    config: SearchConfig, items: Any, manifest: Mapping[str, Any]
) -> tuple[list[str], dict[str, str]]:
    """The columns to show, and the values of those that are the same for all items.

    An index of one modality has no column for it, and can be asked for it as one of two can.
    """
    label = next((c for c in ("modality", "indexed_modality") if c in items.columns), None)
    if config.columns is None:
        return order_columns(items.columns, label), {}
    only = list(manifest.get("modalities") or {})
    constant = {}
    if len(only) == 1:
        known = "indexed_modality" if "modality" in items.columns else "modality"
        if known in config.columns and known not in items.columns:
            constant[known] = str(only[0])
    items.check_columns(name for name in config.columns if name not in constant)
    return list(dict.fromkeys(["id", *config.columns])), constant
