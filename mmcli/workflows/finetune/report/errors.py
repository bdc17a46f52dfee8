"""The errors that a model is most sure of: which rows, and as tiles of picture, sound and words.

Of numbers there is no probability, so the largest errors take their place.
"""

import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmcli.report.media import MAX_AUDIO_BYTES, make_thumbnails, picture, sound
from mmcli.report.page import number, text
from mmcli.store.reader import Store
from mmcli.workflows.evaluate.retrieval_page import shown_items
from mmcli.workflows.predictions.answers import Answers

#: Rows shown, bytes of sound that a page holds, letters of a text.
SHOWN, MOST_SOUND, MOST_LETTERS = 12, 2_500_000, 600
#: What errors look like, after the rules of every page.
STYLE = """
.errors { display: grid; grid-template-columns: repeat(auto-fill, minmax(15rem, 1fr)); gap: 1rem; }
.errors p { margin: .35rem .6rem; } .errors .said { color: var(--c5); font-weight: 600; }
.errors .tile > img { object-fit: contain; } .errors .tile p { font-size: .9rem; max-height: 9em; }
.errors .tile .none { margin: 0; } .errors .tile audio { padding: .4rem .5rem 0; }
"""


def errors(answers: Answers, ids: Sequence[str], rows: NDArray[np.int64]) -> dict[str, Any]:
    """How many rows are wrong, and the `SHOWN` that are so with most confidence.

    Each has `row` (of the store), `id`, `true`, `said`, and `probability` of what was said (of
    labels: of the decision `of`), or the `error` of a number. ids, rows: of the answers.
    """
    truth, predicted, shares = answers.truth, answers.predicted, answers.probabilities
    label = None
    if shares is None:
        measured, wrong = np.abs(predicted - truth), predicted != truth
    elif answers.task == "multilabel":
        sure = np.where(predicted != truth, np.where(predicted, shares, 1 - shares), 0.0)
        label = sure.argmax(axis=1)
        measured = np.take_along_axis(sure, label[:, None], axis=1)[:, 0]
        wrong = (predicted != truth).any(axis=1)
    else:
        measured = np.take_along_axis(shares, predicted[:, None], axis=1)[:, 0]
        wrong = predicted != truth
    order = np.argsort(-np.where(wrong, measured, -1.0), kind="stable")
    key = "error" if shares is None else "probability"
    shown = [
        {
            "row": int(rows[at]),
            "id": ids[at],
            "true": _named(answers, truth[at]),
            "said": _named(answers, predicted[at]),
            key: float(predicted[at] - truth[at]) if shares is None else float(measured[at]),
            **({} if label is None else {"of": _decision(answers, predicted[at], label[at])}),
        }
        for at in order[:SHOWN]
        if wrong[at]
    ]
    found: dict[str, Any] = {"rows": len(truth), "wrong": int(wrong.sum()), "shown": shown}
    if shares is not None:
        found["sure"] = int((wrong & (measured >= 0.9)).sum())
    return found


def _named(answers: Answers, value: Any) -> str:
    if answers.task == "regression":
        return number(float(value))
    if answers.task == "multilabel":
        names = [n for n, on in zip(answers.classes, value, strict=True) if on]
        return ", ".join(names) or "none"
    return answers.classes[int(value)]


def _decision(answers: Answers, predicted: Any, label: Any) -> str:
    """What was said of one label."""
    return f"{'' if predicted[label] else 'not '}{answers.classes[int(label)]}"


def error_tiles(
    shown: Sequence[Mapping[str, Any]], store: Store, columns: Sequence[str] = ()
) -> str:
    """The rows of `errors`, as a store has them; columns: of which the value is said.

    A recording that the page has no room for, and what cannot be shown, is named.
    """
    items = shown_items(store, [one["row"] for one in shown])
    pictures = make_thumbnails([i["image"] for i in items.values() if i.get("image")])
    here = [name for name in columns if name in store.columns]
    values = store.items(here).take([one["row"] for one in shown]).to_pylist() if here else []
    room = MOST_SOUND
    tiles = []
    for place, one in enumerate(shown):
        item = items[one["row"]]
        parts = []
        if item.get("image"):
            parts.append(picture(item["image"], item["id"], pictures))
        if item.get("speech"):
            size = _size(item["speech"])
            if size <= room:
                parts.append(sound(item["speech"]))
                room -= size if size <= MAX_AUDIO_BYTES else 0
            else:
                parts.append(f'<p class="none">{text(item["speech"])}</p>')
        if item.get("video"):
            parts.append(f'<p class="none">{text(item["video"])}</p>')
        parts.append(
            f'<p><span class="said">said {text(one["said"])}</span> {text(_sure(one))}</p>'
        )
        parts.append(f"<p>true {text(one['true'])}</p>")
        words = item.get("text") or item.get("transcript")
        if words:
            parts.append(f"<p>{text(_short(str(words)))}</p>")
        told = [f"{n} {v}" for n, v in (values[place] if values else {}).items() if v is not None]
        parts.append(f'<p class="note">{text(" · ".join([one["id"], *told]))}</p>')
        tiles.append(f'<div class="tile">{"".join(parts)}</div>')
    return f'<div class="errors">{"".join(tiles)}</div>\n'


def _sure(one: Mapping[str, Any]) -> str:
    if "error" in one:
        return f"({one['error']:+.3g})"
    of = f"{one['of']} " if "of" in one else ""
    return f"({of}{100 * one['probability']:.1f} %)"


def _size(path: str) -> int:
    try:
        return os.path.getsize(path)
    except OSError:
        return 0


def _short(words: str) -> str:
    return words if len(words) <= MOST_LETTERS else words[: MOST_LETTERS - 1] + "…"
