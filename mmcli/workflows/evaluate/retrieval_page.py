"""The page of a retrieval evaluation: scores with intervals, and the worst queries to look at."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mmcli.core.types import PART_COLUMNS
from mmcli.data.places import locate
from mmcli.engine.exact_top import iter_best
from mmcli.report.charts import Interval, interval_chart
from mmcli.report.media import make_thumbnails, picture, sound
from mmcli.report.page import figure, heading, page, paragraph, rows_table, section, text
from mmcli.store.atomic import write_bytes
from mmcli.store.reader import Store
from mmcli.workflows.evaluate.retrieval_scores import Setting, in_new_order
from mmcli.workflows.evaluate.retrieval_tables import (
    against_rows,
    before_rows,
    diagnostic_rows,
    direction_rows,
    fact_rows,
    measure_rows,
    slice_rows,
)
from mmcli.workflows.evaluate.rows import item_columns

if TYPE_CHECKING:
    from mmcli.workflows.evaluate.retrieval import Direction
    from mmcli.workflows.evaluate.retrieval_config import RetrievalConfig

#: Right answers and first found targets that are shown of a bad query.
SHOWN_RIGHT, SHOWN_FOUND = 3, 5
RERANK_NOTE = (
    "Differences on the same queries: re-ranked minus before; intervals by paired bootstrap, p by a"
    " two-sided sign-flip permutation test."
)


def write_page(
    path: Path,
    store: Store,
    directions: Sequence["Direction"],
    report: Mapping[str, Any],
    config: "RetrievalConfig",
    setting: Setting,
) -> None:
    """Write the page of a report; `config.worst` queries of each direction are shown."""
    sections = [
        section(
            "What was measured", [rows_table(fact_rows(report)), rows_table(direction_rows(report))]
        ),
        section("Scores", [rows_table(measure_rows(report)), *_charts(report)]),
    ]
    if config.rerank is not None:
        before = [rows_table(before_rows(report)), paragraph(RERANK_NOTE, note=True)]
        sections.append(section(f"Before re-ranking by {config.rerank}", before))
    if config.against is not None:
        note = (
            "Differences on the same queries: this minus the other; intervals by paired bootstrap,"
            " p by a two-sided sign-flip permutation test."
        )
        against = [rows_table(against_rows(report)), paragraph(note, note=True)]
        sections.append(section(f"Against {config.against}", against))
    if config.slices:
        sections.append(section("Slices", [rows_table(slice_rows(report))]))
    sections.append(section("The space", [rows_table(diagnostic_rows(report))]))
    for direction in directions:
        blocks = _worst(direction, store, config.worst, setting)
        if blocks:
            sections.append(section(f"Worst queries, {direction.name}", blocks))
    title = f"Retrieval evaluation · {Path(config.store).resolve().name}"
    write_bytes(path, page(title, sections, "mmcli evaluate retrieval").encode())


def tile(item: Mapping[str, Any], modality: str, pictures: Mapping[str, str], note: str) -> str:
    """One item as its modality shows it: a picture, a player, or words; and a note under it."""
    parts = []
    if modality == "image" and item.get("image"):
        parts.append(picture(item["image"], item["id"], pictures))
    elif modality == "speech" and item.get("speech"):
        parts.append(sound(item["speech"]))
        parts.append(f"<p>{text(item.get('transcript') or '')}</p>")
    elif item.get(modality):
        parts.append(f"<p>{text(item[modality])}</p>")
    parts.append(f'<p class="note">{text(note)}</p>')
    return "".join(parts)


def shown_items(store: Store, rows: Sequence[int]) -> dict[int, dict[str, Any]]:
    """The parts of some rows, by row; paths from the working directory."""
    wanted = np.array(sorted(set(rows)), np.int64)
    found = item_columns(store, ["id", *PART_COLUMNS, "transcript"], wanted)
    for item in found:
        for name in ("image", "speech", "video"):
            if item.get(name):
                item[name] = locate(store.source_root, item[name])
    return dict(zip(wanted.tolist(), found, strict=True))


def _charts(report: Mapping[str, Any]) -> list[str]:
    charts = []
    for name, found in report["directions"].items():
        bars = [
            Interval(measure, entry["value"], entry["low"], entry["high"])
            for measure, entry in found["measures"].items()
            if not measure.endswith("_rank")
        ]
        charts.append(figure(interval_chart(bars), name))
    return charts


def _worst(direction: "Direction", store: Store, count: int, setting: Setting) -> list[str]:
    """The queries whose first right answer ranks last: the answer, and what was found instead."""
    ranks = direction.scored.measures["first_rank"]
    numbers = _spread(direction, np.argsort(-ranks, kind="stable"), count)
    if not len(numbers):
        return []
    queries, targets = direction.queries, direction.targets
    asked = direction.scored.queries[numbers]
    own = direction.relevant.own
    rerank = direction.reranking
    parts = iter_best(
        queries.vectors[asked],
        targets.vectors,
        SHOWN_FOUND if rerank is None else rerank.depth,
        own=None if own is None else own[asked],
        device=setting.device,
    )
    if rerank is not None:
        parts = (
            in_new_order(p, asked[p.start : p.start + len(p.index)], p.index, rerank) for p in parts
        )
    found = [
        (i[:SHOWN_FOUND], s[:SHOWN_FOUND])
        for part in parts
        for i, s in zip(part.index, part.score, strict=True)
    ]
    right = [_best_right(direction, int(query)) for query in asked]
    rows = [int(queries.rows[query]) for query in asked]
    for (index, _), (answers, _) in zip(found, right, strict=True):
        rows += targets.rows[index].tolist() + targets.rows[answers].tolist()
    items = shown_items(store, rows)
    pictures = make_thumbnails([item["image"] for item in items.values() if item.get("image")])
    blocks = []
    for at, (number, query) in enumerate(zip(numbers, asked, strict=True)):
        item = items[int(queries.rows[query])]
        blocks.append(heading(f"{item['id']}: first right answer at rank {ranks[number]:g}"))
        tiles = [_framed("", tile(item, queries.modality, pictures, "the query"))]
        for answer, score in zip(*right[at], strict=True):
            shown = items[int(targets.rows[answer])]
            note = f"right: {shown['id']}, {'' if rerank is None else 'cosine '}{score:.3f}"
            tiles.append(_framed(" right", tile(shown, targets.modality, pictures, note)))
        for rank, (target, score) in enumerate(zip(*found[at], strict=True), 1):
            shown = items[int(targets.rows[target])]
            note = f"found {rank}: {shown['id']}, {score:.3f}"
            tiles.append(_framed("", tile(shown, targets.modality, pictures, note)))
        blocks.append(f'<div class="grid">{"".join(tiles)}</div>\n')
    return blocks


def _spread(direction: "Direction", order: np.ndarray, count: int) -> np.ndarray:
    """The first `count` of an order, one of each set of right answers."""
    sets = direction.relevant.set_of[direction.scored.queries]
    chosen: dict[int, int] = {}
    for number in order:
        if len(chosen) == count:
            break
        chosen.setdefault(int(sets[number]), int(number))
    return np.array(list(chosen.values()), np.int64)


def _best_right(direction: "Direction", query: int) -> tuple[np.ndarray, np.ndarray]:
    """The best right answers of a query and their scores."""
    _, indices, _ = direction.relevant.pairs(np.array([query]))
    scores = direction.targets.vectors[indices] @ direction.queries.vectors[query]
    best = np.argsort(-scores, kind="stable")[:SHOWN_RIGHT]
    return indices[best], scores[best]


def _framed(kind: str, content: str) -> str:
    return f'<div class="tile{kind}">{content}</div>'
