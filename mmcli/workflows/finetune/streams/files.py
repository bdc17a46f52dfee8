"""The directory of a model of recordings: written, and opened again.

Knows what goes where; nothing about how it is trained.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmcli.core.errors import BadInput
from mmcli.store.artifact import ArtifactWriter
from mmcli.store.manifest import canonical, file_path
from mmcli.store.strict_json import json_text
from mmcli.tasks.streams_decode import Rule, rules_from_json, rules_to_json
from mmcli.workflows.finetune.config import FinetuneConfig
from mmcli.workflows.finetune.opened import AGAIN, load_network, open_config, save_network
from mmcli.workflows.finetune.plan import told
from mmcli.workflows.finetune.streams.data import StreamRows, StreamSettings
from mmcli.workflows.finetune.streams.features import StreamFeatures
from mmcli.workflows.finetune.streams.page import card, page

if TYPE_CHECKING:
    from mmcli.workflows.finetune.streams.fit import Contestant

#: What `config.json` says such a model is.
STREAMS = "streams"


@dataclass(frozen=True)
class StreamModel:
    """A trained network with all that it takes to apply it. config: as in `config.json`.

    encoders: references by modality. bindings: what is kept of the keys that it reads.
    """

    path: Path
    config: dict[str, Any]
    network: Any
    classes: tuple[str, ...]
    rules: list[Rule]
    rate_hz: float
    encoders: dict[str, tuple[str, ...]]
    bindings: dict[str, dict[str, dict[str, Any]]]


def write_stream_model(
    writer: ArtifactWriter,
    kept: "Contestant",
    rows: StreamRows,
    settings: StreamSettings,
    features: StreamFeatures,
    report: dict[str, Any],
    config: FinetuneConfig,
) -> None:
    """Write every file and commit."""
    model, digest = save_network(writer, kept.network, STREAMS)
    origin = {"path": config.data, "fingerprint": rows.fingerprint}
    content = {
        "kind": STREAMS,
        "task": "event",
        "method": settings.method,
        "classes": list(rows.classes),
        "rate_hz": settings.rate_hz,
        # a list, because the order of modalities counts and JSON objects are written sorted
        "blueprint": {
            **asdict(kept.blueprint),
            "dims": [[name, dim] for name, dim in kept.blueprint.dims],
        },
        "encoders": {name: _references(of) for name, of in features.bindings.items()},
        "keys": features.bindings,
        "decoding": rules_to_json(kept.rules, rows.classes),
        "label": config.label or "events",
        "splits": asdict(config.splits),
        "run": told(config),
        "command": config.command,
        "source": origin,
    }
    history = "".join(
        canonical({"model": name, **record}) + "\n"
        for name, records in report["history"].items()
        for record in records
    )
    short = {name: value for name, value in report.items() if name != "history"}
    writer.commit(
        {
            "kind": STREAMS,
            "task": "event",
            "method": settings.method,
            "modalities": list(kept.modalities),
            "classes": list(rows.classes),
            "weights_sha256": digest,
            "model": model,
            "config": writer.write("config", ".json", json_text(content)),
            "metrics": writer.write("metrics", ".json", json_text(short)),
            "history": writer.write("history", ".jsonl", history),
            "report": writer.write("report", ".html", page(report, _examples(kept, rows))),
            "card": writer.write("README", ".md", card(report, config.command)),
            "source": origin,
            "versions": {name: version(name) for name in ("mmcli", "torch", "numpy")},
        }
    )


def open_stream_model(path: str | Path, verify: str = "once") -> StreamModel:
    """Open a model and check its files.

    Raises BadInput when it is missing, unfinished, damaged, newer, or another kind of model.
    """
    path = Path(path)
    wrote = "`finetune --task event` of timed events"
    manifest, config = open_config(path, STREAMS, "recordings", wrote, verify)
    from mmcli.tasks.streams_network import StreamBlueprint, StreamNetwork

    try:
        sizes = dict(config["blueprint"])
        sizes["dims"] = tuple((name, int(dim)) for name, dim in sizes["dims"])
        network = StreamNetwork(StreamBlueprint(**sizes))
        network = load_network(network, file_path(path, manifest["model"]))
        classes = tuple(config["classes"])
        return StreamModel(
            path,
            config,
            network,
            classes,
            rules_from_json(config["decoding"], classes),
            float(config["rate_hz"]),
            {name: tuple(config["encoders"][name]) for name, _ in sizes["dims"]},
            config["keys"],
        )
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise BadInput(
            f"`{path}`: its config does not describe its weights ({error})", AGAIN
        ) from error


def _references(keys: Mapping[str, Mapping[str, Any]]) -> list[str]:
    return [str(bound["reference"]) for bound in keys.values()]


def _examples(kept: "Contestant", rows: StreamRows) -> Sequence[dict[str, Any]]:
    """The test recordings that the model gets most wrong, for the page."""
    from mmcli.workflows.finetune.streams.fit import scored

    said, test = kept.said, scored(rows)[0].tolist()
    counts = said.judged().wrong_by_recording()
    worst = sorted(range(len(test)), key=lambda i: (-counts[i], i))[:6]
    found = []
    for i in worst:
        recording = rows.recordings.rows[test[i]]
        lanes = {
            "true": said.truth.take(said.truth.recording == i),
            "found": said.kept.take(said.kept.recording == i),
        }
        found.append(
            {
                "id": recording.id,
                "duration_s": recording.duration_s,
                "speech": recording.speech,
                "image": recording.image,
                "wrong": int(counts[i]),
                "classes": rows.classes,
                **{name: _plain(events) for name, events in lanes.items()},
            }
        )
    return found


def _plain(events: Any) -> list[tuple[int, float, float]]:
    columns = (events.label.tolist(), events.start_s.tolist(), events.end_s.tolist())
    return list(zip(*columns, strict=True))
