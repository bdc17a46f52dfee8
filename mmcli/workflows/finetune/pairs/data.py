"""What a training on pairs is told, and the rows it gets: settings, modalities, positives, pairs.

Refuses options that it would not read. Prints nothing.
"""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from mmcli.align.features import Part
from mmcli.core.bounds import within
from mmcli.core.errors import BadInput, UsageError
from mmcli.core.registry import suggestion
from mmcli.core.types import MODALITIES
from mmcli.data.groups import group_codes
from mmcli.data.source import SourceOptions, open_source
from mmcli.store.mapped import MappedKey
from mmcli.store.reader import Store
from mmcli.workflows.align.data import AlignData, DataConfig, load_data
from mmcli.workflows.finetune.config import FinetuneConfig, TrickOptions
from mmcli.workflows.finetune.features import is_store
from mmcli.workflows.queries.plans import modality_of_key

RETRIEVAL = "retrieval"
_HINT = "as in `--set match=1,mask=1,temperature=0.07`"
#: Rows whose vectors are looked at together.
_BLOCK = 8_192


@dataclass(frozen=True)
class PairSettings:
    """What only these tasks know, by the names of `--set`.

    between: the two modalities, () for the first two of the data. positive_by: rows of one value
    belong to each other; "" for rows of one text, where there are texts. temperature: where it
    begins. width: of the shared space, 0 for that of a space that the encoders share, else 256.
    tower: `linear` or `mlp`, `auto` by the number of rows. hidden: width of an `mlp`'s layer.
    head_epochs: of the stage on cached features, 0 for as many as the rows ask for. match, mask:
    weights of the two losses of `pretrain` beside contrast.
    """

    between: tuple[str, ...] = ()
    positive_by: str = ""
    temperature: float = 0.07
    width: int = 0
    tower: str = "auto"
    hidden: int = 0
    head_epochs: int = 0
    match: float = 1.0
    mask: float = 1.0


def pair_settings(config: FinetuneConfig) -> PairSettings:
    """The settings of a run. Raises UsageError for what these tasks do not read."""
    _refuse_idle(config)
    known = {field.name: field for field in fields(PairSettings)}
    found: dict[str, Any] = {}
    for name, value in config.options.items():
        if name in known:
            found[name] = _value(name, value, getattr(PairSettings, name))
        elif value not in ((), "", None):
            raise UsageError(
                f"`--task {config.task}` knows no `{name}`", suggestion(name, list(known))
            )
    settings = PairSettings(**found)
    bounds = {
        "temperature": (0.01, 10.0),
        "width": (0, 65_536),
        "hidden": (0, 65_536),
        "head_epochs": (0, 1_000_000),
        "match": (0, 1e6),
        "mask": (0, 1e6),
    }
    for name, limits in bounds.items():
        value = getattr(settings, name)
        within(f"{name}={value:g}", value, limits)
    if settings.tower not in ("auto", "linear", "mlp"):
        raise UsageError(f"`tower={settings.tower}` is unknown", "use linear, mlp or auto")
    for name in settings.between:
        if name not in MODALITIES:
            raise UsageError(f"`{name}` is not a modality", suggestion(name, MODALITIES))
    if settings.between and (len(settings.between) != 2 or len(set(settings.between)) != 2):
        raise UsageError(
            f"`between={'+'.join(settings.between)}`", "name two modalities, as in text+image"
        )
    return settings


def between_of(config: FinetuneConfig, settings: PairSettings) -> tuple[str, ...]:
    """The two modalities where they are known before anything is extracted, else ().

    Raises BadInput for data that has fewer than two.
    """
    if settings.between:
        return settings.between
    if len(config.only) == 2:
        return config.only
    if is_store(config.data):
        store = Store.open(config.data, config.verify)
        there = [modality_of_key(key, entry) for key, entry in store.keys.items()]
    elif config.data == "-":  # what is read once cannot be looked at first
        return ()
    else:
        options = SourceOptions(config.data, config.root, dict(config.mapping))
        with tempfile.TemporaryDirectory(prefix="mmcli-") as spool:
            source = open_source(options, Path(spool))
            there = list(source.modalities)
            source.close()
    return first_two(config, there)


def first_two(config: FinetuneConfig, there: Sequence[str]) -> tuple[str, ...]:
    """The first two of these modalities, a text before all others."""
    names = [name for name in dict.fromkeys(there) if not config.only or name in config.only]
    names.sort(key=lambda name: name != "text")
    if len(names) < 2:
        raise BadInput(
            f"`{config.data}` has {' and '.join(names) or 'no part'} alone, a pair needs two parts",
            "give rows with two, as a picture and its caption",
        )
    return tuple(names[:2])


def load_pairs(
    store: Store, config: FinetuneConfig, between: tuple[str, ...], settings: PairSettings
) -> AlignData:
    """The pairs of a store: parts, splits, and which rows are positives of each other.

    A row whose vector has no direction, as of a recording in which nothing was heard, has not the
    part. Raises BadInput or UsageError for what cannot be trained on.
    """
    told = DataConfig(between, positive_by=settings.positive_by or None, splits=config.splits)
    data = load_data(store, told)
    features = data.features
    groups = features.groups
    if not settings.positive_by and "text" in between and "text" in store.columns:
        groups = group_codes(store, "text")
    parts = {name: _with_direction(part) for name, part in features.parts.items()}
    features = replace(features, parts=parts, groups=groups)
    features.check_pairs()
    return replace(data, features=features)


def _with_direction(part: Part) -> Part:
    present = part.present.copy()
    for mapped in part.maps.values():
        present &= ~_zeros(mapped, present)
    return replace(part, present=present)


def _zeros(mapped: MappedKey, present: Any) -> Any:
    zero = np.zeros(len(present), bool)
    rows = np.flatnonzero(present).astype(np.int64)
    for at in range(0, len(rows), _BLOCK):
        block = rows[at : at + _BLOCK]
        zero[block] = ~mapped.take(block).any(axis=1)
    return zero


def _value(name: str, value: Any, usual: Any) -> Any:
    if isinstance(usual, tuple):
        words = value.replace("+", ",").split(",") if isinstance(value, str) else value
        return tuple(word.strip() for word in words if word.strip())
    if isinstance(usual, str):
        return str(value)
    try:
        number = type(usual)(str(value))
    except ValueError as error:
        raise UsageError(f"`{name}={value}` is no number", _HINT) from error
    if number != number:
        raise UsageError(f"`{name}={value}` is no number", _HINT)
    return number


def _refuse_idle(config: FinetuneConfig) -> None:
    """Raise UsageError for options of tasks that have labels and fusions."""
    usual = TrickOptions()
    tricks = ("smoothing", "mixup", "balanced", "loss", "focal_gamma")
    given = {
        "--label": bool(config.label),
        "--classes": bool(config.classes),
        "--method": bool(config.method),
        "--metric": config.metric != "auto",
        "--curve": bool(config.curve),
        **{
            {"smoothing": "--label-smoothing", "balanced": "--class-weights"}.get(
                name, f"--{name.replace('_', '-')}"
            ): getattr(config.tricks, name) != getattr(usual, name)
            for name in tricks
        },
    }
    for option, was_given in given.items():
        if was_given:
            raise UsageError(
                f"`--task {config.task}` learns from pairs and reads no `{option}`",
                "leave it out",
            )
