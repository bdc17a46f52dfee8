"""`evaluate predictions` of timed events: mean average precision, F1 with a collar, by class too.

Reads a predictions directory with segments, by mmcli or any other program: `items.parquet` with
`id` and the true `events`, or `label` (a list of class, start_s, end_s; null where nobody knows),
and `events.parquet` with `id, class, start_s, end_s, score`, of which the manifest may say more, as
in `{"segments": {"file": "events.parquet", "keep": {class: score}}}`. Prints nothing.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from mmcli.core.errors import BadInput
from mmcli.metrics.detection import Events
from mmcli.metrics.statistics import LEVEL
from mmcli.report.charts import Interval, interval_chart
from mmcli.report.page import figure, page, section, table
from mmcli.store.atomic import write_bytes
from mmcli.store.hashes import check_files
from mmcli.store.manifest import MANIFEST, file_path, read_manifest
from mmcli.store.parquet import open_parquet, read_rows
from mmcli.tasks.streams_decode import kept
from mmcli.tasks.streams_scores import Said, compared, summarised
from mmcli.workflows.evaluate.resampling import check_resamples, interval_warnings
from mmcli.workflows.output_files import refuse_page

KIND = "mmcli.predictions"
#: What the manifest calls the segments.
SEGMENTS = "segments"
_EVENTS = "events.parquet"
_COLUMNS = {
    "id": pa.string(),
    "class": pa.string(),
    "start_s": pa.float64(),
    "end_s": pa.float64(),
    "score": pa.float64(),
}
_CORRECT = "correct the table, or make the predictions again"


@dataclass(frozen=True)
class EventsConfig:
    """What `evaluate predictions --task event` can be told. against: other predictions."""

    predictions: str
    against: str | None = None
    bootstrap: int = 1000
    seed: int = 0
    html: str | None = None
    force: bool = False
    verify: str = "once"


@dataclass(frozen=True)
class Timed:
    """Segments and truth of a directory.

    truth: of each id, None where it is not known or nothing was predicted. segments: (number of
    the id, class, start, end, score). keep: the score from which those of a class count.
    """

    ids: list[str]
    truth: list[list[tuple[str, float, float]] | None]
    segments: list[tuple[int, str, float, float, float]]
    keep: Mapping[str, float]
    classes: tuple[str, ...]
    unanswered: int


def evaluate_events(
    config: EventsConfig, message: Callable[[str], None] = lambda text: None
) -> dict[str, Any]:
    """Score timed events and report; write the page if it was asked for.

    Raises UsageError for options that do not fit, BadInput, naming file and row, for predictions
    that cannot be scored.
    """
    check_resamples(config.bootstrap)
    refuse_page(config.html, config.force)
    mine = read_timed(config.predictions, config.verify)
    rows = [i for i, truth in enumerate(mine.truth) if truth is not None]
    if not rows:
        raise BadInput(
            f"`{config.predictions}` has no recording whose events are known",
            "predict rows that have a column of events",
        )
    classes = _all_classes(mine)
    if not classes:
        raise BadInput(f"`{config.predictions}` has no event, neither true nor found", _CORRECT)
    message(f"{len(rows)} recordings, {len(classes)} classes")
    said = _said(mine, rows, classes)
    report: dict[str, Any] = {
        "predictions": config.predictions,
        "task": "event",
        "rows": len(mine.ids),
        "scored": len(rows),
        "without_label": sum(truth is None for truth in mine.truth) - mine.unanswered,
        "without_prediction": mine.unanswered,
        "events": len(said.truth),
        "segments": len(said.events),
        "found": len(said.kept),
        "measures": summarised(said, config.bootstrap, config.seed),
        "intervals": {
            "level": LEVEL,
            "resamples": config.bootstrap,
            "groups": "recordings",
            "drawn": len(rows),
            "seed": config.seed,
        },
        "per_class": said.judged().by_class(classes),
        "warnings": [
            *_warnings(mine, classes),
            *interval_warnings(config.bootstrap, len(rows)),
        ],
    }
    if config.against is not None:
        message(f"against {config.against}")
        report["against"] = _against(config, mine)
    if config.html:
        write_bytes(Path(config.html), _page(report).encode())
    return report


def read_timed(path: str | Path, verify: str = "once") -> Timed:
    """The segments and the truth of a predictions directory, every value checked."""
    path = Path(path)
    manifest = read_manifest(path, KIND)
    if "files" in manifest:
        check_files(path, manifest, None, verify)
    found = manifest.get(SEGMENTS)
    if found is None and (Path(path) / _EVENTS).is_file():
        found = {}
    if not isinstance(found, Mapping):
        raise BadInput(
            f"`{path}` holds no timed events",
            f"they lie in `{_EVENTS}`, or where its `{MANIFEST}` says under `{SEGMENTS}`",
        )
    items = file_path(path, str(manifest.get("items", "items.parquet")))
    events = file_path(path, str(found.get("file", _EVENTS)))
    table = read_rows(open_parquet(items), items)
    if "events" not in table.column_names and "label" in table.column_names:
        table = table.rename_columns({"label": "events"})
    for name in ("id", "events"):
        if name not in table.column_names:
            raise BadInput(f"`{items}` has no column `{name}`", _CORRECT)
    ids = [str(value) for value in table.column("id").to_pylist()]
    places = {name: i for i, name in enumerate(ids)}
    if len(places) < len(ids):
        raise BadInput(f"`{items}` names an id twice", _CORRECT)
    answered = [True] * len(ids)
    if "prediction" in table.column_names:
        answered = [value is not None for value in table.column("prediction").to_pylist()]
    truth = [
        _truth(items, i, value) if answered[i] else None
        for i, value in enumerate(table.column("events").to_pylist())
    ]
    classes = manifest.get("classes") or []
    return Timed(
        ids,
        truth,
        _segments(events, places),
        dict(found.get("keep") or {}),
        tuple(str(name) for name in classes),
        answered.count(False),
    )


def _truth(items: Path, row: int, value: Any) -> list[tuple[str, float, float]] | None:
    if value is None:
        return None
    try:
        found = [(str(e["class"]), float(e["start_s"]), float(e["end_s"])) for e in value]
        if any(not end_s > start_s for _, start_s, end_s in found):
            raise ValueError
    except (TypeError, KeyError, ValueError) as error:
        raise BadInput(
            f"{items}:row {row + 1}: `events` is no list of class, start_s and end_s", _CORRECT
        ) from error
    return found


def _segments(path: Path, places: Mapping[str, int]) -> list[tuple[int, str, float, float, float]]:
    table = read_rows(open_parquet(path), path)
    for name in _COLUMNS:
        if name not in table.column_names:
            raise BadInput(f"`{path}` has no column `{name}`", _CORRECT)
    try:
        columns = [table.column(name).cast(kind).to_pylist() for name, kind in _COLUMNS.items()]
    except pa.ArrowInvalid as error:
        raise BadInput(f"`{path}` holds no times and scores as numbers", _CORRECT) from error
    found = []
    for row, (name, label, *numbers) in enumerate(zip(*columns, strict=True), 1):
        if name not in places:
            raise BadInput(f"{path}:row {row}: id `{name}` is of no recording", _CORRECT)
        if label is None or None in numbers or not np.isfinite(numbers).all():
            raise BadInput(f"{path}:row {row}: a value is missing or not finite", _CORRECT)
        if numbers[1] <= numbers[0]:
            raise BadInput(f"{path}:row {row}: ends before it starts", _CORRECT)
        found.append((places[name], str(label), *numbers))
    return found


def _all_classes(*found: Timed) -> list[str]:
    """The classes in the manifests' order, then those that only occur."""
    names = [name for one in found for name in one.classes]
    others = {label for one in found for truth in one.truth for label, _, _ in truth or ()}
    others |= {label for one in found for _, label, *_ in one.segments}
    return list(dict.fromkeys([*names, *sorted(others)]))


def _said(found: Timed, rows: list[int], classes: list[str]) -> Said:
    """What is said of these rows, in their order."""
    place = {row: i for i, row in enumerate(rows)}
    number = {name: i for i, name in enumerate(classes)}
    truth = Events.of(
        [
            (i, number[label], start_s, end_s, 1.0)
            for row, i in place.items()
            for label, start_s, end_s in found.truth[row] or ()
        ]
    )
    events = Events.of(
        [
            (place[row], number[label], start_s, end_s, score)
            for row, label, start_s, end_s, score in found.segments
            if row in place
        ]
    )
    keep = [float(found.keep.get(name, -np.inf)) for name in classes]
    return Said(truth, events, kept(events, keep), len(rows), len(classes))


def _against(config: EventsConfig, mine: Timed) -> dict[str, Any]:
    assert config.against is not None
    other = read_timed(config.against, config.verify)
    places = {name: i for i, name in enumerate(other.ids)}
    pairs = [
        (i, places[name])
        for i, name in enumerate(mine.ids)
        if mine.truth[i] is not None and name in places and other.truth[places[name]] is not None
    ]
    if not pairs:
        raise BadInput(
            f"`{config.against}` and `{config.predictions}` share no recording whose events are"
            " known",
            "predict the same rows with both models",
        )
    classes = _all_classes(mine, other)
    this = _said(mine, [i for i, _ in pairs], classes)
    theirs = _said(other, [j for _, j in pairs], classes)
    measures = compared(this, theirs, config.bootstrap, config.seed)
    return {"path": config.against, "rows": len(pairs), "measures": measures}


def _warnings(found: Timed, classes: list[str]) -> list[str]:
    lines = []
    if found.unanswered:
        lines.append(f"{found.unanswered} recordings have no prediction: not scored")
    unknown = [name for name in classes if found.classes and name not in found.classes]
    if unknown:
        lines.append(f"classes that the predictions do not know: {', '.join(unknown[:8])}")
    return lines


def _page(report: Mapping[str, Any]) -> str:
    measures = report["measures"]
    bars = [Interval(name, v["value"], v["low"], v["high"]) for name, v in measures.items()]
    rows = [[name, v["value"], v["low"], v["high"]] for name, v in measures.items()]
    per_class = report["per_class"]
    names = list(per_class[0])
    blocks = [
        section(
            "Measures",
            [
                table(["measure", "value", "low", "high"], rows),
                figure(interval_chart(bars), "values and their 95 % intervals over recordings"),
            ],
        ),
        section("By class", [table(names, [[row[n] for n in names] for row in per_class])]),
    ]
    if "against" in report:
        other = report["against"]["measures"]
        fields = ("this", "other", "difference", "low", "high", "p")
        lines = [[name, *(v[f] for f in fields)] for name, v in other.items()]
        blocks.append(
            section(f"Against {report['against']['path']}", [table(["measure", *fields], lines)])
        )
    return page(f"events of {report['predictions']}", blocks)
