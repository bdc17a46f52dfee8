"""The tokens that question answering reads: each distinct picture and question is encoded once.

They lie as two stores in a folder of the unfinished run, where `--resume` finds them; data that are
a store already are read as they are. Prints nothing.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mmcli.core.errors import BadInput, UsageError
from mmcli.encoders.registry import PRESETS, load
from mmcli.encoders.specs import EncoderOptions
from mmcli.engine.device import Placement, place, probe
from mmcli.store.atomic import write_bytes
from mmcli.store.bindings import binding
from mmcli.store.manifest import MANIFEST, STATE
from mmcli.store.reader import Store
from mmcli.tasks.vqa import ENCODERS, LAYERS, MOST_WORDS
from mmcli.tasks.vqa_tokens import Asked, Rows, TokenBank
from mmcli.workflows.extract.plan import ExtractConfig
from mmcli.workflows.extract.run import extract
from mmcli.workflows.finetune.vqa.data import VqaRows
from mmcli.workflows.listeners import Listeners

PICTURES, QUESTIONS = "pictures", "questions"


@dataclass(frozen=True)
class Wanted:
    """Which encoders and layers are read, and how. encoders: references by modality."""

    encoders: Mapping[str, tuple[str, ...]]
    layers: tuple[int, ...]
    patches: int
    workers: int | None = None
    on_error: str = "fail"
    device: str = "auto"
    precision: str = "auto"
    seed: int = 0


@dataclass(frozen=True)
class Features:
    """What is asked, how it was extracted, and what a model keeps of the keys."""

    asked: Asked
    keys: dict[str, dict[str, dict[str, Any]]]
    seconds: float
    lines: list[str]


def choose_encoders(
    preset: str, given: Mapping[str, Sequence[str]], layers: tuple[int, ...]
) -> tuple[dict[str, tuple[str, ...]], tuple[int, ...]]:
    """The encoders of both modalities, and the layers of the picture's.

    Raises UsageError when the preset has none and none is named.
    """
    found = {}
    for modality, usual in ENCODERS.items():
        named = tuple(given.get(modality) or ())
        if not named and preset == "starter":
            named = usual
        if not named:
            encoders = PRESETS.get(preset).encoders
            if modality not in encoders:
                raise UsageError(f"preset `{preset}` has no {modality} encoder", "name one")
            named = (encoders[modality],)
        found[modality] = named
    if not layers and len(found["image"]) == 1:
        layers = LAYERS.get(found["image"][0], ())
    return found, layers


def refuse_long(rows: VqaRows, wanted: Wanted) -> None:
    """Raise BadInput for the first question that has more tokens than an encoder reads."""
    if rows.store is not None:
        return
    placement = Placement("cpu", "float32")
    usable = np.flatnonzero(rows.usable)
    distinct = list(dict.fromkeys(str(rows.questions[row]) for row in usable))
    for reference in wanted.encoders["text"]:
        encoder = load(reference, "text", EncoderOptions(sequence=True), placement)
        most = min(MOST_WORDS, encoder.card.sequence_length or MOST_WORDS)
        for question, ready in zip(distinct, encoder.prepare(distinct), strict=True):
            if ready.truncated or ready.length > most + 2:  # two are special tokens
                row = next(r for r in usable if rows.questions[r] == question)
                raise BadInput(
                    f"{rows.where(int(row))}: the question is longer than the {most} tokens that"
                    f" `{reference}` reads here",
                    "shorten it, or drop the row",
                )


def open_tokens(rows: VqaRows, wanted: Wanted, folder: Path, listeners: Listeners) -> Features:
    """The tokens of all rows; extracted into `folder`, unless the data are a store.

    Raises BadInput for a picture that cannot be read, unless such are skipped, and for a store
    that lacks either modality.
    """
    if rows.store is not None:
        return _of_store(rows, rows.store, wanted)
    usable = np.flatnonzero(rows.usable)
    picture_of, pictures = _distinct(rows.images, usable)
    question_of, questions = _distinct(rows.questions, usable)
    listeners.message(
        f"{len(usable)} rows ask {len(questions)} different questions of {len(pictures)} pictures"
    )
    folder.mkdir(parents=True, exist_ok=True)
    reports = []
    stores = {}
    for name, modality, entries in (
        (QUESTIONS, "text", questions),
        (PICTURES, "image", pictures),
    ):
        table = folder / f"{name}.jsonl"
        lines = [
            json.dumps({"id": rows.ids[row], modality: value}) for value, row in entries.items()
        ]
        write_bytes(table, ("\n".join(lines) + "\n").encode())
        report = _extracted(table, folder / name, modality, wanted, listeners)
        reports += [report] if report else []
        stores[name] = Store.open(folder / name)
    lines = [line for report in reports for line in report["warnings"]]
    lines += _failures(stores[PICTURES], picture_of)
    asked = Asked(
        _bank(stores[PICTURES], "image", wanted),
        _bank(stores[QUESTIONS], "text", wanted),
        picture_of,
        question_of,
    )
    seconds = sum(report["seconds"]["total"] for report in reports)
    return Features(asked, _bindings(asked), round(seconds, 1), lines)


def _distinct(values: Sequence[str | None], usable: Rows) -> tuple[Rows, dict[str, int]]:
    """Which entry each row has, -1 for none, and of each entry the first row."""
    entries: dict[str, int] = {}
    numbers: dict[str, int] = {}
    found = np.full(len(values), -1, np.int64)
    for row in usable.tolist():
        value = str(values[row])
        if value not in entries:
            numbers[value] = len(entries)
            entries[value] = row
        found[row] = numbers[value]
    return found, entries


def _extracted(
    table: Path, output: Path, modality: str, wanted: Wanted, listeners: Listeners
) -> dict[str, Any] | None:
    if (output / MANIFEST).is_file():  # of the run that is being continued
        return None
    return extract(
        ExtractConfig(
            source=str(table),
            output=str(output),
            encoders={modality: wanted.encoders[modality]},
            only=(modality,),
            sequence=True,
            layers=wanted.layers if modality == "image" else (),
            store_dtype="fp16",
            workers=wanted.workers,
            on_error=wanted.on_error,
            device=wanted.device,
            precision=wanted.precision,
            resume=(output / STATE).is_file(),
            seed=wanted.seed,
        ),
        listeners,
    )


def _failures(pictures: Store, picture_of: Rows) -> list[str]:
    found = pictures.failures()
    if not found.num_rows:
        return []
    first = found.slice(0, 1).to_pylist()[0]
    failed = set(found.column("id").to_pylist())
    entries = [i for i, id_ in enumerate(pictures.ids()) if id_ in failed]
    rows = int(np.isin(picture_of, entries).sum())
    return [
        f"{len(failed)} pictures cannot be read, {rows} rows are left out; the first:"
        f" {first['id']}: {first['message']}"
    ]


def _of_store(rows: VqaRows, store: Store, wanted: Wanted) -> Features:
    banks = {}
    for modality in ("image", "text"):
        if not any(entry_of(store, key) == modality for key in store.keys):
            raise BadInput(
                f"`{store.path}` has no {modality} embeddings",
                "question answering reads image and text: extract both with `--sequence`",
            )
        banks[modality] = _bank(store, modality, wanted)
    every = np.where(rows.usable, np.arange(store.rows), -1).astype(np.int64)
    asked = Asked(banks["image"], banks["text"], every, every)
    lines = []
    if not any(store.keys[key]["sequence"] for key in banks["image"].keys):
        lines.append(
            f"`{store.path}` has no patches of its pictures, only one vector each: extract it with"
            " `--sequence` to answer what is where"
        )
    return Features(asked, _bindings(asked), 0.0, lines)


def entry_of(store: Store, key: str) -> str:
    """The modality of a key."""
    return str(store.keys[key].get("modality") or key.partition(":")[0])


def _bank(store: Store, modality: str, wanted: Wanted) -> TokenBank:
    """The keys of a modality that are read: layers where there are some, else tokens, else all."""
    keys = [key for key in store.keys if entry_of(store, key) == modality]
    layered = [key for key in keys if store.keys[key].get("layer") is not None]
    if modality == "image" and wanted.layers:
        layered = [key for key in layered if store.keys[key]["layer"] in wanted.layers] or layered
    tokens = [key for key in keys if store.keys[key]["sequence"] and key not in layered]
    image = modality == "image"
    chosen = (layered if image else []) or tokens or keys
    return TokenBank(store, tuple(chosen), wanted.patches if image else MOST_WORDS, image)


def bank_of(
    store: Store, keys: Mapping[str, Mapping[str, Any]], modality: str, patches: int
) -> TokenBank:
    """The bank of the keys that a model was trained on. Raises BadInput when one is missing."""
    for key in keys:
        store.key(key)
    image = modality == "image"
    return TokenBank(store, tuple(keys), patches if image else MOST_WORDS, image)


def _bindings(asked: Asked) -> dict[str, dict[str, dict[str, Any]]]:
    banks = {"image": asked.pictures, "text": asked.questions}
    return {
        name: {key: binding(bank.store.keys[key]) for key in bank.keys}
        for name, bank in banks.items()
    }


def place_network(device: str, precision: str) -> Placement:
    """Where the network runs; `auto` is fp32 on a CPU, where bf16 takes twice as long for it."""
    placement = place(device, precision, probe())
    if placement.device == "cpu" and precision == "auto":
        return Placement("cpu", "float32")
    return placement
