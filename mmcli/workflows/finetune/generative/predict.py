"""`predict` with a generative model: an answer to every row, as a predictions directory.

Batches depend on the rows alone, and each is kept as soon as it is written, so that a run that was
cut off goes on where it was. Prints nothing.
"""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from mmcli.core.errors import UsageError
from mmcli.engine.decoding import worker_count
from mmcli.engine.device import place, probe
from mmcli.store.artifact import ArtifactWriter, check_artifact_output
from mmcli.store.atomic import atomic_file
from mmcli.store.manifest import MANIFEST, file_record
from mmcli.tasks.generative.answering import WITHOUT, answered, batches_of
from mmcli.tasks.generative.checking import check_rows
from mmcli.tasks.generative.examples import Example
from mmcli.tasks.generative.scoring import judge
from mmcli.workflows.finetune.generative.files import GenerativeModel
from mmcli.workflows.finetune.generative.rows import load_rows
from mmcli.workflows.predict.raw import RawPredict, raw_options
from mmcli.workflows.predict.run import PredictConfig

KIND = "mmcli.predictions"
_SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("label", pa.string()),
        ("prediction", pa.string()),
        ("question", pa.string()),
        ("answers", pa.list_(pa.string())),
        ("question_type", pa.string()),
    ]
)
_DONE = "answers.jsonl"


@dataclass(frozen=True)
class GenerativePredict(RawPredict):
    """What `mmcli predict` can be told of a generative model.

    max_new_tokens, beams: None for what the model was judged with. without: `image` shows a grey
    picture in place of each.
    """

    max_new_tokens: int | None = None
    beams: int | None = None
    batch: int = 8


def predict(
    config: PredictConfig,
    progress: Callable[[int, int], None] = lambda done, total: None,
    message: Callable[[str], None] = lambda text: None,
) -> dict[str, Any]:
    """What `mmcli predict` calls for such a model. Raises UsageError for what only fusions have."""
    return predict_generative(GenerativePredict(**raw_options(config)), progress)


def predict_generative(
    config: GenerativePredict, progress: Callable[[int, int], None] = lambda done, total: None
) -> dict[str, Any]:
    """Write an answer to every row, and say how many and, where answers are known, how good.

    Raises BadInput naming the row that the model cannot take, before any answer is written.
    """
    for name in config.without:
        if name not in WITHOUT:
            raise UsageError(
                f"`--without {name}`: a generative model can do without `image` only",
                "leave it out, or `--without image`",
            )
    check_artifact_output(Path(config.output), KIND, config.force, config.resume)
    model = GenerativeModel.open(config.model, config.verify)
    own = str(model.config["label"])
    data = load_rows(
        config.data,
        model.task,
        config.label,
        root=config.root,
        mapping=config.mapping,
        verify=config.verify,
        need_answers=False,
    )
    examples = data.examples
    if config.split:
        splits = data.splits(config.splits, train=True)
        examples = [data.examples[row] for row in splits.asked_rows(config.split, config.data)]
    base = model.base()
    dialect = model.dialect(base)
    workers = worker_count(config.workers, len(examples))
    check_rows(base, dialect, examples, workers, answered=False)
    writing = replace(
        model.writing,
        **{
            name: value
            for name, value in (
                ("max_new_tokens", config.max_new_tokens),
                ("beams", config.beams),
            )
            if value is not None
        },
    )
    report = {
        "predictions": config.output,
        "model": config.model,
        "data": config.data,
        "task": model.task,
        "label": data.label or own,
        "rows": len(examples),
        "labelled": sum(bool(one.references) for one in examples),
        "warnings": [],
        "batches": len(batches_of(dialect, examples, config.batch)),
    }
    if config.dry_run:
        return {"dry_run": True, **report}
    model_sha = file_record(model.path / MANIFEST)["sha256"]
    placement = place(config.device, config.precision, probe())
    options = {
        "model": model_sha,
        "split": config.split,
        "without": list(config.without),
        "max_new_tokens": writing.max_new_tokens,
        "beams": writing.beams,
        "batch": config.batch,
        "precision": placement.precision,
    }
    with ArtifactWriter(
        config.output, KIND, options, data.fingerprint, force=config.force, resume=config.resume
    ) as writer:
        writer.checkpoint.mkdir(parents=True, exist_ok=True)
        kept = _Kept(writer.checkpoint / _DONE)
        if len(kept.texts) < len(examples):
            network = model.network(base, placement)
            for numbers, texts in answered(
                network,
                dialect,
                examples,
                writing,
                batch=config.batch,
                without=config.without,
                device=placement.device,
                done=kept.texts.keys(),
            ):
                kept.add(numbers, texts)
                progress(len(kept.texts), len(examples))
        said = [kept.texts[number] for number in range(len(examples))]
        with (
            atomic_file(writer.file("items", ".parquet")) as temporary,
            pq.ParquetWriter(temporary, _SCHEMA, compression="zstd") as table,
        ):
            table.write_table(_table(examples, said))
        writer.commit(
            {
                "rows": len(examples),
                "label": data.label or own,
                "generative": model.task,
                "items": writer.name("items", ".parquet"),
                "source": {"path": config.data, "fingerprint": data.fingerprint},
                "model": {"path": str(model.path.resolve()), "manifest_sha256": model_sha},
                "method": model.config["family"],
                **options,
                "versions": {"mmcli": version("mmcli")},
            }
        )
    if report["labelled"]:
        score = judge(model.task, examples, said)
        report |= {"scores": score.values, "low": score.low, "high": score.high}
    return report


class _Kept:
    """Answers that were written already, by number; a line is one batch, the last may be torn."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.texts: dict[int, str] = {}
        lines = list(_whole_lines(path))
        for line in lines:
            self.texts |= dict(zip(line["numbers"], line["texts"], strict=True))
        content = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
        path.write_text(content, encoding="utf-8")

    def add(self, numbers: list[int], texts: list[str]) -> None:
        self.texts |= dict(zip(numbers, texts, strict=True))
        with self._path.open("a", encoding="utf-8") as stream:
            line = {"numbers": numbers, "texts": texts}
            stream.write(json.dumps(line, ensure_ascii=False) + "\n")


def _whole_lines(path: Path) -> Iterator[dict[str, Any]]:
    if not path.exists():
        return
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            found = json.loads(line)
        except ValueError:
            return
        yield found


def _table(examples: list[Example], said: list[str]) -> pa.Table:
    columns = {
        "id": [one.id for one in examples],
        "label": [one.answer or None for one in examples],
        "prediction": said,
        "question": [one.question or None for one in examples],
        "answers": [list(one.references) or None for one in examples],
        "question_type": [one.kind or None for one in examples],
    }
    return pa.table(columns, schema=_SCHEMA)
