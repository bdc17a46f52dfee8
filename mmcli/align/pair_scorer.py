"""A trained cross-attention aligner on the disk: opened, checked against a store, asked for scores.

It scores pairs of sequences and has no vectors: a re-ranker. Knows nothing about training.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmcli.align.aligner import KIND, read_config
from mmcli.align.pair_model import PairModel, PairShape, torch
from mmcli.align.pair_scores import Placed
from mmcli.core.errors import BadInput, SpaceMismatch, UsageError
from mmcli.core.registry import suggestion
from mmcli.engine.sequences import Tokens
from mmcli.store.bindings import compare_binding
from mmcli.store.hashes import check_files
from mmcli.store.manifest import file_path, read_manifest
from mmcli.store.reader import Store
from mmcli.store.tensors import load_tensors

Weights = NDArray[np.float32]
#: Pairs whose rows are in memory at a time: 100 MB of 49 patches of width 128.
PAIRS = 4096


@dataclass(frozen=True)
class PairScorer:
    """A re-ranker: how well a row of one modality and a row of the other belong together."""

    path: Path
    manifest: dict[str, Any]
    config: dict[str, Any]
    placed: Placed

    @classmethod
    def open(
        cls,
        path: str | Path,
        device: str = "cpu",
        dtype: str = "float32",
        verify: str = "once",
    ) -> "PairScorer":
        """Open an aligner that scores pairs and check its files.

        device, dtype: where the model is placed, and the type its products are taken in. Raises
        BadInput when it is missing, unfinished, damaged, of another kind or newer, and UsageError
        when it maps vectors.
        """
        path = Path(path)
        manifest = read_manifest(path, KIND)
        check_files(path, manifest, mode=verify)
        config = read_config(path, manifest)
        if config.get("scores") != "pairs":
            raise UsageError(
                f"`{path}` is a {config.get('method')} aligner: it maps vectors",
                "give it to `--aligner`, and to `--rerank` one of `--method cross-attention`",
            )
        arrays = load_tensors(file_path(path, manifest["model"]))
        try:
            model = PairModel(PairShape.from_json(config["model"]))
            model.load_state_dict({n: torch.from_numpy(np.array(a)) for n, a in arrays.items()})
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            reason = str(error).splitlines()[0]
            raise BadInput(
                f"`{path}`: its config does not describe its model ({reason})",
                "train the aligner again",
            ) from error
        return cls(path, manifest, config, Placed(model.eval().to(device), device, dtype))

    @property
    def modalities(self) -> tuple[str, str]:
        """The two modalities it scores pairs of."""
        first, second = self.placed.model.shape.sides
        return first.name, second.name

    def key(self, modality: str) -> str:
        """The store key that it reads sequences of. Raises UsageError for another modality."""
        return str(self.placed.model.shape.sides[self._number(modality)].key)

    def check(self, store: Store, modality: str | None = None) -> None:
        """Raise SpaceMismatch unless the store's sequences are made as those it was trained on.

        modality: only its key. Encoders are compared by width, space, weights and preprocessing,
        not by precision.
        """
        for name in [modality] if modality else self.modalities:
            key = self.key(name)
            if key not in store.keys:
                raise SpaceMismatch(
                    f"`{store.path}` has no key `{key}`, which `{self.path}` reads {name} from",
                    "extract it with the same encoders: "
                    + suggestion(key, store.keys).removeprefix("did you mean "),
                )
            compare_binding(self.config["keys"][key], store.keys[key], key, self.path, store)
            if not store.keys[key]["sequence"]:
                raise SpaceMismatch(
                    f"key `{key}` of `{store.path}` has no sequences, which `{self.path}` reads",
                    "extract it with `--sequence`",
                )

    def score(
        self,
        query_modality: str,
        query_sequences: Sequence[Tokens],
        target_sequences: Sequence[Tokens],
    ) -> NDArray[np.float32]:
        """float32 `(n,)`: the higher, the better query i and target i belong together.

        query_modality: what the queries are; the targets are of the other. Sequences are float32
        `(length, dim)`; an array that occurs several times is read once. Raises BadInput for one
        of another width.
        """
        turned = self._number(query_modality) == 1
        if len(query_sequences) != len(target_sequences):
            raise ValueError(f"{len(query_sequences)} queries, {len(target_sequences)} targets")
        sides = (query_sequences, target_sequences)
        first, second = sides[::-1] if turned else sides
        found = np.empty(len(first), np.float32)
        for start in range(0, len(first), PAIRS):
            part = slice(start, start + PAIRS)
            left, left_rows = self._distinct(0, first[part])
            right, right_rows = self._distinct(1, second[part])
            found[part] = self.placed.match(
                self.placed.read(0, left), self.placed.read(1, right), left_rows, right_rows
            )
        return found

    def attention(self, first: Tokens, second: Tokens) -> list[tuple[Weights, Weights]]:
        """Who looks where in one pair, a layer at a time.

        first, second: `(length, dim)` of either modality, in their order. Each layer gives float32
        `(heads, tokens of first, tokens of second)` and the same of the second's look at the first;
        the last axis sums to 1.
        """
        placed = self.placed
        (x, real_x), (y, real_y) = placed.read(0, [first]), placed.read(1, [second])
        with torch.no_grad(), placed.autocast():
            _, layers = placed.model.match(x, real_x, y, real_y)
        return [(a[0].float().cpu().numpy(), b[0].float().cpu().numpy()) for a, b in layers]

    def likeness(self, first: Tokens, second: Tokens) -> Weights:
        """float32 `(tokens of first, tokens of second)`: cosines of the projected tokens of a pair.

        What the score starts from, before any layer looks at the other side.
        """
        placed = self.placed
        sides = [placed.read(number, [tokens])[0] for number, tokens in enumerate((first, second))]
        with torch.no_grad():
            u, v = (
                reader.tokens(x)[0] for reader, x in zip(placed.model.readers, sides, strict=True)
            )
        found: Weights = (u @ v.T).cpu().numpy()
        return found

    def _number(self, modality: str) -> int:
        if modality not in self.modalities:
            raise UsageError(
                f"`{self.path}` does not know {modality}",
                "it scores pairs of " + " and ".join(self.modalities),
            )
        return self.modalities.index(modality)

    def _distinct(
        self, number: int, sequences: Sequence[Tokens]
    ) -> tuple[list[Tokens], NDArray[np.int64]]:
        """Each array once, and which of them each row is."""
        side = self.placed.model.shape.sides[number]
        places: dict[int, int] = {}
        kept: list[Tokens] = []
        rows = np.empty(len(sequences), np.int64)
        for i, tokens in enumerate(sequences):
            if id(tokens) not in places:
                if tokens.ndim != 2 or tokens.shape[1] != side.dim:
                    raise BadInput(
                        f"a {side.name} sequence is {list(tokens.shape)}, `{self.path}` was"
                        f" trained on a width of {side.dim}",
                        "extract it with the encoder that the aligner was trained on",
                    )
                places[id(tokens)] = len(kept)
                kept.append(tokens)
            rows[i] = places[id(tokens)]
        return kept, rows
