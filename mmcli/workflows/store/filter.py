"""`store filter`: some rows and keys of a store, as a store. Prints nothing."""

import hashlib
import math
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmcli.core.errors import BadInput, UsageError
from mmcli.data.id_lookup import IdLookup, Spool
from mmcli.data.where import matching_rows
from mmcli.store.reader import Store
from mmcli.store.rows import Block, StoreRows
from mmcli.workflows.store.ids import read_ids
from mmcli.workflows.store.keys import chosen_keys
from mmcli.workflows.store.output import (
    Making,
    Output,
    Progress,
    cut_blocks,
    kept_entry,
    manifest_sha256,
    write_store,
)

Rows = NDArray[np.int64]


@dataclass(frozen=True)
class FilterConfig:
    """What `mmcli store filter` can be told. Conditions are combined: each leaves fewer rows.

    has: keys that a row must have. ids, exclude: files of ids, or `-`. sample: rows, or below 1 a
    share.
    dedup: a key, with `:COSINE` behind it or not.
    """

    store: str
    output: Output
    where: str | None = None
    has: tuple[str, ...] = ()
    ids: str | None = None
    exclude: str | None = None
    dedup: str | None = None
    sample: float | None = None
    seed: int = 0
    keys: tuple[str, ...] = ()
    verify: str = "once"


def filter_store(
    config: FilterConfig, progress: Progress = lambda done, total: None
) -> dict[str, Any]:
    """Write the rows that meet every condition and report how many each left.

    Raises BadInput when none is left, or a condition names what is not there.
    """
    conditions: tuple[Any, ...] = (config.where, config.has, config.ids, config.exclude)
    conditions += (config.dedup, config.sample, config.keys)
    if not any(given is not None and given != () for given in conditions):
        raise UsageError(
            "nothing to filter by", "give `--where`, `--has`, `--ids`, `--sample`, or `--keys`"
        )
    config.output.check([config.store])
    store = Store.open(config.store, config.verify)
    keys = chosen_keys(store, config.keys)
    rows, left, warnings = _choose(config, store)
    if store.rows and not len(rows):
        last = next(name for name, count in left.items() if not count)
        raise BadInput(f"no row of `{store.path}` is left after `--{last}`", "ask for less")
    report: dict[str, Any] = {
        "store": config.output.path,
        "rows_before": store.rows,
        "left_after": left,
        "rows": len(rows),
        "keys": keys,
        "warnings": warnings,
    }
    if config.output.dry_run:
        return {"dry_run": True, **report}
    reader = StoreRows(store, {key: key for key in keys})
    sha = manifest_sha256(store)
    making = Making(
        keys={key: kept_entry(store.keys[key], key) for key in keys},
        source={
            "spec": config.store,
            "kind": "store",
            "source_root": store.source_root,
            "manifest_sha256": sha,
        },
        options=_options(config, keys),
        fingerprint=hashlib.sha256(sha.encode() + rows.tobytes()).hexdigest(),
    )

    def read(start: int, stop: int) -> Block:
        return reader.take(rows[start:stop])

    blocks = cut_blocks(reader.row_bytes()[rows], config.output.shard_size)
    return report | write_store(config.output, making, blocks, read, progress)


def _options(config: FilterConfig, keys: Sequence[str]) -> dict[str, Any]:
    return {
        "verb": "store filter",
        "where": config.where,
        "has": list(config.has),
        "ids": config.ids,
        "exclude": config.exclude,
        "dedup": config.dedup,
        "sample": config.sample,
        "seed": config.seed,
        "keys": list(keys),
        "shard_size": config.output.shard_size,
    }


def _choose(config: FilterConfig, store: Store) -> tuple[Rows, dict[str, int], list[str]]:
    """The rows that are kept, ascending; how many each condition left; warnings."""
    rows = np.arange(store.rows, dtype=np.int64)
    left: dict[str, int] = {}
    warnings: list[str] = []
    if config.where is not None:
        files = [items for _, _, items, _ in store.iter_shards()]
        rows = matching_rows(files, config.where)
        left["where"] = len(rows)
    if config.has:
        for key in chosen_keys(store, config.has, "--has"):
            rows = rows[store.has(key)[rows]]
        left["has"] = len(rows)
    if config.ids is not None:
        rows = rows[_named_by(store, config.ids, "--ids", warnings)[rows]]
        left["ids"] = len(rows)
    if config.exclude is not None:
        rows = rows[~_named_by(store, config.exclude, "--exclude", warnings)[rows]]
        left["exclude"] = len(rows)
    if config.dedup is not None:
        rows = _without_near(store, config.dedup, rows)
        left["dedup"] = len(rows)
    if config.sample is not None:
        rows = _sample(rows, config.sample, config.seed)
        left["sample"] = len(rows)
    return rows, left, warnings


def _named_by(store: Store, path: str, option: str, warnings: list[str]) -> NDArray[np.bool_]:
    """bool `(rows,)`: whose id is in the file. Ids that are no row's are a warning."""
    with tempfile.TemporaryDirectory(prefix="mmcli-") as folder:
        schema, tables = read_ids(path, option)
        with Spool(Path(folder) / "ids", schema, tables) as spool:
            lookup = IdLookup(spool, "id")
            wanted = np.zeros(store.rows, bool)
            seen = np.zeros(spool.rows, bool)
            for start, table in store.iter_items(["id"]):
                found = lookup.find(table.column("id").combine_chunks())
                wanted[start : start + table.num_rows] = found >= 0
                seen[found[found >= 0]] = True
            missing = spool.rows - lookup.repeated - int(seen.sum())
            if missing:
                absent = np.flatnonzero(~seen)
                names = spool.take(absent[:1000]).column("id")
                again = lookup.find(names.combine_chunks())
                name = next(str(n) for n, r, a in zip(names, again, absent, strict=False) if r == a)
                warnings.append(
                    f"{missing} ids of `{path}` are not in `{store.path}` (first: `{name}`)"
                )
    return wanted


def _without_near(store: Store, option: str, rows: Rows) -> Rows:
    from mmcli.index.near_duplicates import first_of_each

    key, threshold = split_threshold(store, option, "--dedup")
    return first_of_each(store, key, rows, threshold)


def split_threshold(store: Store, option: str, name: str) -> tuple[str, float]:
    """The key and the cosine of `KEY[:COSINE]`; a key may hold a colon itself."""
    if option in store.keys:
        return option, 0.98
    key, _, number = option.rpartition(":")
    if key in store.keys:
        try:
            threshold = float(number)
        except ValueError:
            threshold = -1.0
        if not 0 < threshold <= 1:
            raise UsageError(f"`{name} {option}`: `{number}` is no cosine", "as in image:0.98")
        return key, threshold
    chosen_keys(store, [option], name)
    raise AssertionError  # the line above raised


def _sample(rows: Rows, sample: float, seed: int) -> Rows:
    wanted = 0  # of no number, too
    if math.isfinite(sample):
        wanted = round(len(rows) * sample) if sample < 1 else int(sample)
    if wanted < 1 or (sample >= 1 and sample != wanted):
        raise UsageError(f"`--sample {sample:g}` is no number of rows", "as in 1000, or 0.1")
    if wanted > len(rows):
        raise BadInput(f"`--sample {wanted}`: only {len(rows)} rows are left", "ask for fewer")
    return np.sort(np.random.default_rng(seed).choice(rows, wanted, replace=False))
