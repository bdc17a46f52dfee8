"""Training again on some of the train rows: what is learned of those, and what is done already.

Knows nothing about which rows are taken, or what for.
"""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from mmcli.data.tabular import fit_tabular
from mmcli.fusion.inputs import Rows
from mmcli.store.atomic import write_bytes
from mmcli.store.reader import Store
from mmcli.store.strict_json import read_object
from mmcli.workflows.fuse.data import FuseData, open_inputs


def with_train_rows(data: FuseData, store: Store, train: Rows, seed: int) -> FuseData:
    """The same data with these train rows, and with what is learned of them before training."""
    tabular, inputs = data.tabular, data.inputs
    if tabular is not None:
        declared = {column.name: column.to_json()["kind"] for column in tabular.fitted}
        tabular = fit_tabular(store, tabular.columns, train, declared)
    keys = {n: m.keys for n, m in inputs.modalities.items() if n != inputs.tabular}
    fresh = open_inputs(store, keys, tabular)
    fresh.learn(train, seed)
    return replace(data, inputs=fresh, train=train, tabular=tabular)


class FinishedRows:
    """The finished rows of an unfinished run, on the disk where there is a path.

    Raises BadInput when a run goes on whose file cannot be read.
    """

    def __init__(self, path: Path | None, resume: bool) -> None:
        self.path = path
        self.rows: dict[str, dict[str, Any]] = {}
        if path is not None and resume and path.exists():
            self.rows = read_object(path, "finished rows", "delete it; they are trained again")

    def add(self, name: str, row: dict[str, Any]) -> None:
        """Keep one more."""
        self.rows[name] = row
        if self.path is not None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            write_bytes(self.path, json.dumps(self.rows).encode())
