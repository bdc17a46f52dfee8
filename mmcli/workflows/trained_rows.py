"""Whether an aligner has seen the rows that it is about to be judged by.

An aligner names the store and the splits that it was trained with, so that scoring it on its own
training rows does not pass for a test.
"""

from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mmcli.core.errors import MmcliError
from mmcli.data.splits import SplitOptions, split_rows
from mmcli.store.manifest import MANIFEST, file_record
from mmcli.store.reader import Store
from mmcli.workflows.evaluate.vectors import Rows

if TYPE_CHECKING:
    from mmcli.align.aligner import Aligner


def seen_warning(aligner: "Aligner | None", store: Store, rows: Rows) -> list[str]:
    """A warning where some of these rows of the store trained the aligner or chose its settings.

    None is given where that cannot be known: another store, or a split file that is gone.
    """
    if aligner is None:
        return []
    trained_on = (aligner.manifest.get("store") or {}).get("manifest_sha256")
    if trained_on != file_record(Path(store.path) / MANIFEST)["sha256"]:
        return []
    run = aligner.config.get("run") or {}
    known = {field.name for field in fields(SplitOptions)}
    given = {name: value for name, value in (run.get("splits") or {}).items() if name in known}
    given["group_by"] = given.get("group_by") or run.get("positive_by")
    try:
        names = split_rows(store, SplitOptions(**given), train=True).names[rows]
    except MmcliError:
        return []
    seen = int(np.isin(names, ("train", "val")).sum())
    if not seen:
        return []
    return [
        f"{seen} of the {len(rows)} rows under evaluation trained `{aligner.path}` or chose its"
        " settings: this is no test"
    ]
