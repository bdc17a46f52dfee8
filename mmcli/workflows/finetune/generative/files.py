"""The directory of a generative model: a plain transformers folder, or a PEFT folder and its base.

`model/` is what `from_pretrained` loads, `adapter/` what `PeftModel.from_pretrained` puts on the
base that `config.json` names. Knows what goes where; nothing about how it was trained.
"""

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmcli.core.errors import BadInput
from mmcli.engine.device import Placement
from mmcli.store.artifact import ArtifactWriter
from mmcli.store.hashes import check_files
from mmcli.store.manifest import canonical, file_path, read_manifest
from mmcli.store.strict_json import json_text, plain
from mmcli.tasks.generative.loading import Base, find_base, load_network, speak
from mmcli.tasks.generative.registry import TASKS
from mmcli.tasks.generative.tokens import Dialect, Writing
from mmcli.tasks.generative.tuned import TunedModel, with_adapter, write_adapter
from mmcli.workflows.finetune.generative.report import card, page
from mmcli.workflows.finetune.plan import told

if TYPE_CHECKING:
    from mmcli.workflows.finetune.generative.plan import Setting

KIND = "mmcli.model"
#: What the manifest of such a model says it is.
GENERATIVE = "generative"
#: The folder of a whole model, and that of an adapter.
WHOLE, ADAPTER = "model", "adapter"


@dataclass(frozen=True)
class GenerativeModel:
    """A finished model, not loaded yet. folder: what transformers or peft reads.

    writing: how it wrote when it was judged.
    """

    path: Path
    manifest: dict[str, Any]
    config: dict[str, Any]
    folder: Path

    @classmethod
    def open(cls, path: str | Path, verify: str = "once") -> "GenerativeModel":
        """Open a directory and check its files.

        Raises BadInput when it is missing, damaged, of another kind, or of a task that is unknown.
        """
        path = Path(path)
        manifest = read_manifest(path, KIND)
        if manifest.get("kind") != GENERATIVE:
            raise BadInput(f"`{path}` is no generative model", "`--model` of `finetune` makes one")
        check_files(path, manifest, None, verify)
        config = json.loads(file_path(path, str(manifest["config"])).read_text(encoding="utf-8"))
        if config["task"] not in TASKS:
            raise BadInput(f"`{path}` is of task `{config['task']}`", "upgrade mmcli")
        return cls(path, manifest, config, file_path(path, str(manifest["folder"])))

    @property
    def task(self) -> str:
        """vqa or caption."""
        return str(self.config["task"])

    @property
    def writing(self) -> Writing:
        """How answers are written unless the user says otherwise."""
        return Writing(**self.config["writing"])

    def base(self) -> Base:
        """What its weights, or its adapter's base, are loaded from.

        Raises BadInput where the base of an adapter is not the one that it was trained on.
        """
        if self.config["form"] == WHOLE:
            return find_base(f"local:{self.folder}")
        base = find_base(self.config["base"]["reference"])
        wanted = self.config["base"]["weights_sha256"]
        if base.sha256 != wanted:
            raise BadInput(
                f"`{base.reference}` has other weights than when `{self.path}` was trained on it",
                f"its sha256 should begin with {wanted[:12]}",
            )
        return base

    def dialect(self, base: Base) -> Dialect:
        """How it speaks: with the prompt that it was trained with."""
        return speak(base, self.task, str(self.config["prompt"]))

    def network(self, base: Base, placement: Placement) -> Any:
        """The network with its adapter, if it has one, for inference."""
        network = load_network(base, placement.dtype, placement.device)
        if self.config["form"] == ADAPTER:
            network = with_adapter(network, self.folder).to(placement.device)
        return network


def write_generative(
    writer: ArtifactWriter,
    setting: "Setting",
    tuned: TunedModel,
    report: dict[str, Any],
    history: Sequence[Mapping[str, Any]],
    said: Sequence[str],
) -> None:
    """Write every file and commit. said: the answers to the rows that were judged."""
    base, dialect = setting.base, setting.dialect
    form = ADAPTER if tuned.is_adapter else WHOLE
    before = _folders(writer.path)
    folder = writer.path / writer.name(form, "")
    shutil.rmtree(folder, ignore_errors=True)  # of a run that was cut off while it wrote
    if form == ADAPTER:
        write_adapter(tuned, folder, base.reference.partition(":")[2])
    else:
        network = tuned.network
        network.generation_config.eos_token_id = list(dialect.stops)
        network.generation_config.pad_token_id = dialect.pad
        network.save_pretrained(folder)
        base.processor.save_pretrained(folder)
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            writer.file(form, "/" + path.relative_to(folder).as_posix())
    reference = base.reference
    if reference.startswith("local:"):
        reference = f"local:{base.folder}"
    config = {
        "kind": GENERATIVE,
        "form": form,
        "task": setting.config.task,
        "family": base.family.name,
        "class": base.class_name,
        "base": {
            "reference": reference,
            "revision": base.revision,
            "weights_sha256": base.sha256,
        },
        "strategy": dict(setting.strategy),
        "prompt": setting.prompt,
        "writing": report["writing"],
        "label": setting.data.label,
        "precision": setting.placement.precision,
        "run": told(setting.config),
        "command": setting.config.command,
        "data": {
            "path": str(Path(setting.data.path).resolve()) if setting.data.path != "-" else "-",
            "kind": setting.data.kind,
            "fingerprint": setting.data.fingerprint,
        },
    }
    lines = "".join(canonical(plain(record)) + "\n" for record in history)
    judged = setting.rows[setting.judged]
    shown = card(report, base, setting.config.command, writer.name(form, ""))
    writer.commit(
        {
            "kind": GENERATIVE,
            "task": setting.config.task,
            "method": base.family.name,
            "modalities": ["image", "text"] if setting.config.task == "vqa" else ["image"],
            "label": setting.data.label,
            "folder": writer.name(form, ""),
            "config": writer.write("config", ".json", json_text(config)),
            "metrics": writer.write("metrics", ".json", json_text(report)),
            "history": writer.write("history", ".jsonl", lines),
            "report": writer.write("report", ".html", page(report, history, judged, said)),
            "card": writer.write("README", ".md", shown),
            "versions": {n: version(n) for n in ("mmcli", "torch", "transformers", "peft")},
        }
    )
    for name in before - {writer.name(form, "")}:
        shutil.rmtree(writer.path / name, ignore_errors=True)


def _folders(path: Path) -> set[str]:
    """Folders of a model that was there before."""
    return {
        entry.name
        for entry in path.iterdir()
        if entry.is_dir() and entry.name.partition(".")[0] in (WHOLE, ADAPTER)
    }
