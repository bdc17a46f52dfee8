"""The page of a zero-shot evaluation: scores, classes, and pictures of what was confused."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mmcli.report.charts import Interval, interval_chart
from mmcli.report.media import make_thumbnails
from mmcli.report.page import figure, heading, page, rows_table, section
from mmcli.store.atomic import write_bytes
from mmcli.store.reader import Store
from mmcli.workflows.evaluate.retrieval_page import shown_items, tile
from mmcli.workflows.evaluate.zeroshot_tables import (
    class_rows,
    confused_rows,
    fact_rows,
    score_rows,
)

if TYPE_CHECKING:
    from mmcli.workflows.evaluate.zeroshot import Predicted, ZeroshotConfig

#: Examples of a confused pair, and pairs that have examples.
SHOWN, PAIRS = 6, 8


def write_page(
    path: Path,
    store: Store,
    found: "Predicted",
    report: Mapping[str, Any],
    config: "ZeroshotConfig",
) -> None:
    """Write the page of a report."""
    bars = [Interval(n, e["value"], e["low"], e["high"]) for n, e in report["scores"].items()]
    sections = [
        section("What was measured", [rows_table(fact_rows(report))]),
        section("Scores", [rows_table(score_rows(report)), figure(interval_chart(bars))]),
        section("Classes", [rows_table(class_rows(report))]),
    ]
    confused = confused_rows(report)
    if confused:
        blocks = [rows_table(confused), *_examples(store, found, confused[:PAIRS])]
        sections.append(section("Most confused", blocks))
    title = f"Zero-shot evaluation · {Path(config.store).resolve().name}"
    write_bytes(path, page(title, sections, "mmcli evaluate zeroshot").encode())


def _examples(store: Store, found: "Predicted", pairs: list[dict[str, Any]]) -> list[str]:
    number_of = {label: number for number, label in enumerate(found.labels)}
    examples = []
    for pair in pairs:
        is_it = found.truth == number_of[pair["is"]]
        called = found.predicted == number_of[pair["called"]]
        examples.append(found.side.rows[np.flatnonzero(is_it & called)[:SHOWN]].tolist())
    items = shown_items(store, [row for rows in examples for row in rows])
    pictures = make_thumbnails([item["image"] for item in items.values() if item.get("image")])
    blocks = []
    for pair, rows in zip(pairs, examples, strict=True):
        blocks.append(heading(f"{pair['is']}, called {pair['called']}: {pair['rows']}"))
        tiles = "".join(
            f'<div class="tile">{tile(items[row], found.side.modality, pictures, items[row]["id"])}'
            "</div>"
            for row in rows
        )
        blocks.append(f'<div class="grid">{tiles}</div>\n')
    return blocks
