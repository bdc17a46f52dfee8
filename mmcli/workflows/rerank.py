"""A cross-attention aligner as re-ranker: it scores pairs of sequences, of which one is a store's.

Serves `retrieve search --rerank` and `evaluate retrieval --rerank`. Imports torch.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mmcli.core.errors import UsageError
from mmcli.engine.device import place, probe
from mmcli.store.mapped_sequences import MappedSequences
from mmcli.store.reader import Store

if TYPE_CHECKING:
    from mmcli.align.pair_scorer import PairScorer

Vectors = NDArray[np.float32]
#: Pairs whose sequences are handed to the scorer at a time.
BLOCK_PAIRS = 4096


@dataclass
class Reranker:
    """The pair scorer of an aligner, over the sequences of a store that fits it."""

    scorer: "PairScorer"
    store: Store
    sequences: Mapping[str, MappedSequences]

    @classmethod
    def open(cls, path: str, store: Store, device: str, precision: str, verify: str) -> "Reranker":
        """Open an aligner that scores pairs, for the rows of a store.

        Raises UsageError when it does not score pairs, SpaceMismatch or BadInput when the store's
        sequences are not those it was trained on, or there are none.
        """
        from mmcli.align.pair_scorer import PairScorer

        placement = place(device, precision, probe())
        scorer = PairScorer.open(Path(path), placement.device, placement.dtype, verify)
        scorer.check(store)
        sequences = {m: MappedSequences(store, scorer.key(m)) for m in scorer.modalities}
        return cls(scorer, store, sequences)

    def target_of(self, modality: str) -> str:
        """What a query of that modality is scored against. Raises UsageError for other ones."""
        others = [name for name in self.scorer.modalities if name != modality]
        if len(others) == len(self.scorer.modalities):
            raise UsageError(
                f"the re-ranker scores {' and '.join(others)}, not {modality}",
                "leave `--rerank` out, or train one for them",
            )
        return others[0]

    def own(self, modality: str, rows: Sequence[int] | NDArray[np.int64]) -> list[Any]:
        """The store's sequences of some rows, as queries."""
        return self.sequences[modality].take(rows)

    def score(
        self, modality: str, queries: Sequence[Any], candidates: NDArray[np.int64]
    ) -> Vectors:
        """float32 `(queries, depth)`: each query against rows of the store, larger is better.

        queries: `(length, dim)` each, of `modality`. candidates: `(queries, depth)` rows.
        """
        sequences = self.sequences[self.target_of(modality)]
        rows = candidates.ravel()
        found = np.empty(len(rows), np.float32)
        asked = np.repeat(np.arange(len(candidates)), candidates.shape[1])
        for start in range(0, len(rows), BLOCK_PAIRS):
            part = slice(start, start + BLOCK_PAIRS)
            once, place = np.unique(rows[part], return_inverse=True)
            targets = sequences.take(once)  # the scorer, too, reads an array once
            found[part] = self.scorer.score(
                modality, [queries[i] for i in asked[part]], [targets[i] for i in place]
            )
        return found.reshape(candidates.shape)
