"""The types that rooms hand to each other: standard library only, tensors by name.

An encoder turns the parts of a batch of items into an `Output`. It knows nothing about files,
stores or shards; the engine knows nothing about any model.
"""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol, get_args

if TYPE_CHECKING:
    from torch import Tensor

Modality = Literal["image", "text", "speech", "video", "tabular"]
MODALITIES: tuple[Modality, ...] = get_args(Modality)
#: The columns of a source that name the parts of an item.
PART_COLUMNS: tuple[str, ...] = ("image", "text", "speech", "video")


@dataclass(frozen=True)
class Output:
    """What an encoder says of a batch.

    pooled: `(batch, dim)`. sequence: one `(length, dim)` tensor a row, real tokens, patches or
    frames only. columns: values beside the vectors, one a row (`transcript`).
    """

    pooled: "Tensor"
    sequence: "list[Tensor] | None" = None
    columns: dict[str, list[Any]] | None = None


@dataclass(frozen=True)
class Prepared:
    """One part, ready to be batched: its data, its length in the encoder's own unit."""

    data: Any
    length: int = 1
    truncated: bool = False


@dataclass(frozen=True)
class EncoderCard:
    """What is written down about an encoder beside its vectors, so that they can be made again.

    scripts: ISO 15924 codes of the scripts its training covered; empty means any.
    layers: how many layers `--layers` may name (1 to layers). layer_shapes: `(length, dim)` of each
    layer's sequence, where these are not the encoder's own.
    """

    name: str
    modality: str
    dim: int
    normalized: bool
    space: str
    weights_sha256: str
    revision: str | None = None
    preprocessing: Mapping[str, Any] = field(default_factory=dict)
    prompts: Mapping[str, str] = field(default_factory=dict)
    sequence_dim: int | None = None
    sequence_length: int | None = None
    layers: int = 0
    layer_shapes: tuple[tuple[int, int], ...] = ()
    columns: tuple[str, ...] = ()
    scripts: tuple[str, ...] = ()


class Encoder(Protocol):
    """A model of one modality, loaded and ready on its device.

    The engine calls `prepare` on decoded parts (one worker-made value of `recipe` a part), gathers
    `window` rows (None: a whole shard), sorts them by length, and for each batch calls
    `collate → trunk → head`. Encoders with equal `trunk_key` share `prepare`, `collate` and one
    `trunk` pass; only `head` is their own.
    """

    card: EncoderCard
    recipe: Any
    trunk_key: Hashable
    window: int | None
    budget: int
    """Length units in one batch when the user says `--batch auto` (rows x padded length)."""

    def prepare(self, parts: Sequence[Any]) -> list[Prepared]:
        """Tokenise or frame decoded parts, on the CPU."""

    def collate(self, rows: Sequence[Prepared], length: int) -> Any:
        """One batch in which every row is padded to `length`, on the encoder's device."""

    def trunk(self, batch: Any) -> Any:
        """The shared forward pass."""

    def head(self, features: Any, *, sequence: bool = False, layer: int | None = None) -> Output:
        """Pool what the trunk gave; `layer` counts from 1, None is the encoder's own output."""
