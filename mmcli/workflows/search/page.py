"""The page of a search: what was found for each query, with thumbnails and players."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mmcli.report.gallery import Card, Section, render_gallery
from mmcli.store.atomic import write_bytes
from mmcli.workflows.queries.file import Query, QueryPart
from mmcli.workflows.search.result_rows import order_columns, result_row


def write_page(
    path: str,
    index: str,
    queries: Sequence[Query],
    hits: Sequence[Any],
    items: Any,
    root: str | None,
) -> None:
    """Write the page; it shows every column, whichever were asked for in the rows."""
    columns = order_columns(items.columns, None)
    found = iter(items.take([row for hit in hits for row in hit.rows], columns))
    sections = []
    for query, hit in zip(queries, hits, strict=True):
        cards = []
        for rank, score in enumerate(hit.scores, 1):
            row = result_row(next(found), rank, score, None, root)
            shown = ("rank", "score", "id", "image", "speech", "video", "text")
            fields = {name: value for name, value in row.items() if name not in shown}
            cards.append(
                Card(
                    rank=rank,
                    score=score,
                    id=str(row["id"]),
                    image=row.get("image") or None,
                    audio=row.get("speech") or None,
                    text=row.get("text") or None,
                    fields=fields,
                    video=row.get("video") or None,
                    span=_span(row),
                )
            )
        sections.append(
            Section(
                heading=_heading(query),
                cards=cards,
                images=[part.value for part in query.parts if part.kind == "image"],
                audio=[part.value for part in query.parts if part.kind == "speech"],
            )
        )
    page = render_gallery(
        f"mmcli · {Path(index).resolve().name}", sections, f"{items.rows} vectors searched"
    )
    write_bytes(Path(path), page.encode())


def _span(row: Mapping[str, Any]) -> tuple[float, float] | None:
    """The seconds of a segment, None for an item that is a whole recording."""
    start, end = row.get("start_s"), row.get("end_s")
    if not row.get("parent_id"):
        return None
    if not isinstance(start, int | float) or not isinstance(end, int | float):
        return None
    return start, end


def _heading(query: Query) -> str:
    return " ".join(_part_heading(part, i) for i, part in enumerate(query.parts))


def _part_heading(part: QueryPart, position: int) -> str:
    sign = "−" if part.weight < 0 else "+" if position else ""
    size = "" if abs(part.weight) == 1 else f"{abs(part.weight):g} × "
    kind = "like " if part.kind == "like" else ""
    return f"{sign} {size}{kind}{part.value}".strip()
