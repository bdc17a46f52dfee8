"""An aligner behind an index: how queries of each modality get into its space.

A query is encoded for every key that the modality's tower reads, then sent through the tower. The
towers are copied into the index, which from then on needs the aligner's directory no more.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmcli.core.errors import BadInput, MmcliError
from mmcli.store.reader import Store
from mmcli.store.tensors import TensorFile, load_tensors, save_tensors
from mmcli.workflows.queries.plans import QUERY_MODALITIES, QueryPlan, plan_bound, plan_queries

if TYPE_CHECKING:
    from mmcli.align.aligner import Aligner
    from mmcli.align.tower import Tower


@dataclass(frozen=True)
class AlignedPlan:
    """How queries of one modality are encoded: `inputs` by the key they stand for, then `tower`."""

    inputs: Mapping[str, QueryPlan]
    tower: "Tower"
    space: str

    @property
    def encoder(self) -> str:
        """What encodes, for people."""
        return " + ".join(dict.fromkeys(plan.encoder for plan in self.inputs.values()))

    def as_manifest(self) -> dict[str, Any]:
        """What the index's manifest says of it, the tower's file apart."""
        inputs = {key: plan.as_manifest() for key, plan in self.inputs.items()}
        return {"encoder": self.encoder, "inputs": inputs}


@dataclass(frozen=True)
class IndexAligner:
    """The aligner that an index goes through, and which way."""

    aligner: "Aligner"
    direction: str = "both"

    @property
    def space(self) -> str:
        """The name of the space that the index is in."""
        return self.aligner.space_of(self.direction)

    def as_manifest(self) -> dict[str, Any]:
        """What the index's manifest says of it."""
        from mmcli.align.aligner import sha256_of

        return {
            "path": str(self.aligner.path.resolve()),
            "manifest_sha256": sha256_of(self.aligner.path),
            "method": self.aligner.config.get("method"),
            "direction": self.direction,
        }

    def plans(self, store: Store, prompt: str | None) -> dict[str, AlignedPlan]:
        """A plan for every modality that has a tower whose every key has a known encoder.

        A modality without a tower goes through that of the texts when an encoder puts it into
        their space: a recording that is heard as words is a text. store: what is indexed; its
        options say how it was extracted.
        """
        options = store.manifest.get("options") or {}
        bound = self.aligner.config["keys"]
        towers = self.aligner.towers(self.direction)
        found = {}
        for modality, tower in towers.items():
            inputs = {key: plan_bound(key, bound[key], options, prompt) for key in tower.keys}
            known = {key: plan for key, plan in inputs.items() if plan is not None}
            if modality in QUERY_MODALITIES and len(known) == len(inputs):
                found[modality] = AlignedPlan(known, tower, self.space)
        words = towers.get("text")
        if words is not None and len(words.keys) == 1:
            (key,) = words.keys
            for modality, plan in plan_queries({key: bound[key]}, [key], options).items():
                pictures = modality == "video" and "image" in towers  # its frames are no words
                if modality not in towers and not pictures:
                    found[modality] = AlignedPlan({key: plan}, words, self.space)
        return found


def aligner_of_keys(store: Store, names: Iterable[str]) -> tuple[IndexAligner | None, str]:
    """The aligner that made these keys of a store; else None, and why it cannot be had.

    The reason is empty when no aligner made them. An aligner must still lie where `align apply`
    found it, and be the same.
    """
    recorded = [store.keys[name].get("aligner") for name in names]
    made = next((entry for entry in recorded if isinstance(entry, dict)), None)
    if made is None:
        return None, ""
    from mmcli.align.aligner import Aligner, sha256_of

    path = Path(str(made.get("path")))
    try:
        if sha256_of(path) != made.get("manifest_sha256"):
            return None, f"the aligner `{path}` has changed since it made this store"
        aligner = Aligner.open(path)
        direction = str(made.get("direction") or "both")
        aligner.towers(direction)
    except MmcliError as error:
        return None, f"the aligner that made this store cannot be used: {error.message}"
    return IndexAligner(aligner, direction), ""


def save_tower(path: Path, tower: "Tower") -> None:
    """Write a tower into an index: its arrays, and beside them what it does with them."""
    save_tensors(path, tower.arrays, tower.to_json())


def load_tower(path: Path) -> "Tower":
    """The tower that `save_tower` wrote. Raises BadInput when it cannot be read."""
    from mmcli.align.tower import Tower

    try:
        return Tower.from_json(TensorFile(path).metadata(), load_tensors(path))
    except (KeyError, TypeError) as error:
        raise BadInput(f"`{path}` does not hold a tower", "build the index again") from error
