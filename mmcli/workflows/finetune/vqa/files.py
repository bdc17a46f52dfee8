"""The directory of a model that answers questions: written, and opened again.

Knows what goes where; nothing about how it is trained.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from mmcli.core.errors import BadInput
from mmcli.store.artifact import ArtifactWriter
from mmcli.store.manifest import canonical, file_path
from mmcli.store.strict_json import json_text
from mmcli.workflows.finetune.config import FinetuneConfig
from mmcli.workflows.finetune.opened import AGAIN, load_network, open_config, save_network
from mmcli.workflows.finetune.plan import told
from mmcli.workflows.finetune.vqa.fit import Contestant, Setting
from mmcli.workflows.finetune.vqa.page import card, page

#: What `config.json` says such a model is.
VQA = "vqa"


@dataclass(frozen=True)
class VqaModel:
    """A trained network with all that it takes to apply it. config: as in `config.json`.

    answers: what it can say. encoders: references by modality; layers: of the picture's. bindings:
    what is kept of the keys that it reads, by modality.
    """

    path: Path
    config: dict[str, Any]
    network: Any
    answers: tuple[str, ...]
    encoders: dict[str, tuple[str, ...]]
    layers: tuple[int, ...]
    bindings: dict[str, dict[str, dict[str, Any]]]

    @property
    def patches(self) -> int:
        """Patches of a picture at most."""
        return int(self.config["settings"]["patches"])


def write_vqa_model(
    writer: ArtifactWriter,
    kept: Contestant,
    others: Mapping[str, Any],
    setting: Setting,
    answers: tuple[str, ...],
    encoders: Mapping[str, tuple[str, ...]],
    layers: tuple[int, ...],
    keys: Mapping[str, Mapping[str, Mapping[str, Any]]],
    origin: Mapping[str, Any],
    report: dict[str, Any],
) -> None:
    """Write every file and commit. others: histories of the other models, by name."""
    config: FinetuneConfig = setting.config
    model, digest = save_network(writer, kept.network, VQA)
    content = {
        "kind": VQA,
        "task": VQA,
        "method": setting.settings.method,
        "answers": list(answers),
        "shape": kept.network.shape.to_json(),
        "settings": setting.settings.told(),
        "encoders": {name: list(references) for name, references in encoders.items()},
        "layers": list(layers),
        "keys": keys,
        "label": report["label"],
        "splits": asdict(config.splits),
        "run": told(config),
        "command": config.command,
        "source": origin,
    }
    history = {kept.name: kept.done.history, **others}
    lines = "".join(
        canonical({"model": name, **record}) + "\n"
        for name, records in history.items()
        for record in records
    )
    writer.commit(
        {
            "kind": VQA,
            "task": VQA,
            "method": setting.settings.method,
            "modalities": ["image", "text"],
            "label": report["label"],
            "weights_sha256": digest,
            "model": model,
            "config": writer.write("config", ".json", json_text(content)),
            "metrics": writer.write("metrics", ".json", json_text(report)),
            "history": writer.write("history", ".jsonl", lines),
            "report": writer.write("report", ".html", page(report, history)),
            "card": writer.write("README", ".md", card(report, config.command)),
            "source": origin,
            "versions": {name: version(name) for name in ("mmcli", "torch", "numpy")},
        }
    )


def open_vqa_model(path: str | Path, verify: str = "once") -> VqaModel:
    """Open a model and check its files.

    Raises BadInput when it is missing, unfinished, damaged, newer, or another kind of model.
    """
    path = Path(path)
    manifest, config = open_config(path, VQA, "answers", "`finetune --task vqa`", verify)
    from mmcli.tasks.vqa import network_of

    try:
        network = network_of(config["method"], config["shape"])
        network = load_network(network, file_path(path, manifest["model"]))
        return VqaModel(
            path,
            config,
            network,
            tuple(config["answers"]),
            {name: tuple(references) for name, references in config["encoders"].items()},
            tuple(config["layers"]),
            config["keys"],
        )
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise BadInput(
            f"`{path}`: its config does not describe its weights ({error})", AGAIN
        ) from error
