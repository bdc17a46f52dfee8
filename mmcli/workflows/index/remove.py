"""`retrieve remove`: rows taken out of an index by id or by a condition on their columns.

They stay in the files, marked, until enough are gone to fold the index together. Prints nothing.
"""

import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from mmcli.core.errors import BadInput, UsageError
from mmcli.index.changing import IndexChange
from mmcli.index.living import item_files, kept_rows
from mmcli.workflows.index.changes import ids_of, report_of, settle, tombstones


@dataclass(frozen=True)
class RemoveConfig:
    """What `mmcli retrieve remove` can be told. ids_file: one id a line; `-` is stdin."""

    index: str
    ids: tuple[str, ...] = ()
    ids_file: str | None = None
    where: str | None = None
    missing_ok: bool = False
    compact: bool | None = None
    dry_run: bool = False


def remove_rows(
    config: RemoveConfig,
    stdin: BinaryIO | None = None,
    message: Callable[[str], None] = lambda text: None,
) -> dict[str, Any]:
    """Take rows out and report what the index holds then.

    Raises BadInput for an id that the index has not, unless `missing_ok`.
    """
    ids = list(config.ids)
    if config.ids_file is not None:
        ids += _read_ids(config.ids_file, stdin)
    if not ids and config.where is None and config.ids_file is None and not config.compact:
        raise UsageError("nothing to remove", "name ids, `--ids FILE` or `--where SQL`")
    with IndexChange(config.index) as change:
        manifest = change.manifest
        keep = kept_rows(change.path, manifest)
        files = item_files(change.path, manifest)
        leaving = np.zeros(len(keep), bool)
        if ids:
            leaving |= _rows_of_ids(config, ids, ids_of(files), keep)
        if config.where is not None:
            from mmcli.data.where import matching_rows

            leaving[matching_rows(files, config.where)] = True
        leaving &= keep
        if config.dry_run:
            return {"dry_run": True, "index": config.index, "removed": int(leaving.sum())}
        keep &= ~leaving
        if not leaving.any() and not config.compact:
            return report_of(config.index, manifest) | {"removed": 0}
        manifest = {**manifest, **tombstones(change, keep)}
        final = settle(change, manifest, keep, config.compact, message)
        return report_of(config.index, final) | {"removed": int(leaving.sum())}


def _rows_of_ids(config: RemoveConfig, ids: list[str], have: pa.ChunkedArray, keep: Any) -> Any:
    wanted = pa.array([unicodedata.normalize("NFC", item) for item in ids], pa.string())
    named = np.asarray(pc.is_in(have, value_set=wanted).to_numpy())
    known = np.asarray(pc.is_in(wanted, value_set=have.filter(pa.array(named & keep))))
    if not config.missing_ok and not known.all():
        first = wanted[int(np.flatnonzero(~known)[0])].as_py()
        more = int((~known).sum()) - 1
        raise BadInput(
            f"`{config.index}` has no item `{first}`" + (f", nor {more} more" if more else ""),
            "an `id` is what search prints; `--missing-ok` passes over those that are not there",
        )
    return named


def _read_ids(path: str, stdin: BinaryIO | None) -> list[str]:
    """One id a line; empty lines are passed over."""
    try:
        if path == "-":
            if stdin is None or stdin.isatty():
                raise UsageError("`--ids -`, but stdin is a terminal", "pipe ids into it")
            raw = stdin.read()
        else:
            raw = Path(path).read_bytes()
        lines = raw.decode("utf-8-sig").split("\n")
    except UnicodeDecodeError as error:
        raise BadInput(f"`--ids {path}` is not UTF-8", "one id a line, as text") from error
    except OSError as error:
        reason = (error.strerror or "").lower()
        raise BadInput(f"`--ids {path}`: {reason}", "one id a line, or - for stdin") from error
    return [line.rstrip("\r") for line in lines if line.strip()]
