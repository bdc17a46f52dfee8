"""A trained fusion on the disk: opened, checked, applied to any rows of any store that fits.

Knows the files of a model; nothing about how it was trained, and nothing about splits.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from mmcli.core.errors import BadInput
from mmcli.fusion.blueprint import Blueprint
from mmcli.fusion.inputs import Inputs, Rows
from mmcli.fusion.network import build_network
from mmcli.fusion.objective import Objective
from mmcli.fusion.registry import METHODS, FusionSpec
from mmcli.store.hashes import check_files
from mmcli.store.manifest import file_path, read_manifest
from mmcli.store.strict_json import read_object
from mmcli.store.tensors import load_tensors

KIND = "mmcli.model"
#: What `config.json` says the model is; a model of another making says otherwise.
TASK = "fusion"
_ROWS = 4096
_SEQUENCES = 128
_AGAIN = "train the model again"


@dataclass(frozen=True)
class FusionModel:
    """A network, what it predicts, and what it reads.

    config: as in `config.json`. statistics: mean and scale of its inputs.
    """

    path: Path
    manifest: dict[str, Any]
    config: dict[str, Any]
    spec: FusionSpec
    objective: Objective
    blueprint: Blueprint
    network: Any
    statistics: Mapping[str, Any]

    @classmethod
    def open(cls, path: str | Path, verify: str = "once") -> "FusionModel":
        """Open a model and check its files.

        Raises BadInput when it is missing, unfinished, damaged, newer, or no fusion.
        """
        path = Path(path)
        manifest = read_manifest(path, KIND)
        check_files(path, manifest, mode=verify)
        file = file_path(path, str(manifest.get("config", "config.json")))
        config = read_object(file, "a model", _AGAIN)
        if config.get("kind") != TASK:
            raise BadInput(
                f"`{path}` is a model of kind `{config.get('kind')}`, not a fusion",
                "give one that `fuse train` wrote",
            )
        try:
            spec = METHODS.get(config["method"])
            objective = Objective(**_tuples(config["objective"]))
            sizes = dict(config["blueprint"])
            sizes["key_dims"] = {name: tuple(dims) for name, dims in sizes["key_dims"]}
            sizes["sequences"] = frozenset(sizes["sequences"])
            blueprint = Blueprint(**sizes)
            network = build_network(spec, blueprint, objective.kind)
            arrays = load_tensors(file_path(path, manifest["model"]))
            network.load_state_dict(
                {
                    name.removeprefix("network/"): torch.from_numpy(np.array(value))
                    for name, value in arrays.items()
                    if name.startswith("network/")
                }
            )
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            raise BadInput(
                f"`{path}`: its config does not describe its weights ({error})", _AGAIN
            ) from error
        statistics = {n: v for n, v in arrays.items() if n.startswith("input/")}
        return cls(path, manifest, config, spec, objective, blueprint, network.eval(), statistics)

    @property
    def modalities(self) -> tuple[str, ...]:
        """What it reads, in the order of the columns of `present`."""
        return self.blueprint.modalities

    def apply(
        self, inputs: Inputs, rows: Rows, without: Sequence[str] = ()
    ) -> Iterator[tuple[Rows, NDArray[Any], NDArray[Any]]]:
        """Rows, fused vectors `(some, dim)` and probabilities or values, a block at a time."""
        yield from apply_network(
            self.network, self.spec.view, self.objective, inputs, rows, without
        )


@torch.no_grad()
def apply_network(
    network: Any,
    view: str,
    objective: Objective,
    inputs: Inputs,
    rows: Rows,
    without: Sequence[str] = (),
) -> Iterator[tuple[Rows, NDArray[Any], NDArray[Any]]]:
    """The same of a network that is not on the disk. without: modalities taken as absent.

    A row without any part gets what is known of none: the shares or the mean of the train rows.
    """
    hidden = [inputs.names.index(name) for name in without]
    step = _SEQUENCES if view == "tokens" else _ROWS
    for at in range(0, len(rows), step):
        part = rows[at : at + step]
        there = inputs.present(part)
        there[:, hidden] = False
        x, valid = inputs.batch(part, view)
        found = network(x, torch.from_numpy(there), valid)
        shares = objective.probabilities(found.output.float().numpy())
        shares[~there.any(1)] = objective.constant()
        yield part, found.vector.float().numpy(), shares


def probabilities(
    network: Any,
    view: str,
    objective: Objective,
    inputs: Inputs,
    rows: Rows,
    without: Sequence[str] = (),
) -> NDArray[Any]:
    """Probabilities or values of all the rows at once."""
    found = [
        shares for _, _, shares in apply_network(network, view, objective, inputs, rows, without)
    ]
    if found:
        return np.concatenate(found)
    width = () if objective.kind == "number" else (objective.n_classes,)
    return np.zeros((0, *width))


def _tuples(values: Mapping[str, Any]) -> dict[str, Any]:
    return {n: tuple(v) if isinstance(v, list) else v for n, v in values.items()}
