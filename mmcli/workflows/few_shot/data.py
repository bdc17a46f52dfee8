"""Which rows a few-shot ladder may draw shots from, chooses settings by and is judged on.

Decides keys, classes and splits, and refuses what no shots can be drawn from. Knows nothing about
rungs. Prints nothing.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmcli.core.errors import BadInput, UsageError
from mmcli.data.groups import group_codes, group_rows, store_groups
from mmcli.data.labels import LabelOptions, Labels, read_labels
from mmcli.data.partition import shares_at_random
from mmcli.data.splits import SplitOptions, split_rows
from mmcli.store.reader import Store
from mmcli.tasks.registry import TASKS
from mmcli.workflows.few_shot.features import FeatureReader, choose_keys, choose_text_key
from mmcli.workflows.finetune.config import FinetuneConfig

Rows = NDArray[np.int64]
#: Share of the train rows that becomes `test` where the store has none: shots need few rows, and
#: intervals shrink with those they are measured on.
TEST_SHARE = 0.4
#: Validation rows of a class at most: what a user with so few labels could spare.
MOST_VAL = 4
#: Rows at most that rungs are compared on before one is kept: a standard error of 0.011.
MOST_JUDGE = 2000
_KINDS = ("binary", "multiclass")


@dataclass(frozen=True)
class FewShotData:
    """Rows and classes of a ladder.

    truth: int64 `(rows,)` of the store, -1 where a row is of no use. names: `(rows,)` the split of
    each row, "" for none. groups: `(test rows,)` numbers from 0 of what is resampled together.
    """

    store: Store
    labels: Labels
    reader: FeatureReader
    truth: Rows
    names: NDArray[np.str_]
    groups: Rows
    split_source: str
    lacking: int
    warnings: tuple[str, ...]

    @property
    def classes(self) -> tuple[str, ...]:
        """In their order."""
        return self.labels.classes

    def rows(self, split: str) -> Rows:
        """Its usable rows, ascending."""
        return np.flatnonzero((self.names == split) & (self.truth >= 0)).astype(np.int64)

    def counts(self, split: str) -> Rows:
        """`(classes,)` usable rows of each class."""
        found = np.bincount(self.truth[self.rows(split)], minlength=len(self.classes))
        return found.astype(np.int64)


@dataclass(frozen=True)
class Draw:
    """One draw of rows of the store; number: which.

    shots: to learn from. val: to choose settings by. judge: to compare rungs by.
    """

    number: int
    shots: Rows
    val: Rows
    judge: Rows


def load_few_shot_data(store: Store, config: FinetuneConfig, *, learns: bool) -> FewShotData:
    """The rows of a ladder. learns: whether any rung reads shots.

    Raises BadInput for a label that is missing or of no classes, for a class without a train row,
    and where nothing is left to be judged on; UsageError for keys that the store does not have.
    """
    labels = read_labels(
        store, LabelOptions(_label(store, config), config.label_kind, config.classes)
    )
    if labels.kind not in _KINDS:
        raise BadInput(
            f"column `{labels.column}` of `{store.path}` is {labels.kind}, and shots are of classes"
            f" ({labels.source})",
            "take it as multiclass, or name another column",
        )
    keys = choose_keys(store, config.only, words_of(config.options, "keys"))
    reader = FeatureReader.open(store, keys, choose_text_key(store, keys))
    truth = np.where(reader.present, labels.values, -1).astype(np.int64)
    lacking = int((labels.known & ~reader.present).sum())
    if not (truth >= 0).any():
        raise BadInput(
            f"no row of `{store.path}` has both a `{labels.column}` and {', '.join(keys)}",
            "extract that modality, or name another column",
        )
    names, source = _split(store, config.splits, truth)
    data = FewShotData(
        store, labels, reader, truth, names, np.zeros(0, np.int64), source, lacking, ()
    )
    if not len(data.rows("test")):
        raise BadInput(
            f"no labelled row of `{store.path}` is `test` ({source})", "label more, or split anew"
        )
    if learns:
        _refuse_without_train(data)
    test = group_codes(store, config.splits.group_by)[data.rows("test")]
    groups = np.unique(test, return_inverse=True)[1].astype(np.int64)
    return replace(data, groups=groups, warnings=tuple(_warnings(data, learns)))


def draw_shots(data: FewShotData, shots: Sequence[int], number: int, seed: int) -> dict[int, Draw]:
    """For each number of shots the first so many rows of each class, and `min(shots, 4)` of val.

    A class that has fewer gives all. The order of rows is that of a hash of seed and id, so that a
    draw of two shots holds that of one, and no class moves another. Rungs are compared on rows of
    train and val that were taken for neither, at most `MOST_JUDGE`; where those are fewer than the
    validation rows, on all of val, although some of it chose settings.
    """
    train, val = (_in_order(data, split, seed + number) for split in ("train", "val"))
    found = {}
    for most in shots:
        learned, chosen = _first(data, train, most), _first(data, val, min(most, MOST_VAL))
        every = np.concatenate([val, train])
        spare = every[~np.isin(every, np.concatenate([learned, chosen]))][:MOST_JUDGE]
        judge = spare if len(spare) >= max(1, len(chosen)) else val
        found[most] = Draw(number, learned, chosen, judge)
    return found


def words_of(options: Mapping[str, object], name: str) -> tuple[str, ...]:
    """An option that names one or more things: in one text with `|` between them."""
    value = options.get(name) or ()
    parts = value.split("|") if isinstance(value, str) else value
    return tuple(str(part).strip() for part in parts)  # type: ignore[attr-defined]


def _label(store: Store, config: FinetuneConfig) -> str:
    """The column named, else the first of the task's own that the store has."""
    usual = TASKS.get(config.task).label
    label = config.label or next((name for name in usual if name in store.columns), "")
    if not label:
        raise UsageError(
            f"`{config.data}` has none of the columns {', '.join(usual)}",
            "name the label with `--label`",
        )
    return label


def _in_order(data: FewShotData, split: str, seed: int) -> Rows:
    """The rows of a split, in the order of a draw."""
    rows = data.rows(split)
    ids = data.store.id_column().take(rows)
    return rows[group_rows(ids).order(seed)]


def _first(data: FewShotData, ordered: Rows, most: int) -> Rows:
    """The first rows of each class, class by class."""
    of = data.truth[ordered]
    taken = [ordered[of == number][:most] for number in range(len(data.classes))]
    return np.concatenate(taken).astype(np.int64)


def _split(store: Store, options: SplitOptions, truth: Rows) -> tuple[NDArray[np.str_], str]:
    """The splits as given; `test` and `val` that are missing are taken from the train rows.

    Both keep the shares of the classes, and whole groups, unlike the validation rows of
    `split_rows`, which would leave a class of five rows without any as often as not.
    """
    fraction = options.val_fraction
    if not 0 <= fraction < 1:
        raise UsageError(f"`--val-fraction {fraction}` is not a share", "as in 0.1")
    given = split_rows(store, replace(options, val_fraction=0.0), train=True)
    names = given.names.astype(f"<U{max(5, given.names.dtype.itemsize // 4)}")
    test = 0.0 if given.has("test") else TEST_SHARE
    val = 0.0 if given.has("val") else (1 - test) * fraction
    if not test and not val:
        return names, given.source
    pool = np.flatnonzero((names == "train") & (truth >= 0)).astype(np.intp)
    groups = store_groups(store, options.group_by).among(pool)
    shares = {"test": test, "val": val, "train": 1 - test - val}
    wanted = {name: share for name, share in shares.items() if share}
    if len(pool):
        parts = shares_at_random(
            groups, list(wanted.values()), options.seed, truth[pool].astype(np.intp)
        )
        names[pool] = np.array(list(wanted))[parts]
    taken = " and ".join(
        f"{share:g} as {name}" for name, share in wanted.items() if name != "train"
    )
    by = f" and by {options.group_by}" if options.group_by else ""
    return names, f"{given.source}; of train {taken}, by class{by}"


def _refuse_without_train(data: FewShotData) -> None:
    """Raise BadInput for the first class that no shot can be drawn of."""
    without = np.flatnonzero(data.counts("train") == 0)
    if len(without):
        more = f" ({len(without)} classes have none)" if len(without) > 1 else ""
        raise BadInput(
            f"class `{data.classes[without[0]]}` of column `{data.labels.column}` has no train row"
            f" in `{data.store.path}` ({data.split_source})",
            f"leave its labels empty, merge it with another class, or split anew{more}",
        )


def _warnings(data: FewShotData, learns: bool) -> list[str]:
    """What is odd about the rows, a line each."""
    found = []
    unseen = [data.classes[i] for i in np.flatnonzero(data.counts("test") == 0)]
    if unseen:
        found.append(f"{len(unseen)} classes, as `{unseen[0]}`, have no test row: not judged")
    if data.lacking:
        found.append(f"{data.lacking} labelled rows lack {_listed(data.reader.maps)}: left out")
    if learns and not len(data.rows("val")):
        found.append("there are no val rows: every rung keeps its default settings")
    return found


def _listed(keys: Sequence[str] | Mapping[str, Any]) -> str:
    return " or ".join(f"`{key}`" for key in keys)
