"""The directory of a model of pairs: its towers, which other verbs load, and what was measured.

A tower is written twice: with its projection head, in the space that both towers share, and as the
encoders alone that it reads, so that a later task loses nothing. Knows nothing about training.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import asdict
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import numpy as np

from mmcli.align.tower import Tower as Head
from mmcli.store.artifact import ArtifactWriter
from mmcli.store.manifest import MANIFEST, canonical, file_record
from mmcli.store.reader import Store
from mmcli.store.slugs import slug_of
from mmcli.store.strict_json import json_text, plain
from mmcli.store.tensors import save_tensors
from mmcli.workflows.finetune.config import FinetuneConfig
from mmcli.workflows.finetune.pairs.page import card, page
from mmcli.workflows.finetune.plan import Plan, told
from mmcli.workflows.queries.plans import reference_of

if TYPE_CHECKING:
    from mmcli.workflows.finetune.pairs.fit import PairRun
    from mmcli.workflows.finetune.pairs.tune import LiveTowerState

#: What `config.json` says such a model is.
TOWERS = "towers"


def write_pairs(
    writer: ArtifactWriter,
    config: FinetuneConfig,
    plan: Plan,
    store: Store,
    run: "PairRun",
    bindings: Mapping[str, Mapping[str, Any]],
    report: dict[str, Any],
    history: list[dict[str, Any]],
) -> None:
    """Write every file and commit. Adds the shared space and its width to the report."""
    names = tuple(run.heads)
    towers = _Towers(writer, config, plan, store, run)
    space = f"{config.task}-{'-'.join(names)}@{towers.digest[:12]}"
    dim = next(iter(run.heads.values())).dim
    report |= {"space": space, "dim": dim}
    state = {
        name: np.array(value.detach().float().cpu().numpy(), order="C")
        for name, value in run.learning.model.state_dict().items()
        if not name.startswith(("heads.", "live."))
    }
    model = writer.file("model", ".safetensors")
    save_tensors(model, state, {"task": config.task})
    origin = {
        "path": str(store.path.resolve()),
        "manifest_sha256": file_record(store.path / MANIFEST)["sha256"],
    }
    content = {
        "kind": TOWERS,
        "task": config.task,
        "finetuned": config.task,
        "between": list(names),
        "towers": towers.entries(space),
        "keys": {key: dict(entry) for key, entry in bindings.items()},
        "space": space,
        "chosen": dict(run.chosen),
        "run": told(config),
        "command": config.command,
        "store": origin,
    }
    records = "".join(canonical(plain(record)) + "\n" for record in history)
    writer.commit(
        {
            "kind": TOWERS,
            "task": config.task,
            "method": report["kept"],
            "modalities": list(names),
            "space": space,
            "dim": dim,
            "weights_sha256": towers.digest,
            "model": model.name,
            "config": writer.write("config", ".json", json_text(content)),
            "metrics": writer.write("metrics", ".json", json_text(report)),
            "history": writer.write("history", ".jsonl", records),
            "report": writer.write("report", ".html", page(report, history, config.command)),
            "card": writer.write("README", ".md", card(report, config.command)),
            "store": origin,
            "versions": {name: version(name) for name in ("mmcli", "torch", "numpy")},
        }
    )


class _Towers:
    """Files of the towers, and what `config.json` says of them.

    digest: of everything that the towers' vectors hang on.
    """

    def __init__(
        self,
        writer: ArtifactWriter,
        config: FinetuneConfig,
        plan: Plan,
        store: Store,
        run: "PairRun",
    ) -> None:
        self.config, self.plan, self.store, self.run = config, plan, store, run
        self.projections: dict[str, str] = {}
        self.tuned: dict[str, str] = {}
        hashes = []
        for name, head in run.heads.items():
            file = writer.file(f"projection-{slug_of(name)}", ".safetensors")
            save_tensors(file, head.arrays, {"modality": name})
            self.projections[name] = file.name
            hashes.append(f"{name} {canonical(head.to_json())} {file_record(file)['sha256']}")
            hashes += [str(store.keys[key].get("weights_sha256")) for key in head.keys]
            live = run.towers.get(name)
            if live is None:
                continue
            file = writer.file(f"tower-{slug_of(name)}", ".safetensors")
            arrays = {n: np.array(v.float().numpy(), order="C") for n, v in live.state.items()}
            save_tensors(file, arrays, {"strategy": live.strategy})
            self.tuned[name] = file.name
            hashes.append(str(file_record(file)["sha256"]))
        self.digest = hashlib.sha256("\n".join(hashes).encode()).hexdigest()
        self.hash_of = {name: file_record(writer.path / f)["sha256"]
                        for name, f in self.tuned.items()}  # fmt: skip

    def entries(self, space: str) -> dict[str, dict[str, Any]]:
        """The towers by key: first those with a head, then the encoders alone."""
        found = {name: self._with_head(name, head, space) for name, head in self.run.heads.items()}
        for name in self.run.heads:
            part = self.run.learning.features.parts[name]
            for key in part.keys:
                own = f"{name}:{self.store.keys[key].get('encoder') or key}"
                if own not in found:
                    found[own] = self._alone(name, key)
        return found

    def _with_head(self, name: str, head: Head, space: str) -> dict[str, Any]:
        live = self.run.towers.get(name)
        # the key whose network learned comes first among those that the head reads
        part = self.run.learning.features.parts[name]
        keys = [key for key in part.keys if key in head.keys]
        entries = [self.store.keys[key] for key in keys]
        text = _text_settings(entries[0]) if name == "text" else {}
        return {
            **self._common(name, live),
            **text,
            "name": f"{entries[0].get('encoder') or name}-{self.config.task}",
            "projection": self.projections[name],
            "head": head.to_json(),
            "reads": [
                {
                    "key": key,
                    "reference": reference_of(entry) or "",
                    "base_sha256": entry.get("weights_sha256"),
                    "tuned": live is not None and key in live.keys,
                }
                for key, entry in zip(keys, entries, strict=True)
            ],
            "reference": reference_of(entries[0]) or "",
            "base_sha256": entries[0].get("weights_sha256"),
            "weights_sha256": hashlib.sha256(f"{self.digest} {name}".encode()).hexdigest(),
            "space": space,
            "dim": head.dim,
        }

    def _alone(self, name: str, key: str) -> dict[str, Any]:
        """An encoder as later tasks read it beside the tower, tuned where it was."""
        entry, live = self.store.keys[key], self.run.towers.get(name)
        mine = live if live is not None and key in live.keys else None
        base, space = str(entry.get("weights_sha256") or ""), str(entry.get("space") or "")
        if mine is not None:
            base_space = space.partition("@")[0]
            digest = hashlib.sha256(f"{base} {self.hash_of[name]}".encode()).hexdigest()
            weights, space = digest, f"{base_space}-tuned@{digest[:12]}"
        else:
            weights = base
        return {
            **self._common(name, mine),
            "reference": reference_of(entry) or "",
            "base_sha256": entry.get("weights_sha256"),
            "weights_sha256": weights,
            "space": space,
            "dim": entry.get("dim"),
        }

    def _common(self, name: str, live: "LiveTowerState | None") -> dict[str, Any]:
        return {
            "modality": name,
            "strategy": live.strategy if live else "probe",
            "tune": asdict(live.options) if live else {},
            "file": self.tuned[name] if live else "",
            "trainable": live.trainable if live else 0,
            "parameters": live.total if live else 0,
        }


def _text_settings(entry: Mapping[str, Any]) -> dict[str, Any]:
    length = (entry.get("preprocessing") or {}).get("max_length")
    return {
        "max_length": int(length) if length else None,
        "prompt": str((entry.get("prompts") or {}).get("used", "")),
    }
