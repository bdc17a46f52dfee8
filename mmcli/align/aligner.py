"""A trained aligner on the disk: opened, checked against a store, applied. Plain numpy, no torch.

Knows the files of an aligner and which keys its towers read; nothing about how it was trained.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmcli.align.tower import Tower, Vectors
from mmcli.core.errors import BadInput, SpaceMismatch, UsageError
from mmcli.core.registry import suggestion
from mmcli.store.bindings import compare_binding
from mmcli.store.hashes import check_files
from mmcli.store.manifest import file_path, file_record, read_manifest
from mmcli.store.reader import Store
from mmcli.store.strict_json import read_object
from mmcli.store.tensors import load_tensors

KIND = "mmcli.aligner"


@dataclass(frozen=True)
class Aligner:
    """The towers that bring modalities into one space.

    keys_bound: what is known of each store key that a tower reads. directions: the towers of each
    way to apply it; the key `both` is what `apply` uses, `text-to-image` and the like map one
    modality into the space of the other.
    """

    path: Path
    manifest: dict[str, Any]
    config: dict[str, Any]
    directions: Mapping[str, Mapping[str, Tower]]

    @classmethod
    def open(cls, path: str | Path, verify: str = "once") -> "Aligner":
        """Open an aligner and check its files.

        Raises BadInput when it is missing, unfinished, damaged, of another kind or newer, and
        UsageError when it scores pairs instead of mapping vectors.
        """
        path = Path(path)
        manifest = read_manifest(path, KIND)
        check_files(path, manifest, mode=verify)
        config = read_config(path, manifest)
        if config.get("scores") == "pairs":
            raise UsageError(
                f"`{path}` is a {config.get('method')} aligner: it scores pairs and has no vectors",
                "give it to `--rerank`",
            )
        arrays = load_tensors(file_path(path, manifest["model"]))
        try:
            directions = {
                direction: {
                    modality: Tower.from_json(tower, _of(arrays, f"{direction}/{modality}/"))
                    for modality, tower in towers.items()
                }
                for direction, towers in config["directions"].items()
            }
        except (KeyError, TypeError) as error:
            raise BadInput(
                f"`{path}`: its config does not describe towers ({error})",
                "train the aligner again",
            ) from error
        return cls(path, manifest, config, directions)

    @property
    def modalities(self) -> tuple[str, ...]:
        """The modalities it maps."""
        return tuple(self.config["between"])

    @property
    def space(self) -> str:
        """The name of the space it maps into."""
        return self.space_of("both")

    @property
    def dim(self) -> int:
        """The width of that space."""
        return next(iter(self.directions["both"].values())).dim

    def space_of(self, direction: str) -> str:
        """The name of the space that a direction maps into."""
        name, _, digest = str(self.manifest["space"]).partition("@")
        return f"{name}@{digest}" if direction == "both" else f"{name}-{direction}@{digest}"

    def towers(self, direction: str = "both") -> Mapping[str, Tower]:
        """The towers of a direction. Raises UsageError when there is no such direction."""
        if direction not in self.directions:
            known = [name for name in self.directions if name != "both"]
            hint = suggestion(direction, known) if known else "leave `--direction` out"
            raise UsageError(f"`{self.path}` has no direction `{direction}`", hint)
        return self.directions[direction]

    def keys(self, modality: str, direction: str = "both") -> tuple[str, ...]:
        """The store keys that the tower of a modality reads."""
        towers = self.towers(direction)
        if modality not in towers:
            raise UsageError(
                f"`{self.path}` does not map {modality}", "it maps " + ", ".join(towers)
            )
        return towers[modality].keys

    def apply(
        self, modality: str, inputs: Mapping[str, Vectors], direction: str = "both"
    ) -> Vectors:
        """float32 `(rows, dim)`, of unit length, from float32 `(rows, key dim)` a key."""
        self.keys(modality, direction)
        return self.towers(direction)[modality].apply(inputs)

    def check(self, store: Store, modality: str | None = None) -> None:
        """Raise SpaceMismatch unless the store's keys were made as those it was trained on.

        modality: only its keys. Encoders are compared by width, space, weights and preprocessing,
        not by precision.
        """
        for name in [modality] if modality else self.modalities:
            for key in self.keys(name):
                if key not in store.keys:
                    raise SpaceMismatch(
                        f"`{store.path}` has no key `{key}`, which the {name} tower of"
                        f" `{self.path}` reads",
                        "extract it with the same encoders: "
                        + suggestion(key, store.keys).removeprefix("did you mean "),
                    )
                compare_binding(self.config["keys"][key], store.keys[key], key, self.path, store)


def flattened(directions: Mapping[str, Mapping[str, Tower]]) -> dict[str, Vectors]:
    """The arrays of every tower under the names that an aligner's file has."""
    return {
        f"{direction}/{modality}/{name}": array
        for direction, towers in directions.items()
        for modality, tower in towers.items()
        for name, array in tower.arrays.items()
    }


def read_config(path: Path, manifest: Mapping[str, Any]) -> dict[str, Any]:
    """The config of an aligner. Raises BadInput when it cannot be read."""
    file = file_path(path, str(manifest.get("config", "config.json")))
    config = read_object(file, "an aligner", "train the aligner again")
    if "between" not in config:
        raise BadInput(f"`{file}` does not describe an aligner", "train the aligner again")
    return config


def sha256_of(path: Path) -> str:
    """What identifies an aligner: the hash of its manifest."""
    return str(file_record(Path(path) / "manifest.json")["sha256"])


def _of(arrays: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    return {n.removeprefix(prefix): a for n, a in arrays.items() if n.startswith(prefix)}
