"""What a model of recordings says of itself: `report.html`, and a model card in Markdown."""

import base64
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mmcli.report.charts import Interval, interval_chart
from mmcli.report.markdown import markdown_table
from mmcli.report.media import MAX_AUDIO_BYTES, audio_uri, sound
from mmcli.report.page import figure, paragraph, rows_table, section, text
from mmcli.report.page import page as whole_page
from mmcli.report.run_page import counts_line, epoch_chart, settings_section
from mmcli.tasks.streams_scores import MAIN
from mmcli.workflows.fuse.report import shown_rows

_WIDTH, _LANE, _LEFT = 640, 18, 110
_MEASURE = "mean average precision over temporal IoU 0.3 to 0.7"


def page(report: Mapping[str, Any], examples: Sequence[Mapping[str, Any]]) -> str:
    """Verdict, every model and chance, classes, curves, the recordings it gets most wrong."""
    bars = [Interval(r["model"], r[MAIN], r.get("low"), r.get("high")) for r in report["table"]]
    caption = f"{_MEASURE}, and its 95 % interval over recordings"
    lines = report["lines"]
    sections = [
        *([section("Does it take both?", [paragraph(line) for line in lines])] if lines else []),
        section(
            "Every model",
            [
                paragraph(f"Scores of the {report['scored_rows']} recordings.", note=True),
                rows_table(report["table"]),
                figure(interval_chart(bars), caption),
            ],
        ),
        section("By class", [rows_table(report["by_class"]), *_decoding(report)]),
        section("Curves", _curves(report["history"])),
        section(
            "Where it is wrong most",
            [
                paragraph("Above what is true, below what was found.", note=True),
                *(block for example in examples for block in _example(example)),
            ],
        ),
        settings_section(_settings(report)),
    ]
    return whole_page(f"events: {', '.join(report['modalities'])}", sections)


def card(report: Mapping[str, Any], command: str) -> str:
    """The model card, in Markdown."""
    rows = report["rows"]
    encoders = "\n".join(f"- {n}: {', '.join(r)}" for n, r in report["modalities"].items())
    lines = "\n".join(f"- {line}" for line in report["lines"])
    several = len(report["modalities"]) > 1
    absent = "A row that lacks one of them is answered from the other. " if several else ""
    return f"""# Events in recordings: {", ".join(report["classes"][:12])}

Says which of {len(report["classes"])} classes happens when, from
{" and ".join(report["modalities"])}.

## Made by

```sh
{command or "mmcli finetune --task event"}
```

{rows["train"]["recordings"]} train, {rows["val"]["recordings"]} val and
{rows["test"]["recordings"]} test recordings ({report["splits"]}), seed {report["kept_seed"]}.

## Reads

{encoders}

Encoders are frozen. Steps of {1000 / report["chosen"]["rate_hz"]:.0f} ms; a segment is where the
probability of a class, through a median filter, is its `edge` or more; it counts as found from the
score `keep` on. Both were chosen on val and are in `config.json`.

## Scores

{_MEASURE[0].upper()}{_MEASURE[1:]}, and F1 of events with a collar of
200 ms (offsets: half the length, where that is more), of the {report["scored_rows"]} recordings;
intervals at 95 % over recordings.

{markdown_table(shown_rows(report["table"]))}

{lines}

{markdown_table(shown_rows(report["tables"]["by class"]))}

## Use

`mmcli predict MODEL DATA -o PREDICTIONS`. {absent}The scores hold for data like that of
the {report["scored_rows"]} recordings.
"""


def _decoding(report: Mapping[str, Any]) -> list[str]:
    rows = [{"class": name, **rule} for name, rule in report["decoding"].items()]
    return [paragraph("How each class is decoded, chosen on val.", note=True), rows_table(rows)]


def _curves(history: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[str]:
    labels = {"loss": "train loss", "score": "val mean average precision"}
    return [epoch_chart(history, name, label) for name, label in labels.items()]


def _settings(report: Mapping[str, Any]) -> list[list[Any]]:
    rows = counts_line({n: c["recordings"] for n, c in report["rows"].items()})
    found: list[list[Any]] = [["data", report["data"]], ["recordings", rows]]
    found += [[f"{n} encoders", ", ".join(r)] for n, r in report["modalities"].items()]
    found += [[name, value] for name, value in report["chosen"].items()]
    return [*found, ["seeds", report["seeds"]], ["seconds", report.get("seconds")]]


def _example(example: Mapping[str, Any]) -> list[str]:
    words = f"{example['id']}: {example['wrong']} wrong"
    parts = []
    movie = _movie(example["image"])
    if movie:
        parts.append(f'<img src="{movie}" width="192" alt="{text(example["id"])}">')
    if example["speech"] and audio_uri(example["speech"]):
        parts.append(sound(example["speech"]))
    blocks = [figure(timeline(example), words)]
    return [*blocks, f'<div class="card">{"".join(parts)}</div>'] if parts else blocks


def _movie(path: str | None) -> str:
    """A data URI of a small moving picture, which browsers play, else ""."""
    kind = {".png": "png", ".gif": "gif", ".webp": "webp"}.get(Path(path or "").suffix.lower())
    if path is None or kind is None or Path(path).stat().st_size > MAX_AUDIO_BYTES:
        return ""
    return f"data:image/{kind};base64," + base64.b64encode(Path(path).read_bytes()).decode()


def timeline(example: Mapping[str, Any]) -> str:
    """An SVG: a lane a class that occurs, true events in its upper half and found ones below.

    example: `duration_s`, `classes`, and `true` and `found`, each (class, start, end).
    """
    events = [*example["true"], *example["found"]]
    labels = sorted({label for label, _, _ in events})
    height = _LANE * max(1, len(labels)) + 20
    scale = (_WIDTH - _LEFT - 10) / example["duration_s"]
    parts = []
    for lane, label in enumerate(labels):
        y = _LANE * lane
        name = text(example["classes"][label])
        parts.append(f'<text x="{_LEFT - 8}" y="{y + 13}" text-anchor="end">{name}</text>')
        parts.append(f'<path d="M{_LEFT} {y + _LANE}H{_WIDTH - 10}" stroke="var(--line)"/>')
        for offset, colour, which in ((2, "var(--c2)", "true"), (9, "var(--c1)", "found")):
            for kind, start_s, end_s in example[which]:
                if kind == label:
                    x, width = _LEFT + start_s * scale, max(1.0, (end_s - start_s) * scale)
                    parts.append(
                        f'<rect x="{x:.1f}" y="{y + offset}" width="{width:.1f}" height="6"'
                        f' fill="{colour}"/>'
                    )
    for second in range(int(example["duration_s"]) + 1):
        x = _LEFT + second * scale
        if second % max(1, round(example["duration_s"] / 10)) == 0:
            parts.append(f'<text x="{x:.1f}" y="{height - 4}" text-anchor="middle">{second}</text>')
    return (
        f'<svg viewBox="0 0 {_WIDTH} {height}" role="img" aria-label="timeline">'
        f"{''.join(parts)}</svg>\n"
    )
