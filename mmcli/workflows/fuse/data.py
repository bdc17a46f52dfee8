"""From a store and the words of a command line to what a fusion reads and predicts.

Decides keys, tabular columns, labels and rows; refuses what cannot be trained on. Prints nothing.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmcli.core.errors import BadInput, UsageError
from mmcli.core.registry import suggestion
from mmcli.data.groups import group_codes
from mmcli.data.labels import LabelOptions, Labels, check_trainable, read_labels
from mmcli.data.splits import SplitOptions, split_rows
from mmcli.data.tabular import Tabular, fit_tabular
from mmcli.fusion.inputs import Inputs, Modality, Rows, View
from mmcli.fusion.own_labels import OwnLabels
from mmcli.store.bindings import binding, compare_binding
from mmcli.store.mapped import MappedKey
from mmcli.store.mapped_sequences import MappedSequences
from mmcli.store.reader import Store
from mmcli.workflows.fuse.text import add_as_text
from mmcli.workflows.queries.plans import modality_of_key

TABULAR = "tabular"


@dataclass(frozen=True)
class FuseDataConfig:
    """Which rows, keys and columns to learn from.

    only: modalities, all by default. keys: only these keys of them. tabular: columns that make one
    more modality; declared: `numeric` or `categorical` for those that are not to be inferred.
    as_text: whether the texts are also to be embedded with the columns written into them.
    """

    label: LabelOptions
    only: tuple[str, ...] = ()
    keys: tuple[str, ...] = ()
    tabular: tuple[str, ...] = ()
    declared: Mapping[str, str] = field(default_factory=dict)
    as_text: bool = False
    splits: SplitOptions = field(default_factory=SplitOptions)


@dataclass(frozen=True)
class FuseData:
    """Inputs, labels, the rows of each split, and what is written down of them.

    groups: `(rows,)`; rows of one number are resampled together. own: labels of the modalities by
    themselves, for methods that learn them.
    """

    inputs: Inputs
    labels: Labels
    train: Rows
    val: Rows
    test: Rows
    groups: NDArray[np.int64]
    split_source: str
    tabular: Tabular | None
    warnings: tuple[str, ...]
    own: OwnLabels | None = None


def load_fuse_data(
    store: Store, config: FuseDataConfig, device: str = "auto", precision: str = "auto"
) -> FuseData:
    """What a store gives to a fusion; device and precision are of texts embedded again.

    Raises BadInput or UsageError for what cannot be trained on, before it is.
    """
    store.id_column()  # rows are split and told of by it
    labels = read_labels(store, config.label)
    chosen = choose_keys(store, config.only, config.keys)
    if config.tabular and config.label.column in config.tabular:
        raise UsageError(
            f"`--tabular` names the label column `{config.label.column}`", "leave it out there"
        )
    if config.tabular and TABULAR in chosen:
        raise UsageError(
            f"`{store.path}` has embeddings named `{TABULAR}`, as `--tabular` would name its own",
            "leave them out with `--only`, or the columns",
        )
    if not chosen and not config.tabular:
        raise BadInput(f"`{store.path}` has no embeddings", "give `--tabular` columns, or extract")
    splits = split_rows(store, config.splits, train=True)
    train, val, test = (
        (splits.names == name).nonzero()[0].astype(np.int64) for name in ("train", "val", "test")
    )
    train, val, test = (rows[labels.known[rows]] for rows in (train, val, test))
    if not len(train):
        raise BadInput(
            f"no train row of `{store.path}` has a `{labels.column}`", "label some, or split anew"
        )
    warnings = check_trainable(labels, train)
    tabular = None
    if config.tabular:
        tabular = fit_tabular(store, config.tabular, train, config.declared)
    inputs = open_inputs(store, chosen, tabular)
    if config.as_text:
        bound = bindings_of(store, inputs)
        add_as_text(store, inputs, bound.get("text", {}), config.tabular, device, precision)
    present = inputs.present(train)
    for i, name in enumerate(inputs.names):
        if not present[:, i].any():
            raise BadInput(
                f"no labelled train row of `{store.path}` has {name}",
                f"rows with it: {int(inputs.modalities[name].present.sum())}; leave it out with"
                " `--only`, or split anew",
            )
    some = present.any(1)
    if not some.all():
        warnings.append(f"{int((~some).sum())} train rows have no part at all and are left out")
        train = train[some]
        check_trainable(labels, train)
    inputs.learn(train, config.splits.seed)
    return FuseData(
        inputs=inputs,
        labels=labels,
        train=train,
        val=val,
        test=test,
        groups=group_codes(store, config.splits.group_by),
        split_source=splits.source,
        tabular=tabular,
        warnings=tuple(warnings),
    )


def choose_keys(
    store: Store, only: Sequence[str], keys: Sequence[str]
) -> dict[str, tuple[str, ...]]:
    """The keys of each modality, layers behind the others; in the order of `only`, or the store's.

    Raises UsageError for a modality or a key that the store does not have.
    """
    for key in keys:
        store.key(key)
    found: dict[str, list[str]] = {}
    for key, entry in store.keys.items():
        found.setdefault(modality_of_key(key, entry), []).append(key)
    for name in only:
        if name not in found:
            raise UsageError(f"`{store.path}` has no {name}", suggestion(name, found))
    chosen = {}
    for name in only or found:
        here = [key for key in found[name] if not keys or key in keys]
        if not here and only:
            raise UsageError(f"`--keys` names no key of {name}", suggestion(name, found[name]))
        if here:
            chosen[name] = tuple(sorted(here, key=lambda key: _layer(store, key) is not None))
    return chosen


def open_inputs(
    store: Store, chosen: Mapping[str, Sequence[str]], tabular: Tabular | None
) -> Inputs:
    """The modalities of a store, mapped and checked for numbers that are none."""
    found: dict[str, Modality] = {}
    for name, keys in chosen.items():
        outer = [key for key in keys if _layer(store, key) is None] or list(keys)
        present = np.logical_and.reduce([store.has(key).astype(bool) for key in outer])
        maps = {key: MappedKey(store, key) for key in keys}
        for mapped in maps.values():
            mapped.check_finite(lambda row: store.ids()[row])
        views = {"pooled": View(tuple(maps[k].dim for k in outer), tuple(maps[k] for k in outer))}
        levels = [*sorted((k for k in keys if k not in outer), key=lambda k: _layer(store, k) or 0)]
        if levels:
            every = [*levels, *outer]
            views["levels"] = View(tuple(maps[k].dim for k in every), tuple(maps[k] for k in every))
        with_tokens = [key for key in outer if store.keys[key]["sequence"]]
        if with_tokens:
            sequences = MappedSequences(store, with_tokens[0])
            views["tokens"] = View((sequences.dim,), sequences=sequences, grid=name == "image")
        found[name] = Modality(name, tuple(keys), present, views)
    if tabular is not None:
        matrix, there = tabular.encode(store)
        dim = matrix.shape[1]
        view = View((dim,), matrix=matrix)
        view.mean, view.scale = np.zeros(dim, np.float32), np.ones(dim, np.float32)
        matrix[~there] = 0.0
        found[TABULAR] = Modality(TABULAR, tuple(tabular.columns), there, {"pooled": view})
    return Inputs(found, TABULAR if tabular is not None else "")


def bindings_of(store: Store, inputs: Inputs) -> dict[str, dict[str, dict[str, Any]]]:
    """What is kept of the keys of each modality, so that another store can be told to fit."""
    return {
        name: {key: binding(store.keys[key]) for key in modality.keys}
        for name, modality in inputs.modalities.items()
        if name != inputs.tabular
    }


def check_bindings(
    store: Store,
    bindings: Mapping[str, Mapping[str, Mapping[str, Any]]],
    path: Any,
    without: Sequence[str] = (),
) -> dict[str, tuple[str, ...]]:
    """The keys of each modality that the store has; a modality it lacks is absent from all rows.

    Raises SpaceMismatch for a key that another encoder made, BadInput where none is there, or only
    some of a modality's that is not in `without`.
    """
    found = {}
    for name, keys in bindings.items():
        missing = [key for key in keys if key not in store.keys]
        if len(missing) == len(keys):
            continue
        if missing and name not in without:
            raise BadInput(
                f"`{store.path}` has no key `{missing[0]}`, which `{path}` reads as {name}",
                f"extract it the same way, or take {name} as absent with `--without {name}`",
            )
        if missing:
            continue
        for key, bound in keys.items():
            compare_binding(bound, store.keys[key], key, path, store)
        found[name] = tuple(keys)
    if bindings and not found:
        wanted = ", ".join(key for keys in bindings.values() for key in keys)
        raise BadInput(f"`{store.path}` has none of the keys {wanted}", "extract it the same way")
    return found


def _layer(store: Store, key: str) -> int | None:
    layer = store.keys[key].get("layer")
    return None if layer is None else int(layer)
