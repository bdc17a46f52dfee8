"""`predict` of one item given on the command line. Prints nothing."""

import json
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from mmcli.core.errors import BadInput, UsageError
from mmcli.store.manifest import read_manifest
from mmcli.store.parquet import open_parquet, read_rows
from mmcli.workflows.predict.run import PredictConfig, predict


def predict_one(config: PredictConfig, item: Mapping[str, str]) -> dict[str, Any]:
    """The prediction of one item, and the probability of each class where there are classes.

    item: text, or paths, by modality. Raises BadInput for a file that is not there, UsageError for
    a text of blanks.
    """
    row = {"id": "item"}
    for name, value in item.items():
        if name != "text" and not Path(value).is_file():
            raise BadInput(f"`--{name} {value}` does not exist", "give a file")
        if not value.strip():
            raise UsageError(f"`--{name}` is blank", "give words in quotes")
        row[name] = value if name == "text" else str(Path(value).resolve())
    with tempfile.TemporaryDirectory(prefix="mmcli-") as place:
        table = Path(place) / "item.jsonl"
        table.write_text(json.dumps(row, ensure_ascii=False) + "\n", encoding="utf-8")
        output = Path(place) / "predictions"
        predict(replace(config, store=str(table), output=str(output), split="", force=False))
        return read_one(output)


def read_one(path: Path) -> dict[str, Any]:
    """The first row of predictions: what is predicted, and the shares, the largest first."""
    manifest = read_manifest(path, "mmcli.predictions")
    items = path / str(manifest["items"])
    row = read_rows(open_parquet(items), items).slice(0, 1).to_pylist()[0]
    report: dict[str, Any] = {"prediction": row["prediction"]}
    shares = {name: row[column] for name, column in (manifest.get("classes") or {}).items()}
    known = {name: share for name, share in shares.items() if share is not None}
    if known:
        report["probabilities"] = dict(sorted(known.items(), key=lambda pair: -pair[1]))
    return report
