"""A tower of a model of pairs as an encoder: what its encoders say, through its projection head.

A text tower of one encoder stays a text encoder, so that it can be exported to ONNX. Sequences and
layers are those of the first encoder. Knows nothing about training.
"""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from mmcli.align.tower import Tower as Head
from mmcli.core.errors import BadInput
from mmcli.core.types import Encoder, EncoderCard, Output, Prepared
from mmcli.encoders.cards import finished, narrowed
from mmcli.encoders.specs import EncoderOptions
from mmcli.encoders.steady import steady
from mmcli.encoders.text import TextEncoder
from mmcli.engine.batching import bucket
from mmcli.engine.torch_stack import load_torch
from mmcli.store.tensors import load_tensors

#: Which rows `(rows of one padded length)` of a batch go through a trunk together, and its batch.
Grouped = list[tuple[list[int], Any]]


def projected(
    encoders: Mapping[str, Encoder], tower: Mapping[str, Any], file: Path, options: EncoderOptions
) -> Encoder:
    """The encoder of a tower. encoders: what it reads, by the keys of its head. tower: what the
    model's config says of it; file: its head's arrays.

    Raises BadInput where the encoders cannot be read together or the head does not fit them.
    """
    try:
        head = Head.from_json(tower["head"], load_tensors(file))
        encoders = {key: encoders[key] for key in encoders if key in head.keys}
        missing = set(head.keys) - set(encoders)
        if missing:
            raise KeyError(min(missing))
    except (KeyError, TypeError) as error:
        raise BadInput(f"`{file}` is no head of this tower", "train the model again") from error
    check_recipes(encoders)
    first = next(iter(encoders.values()))
    card = narrowed(projected_card(first.card, tower, encoders), options)
    module = _module(head, first)
    if len(encoders) == 1 and isinstance(first, TextEncoder):
        return _text_encoder(first, next(iter(encoders)), module, card, options)
    return ProjectedEncoder(card, dict(encoders), module, options)


def check_recipes(encoders: Mapping[str, Encoder]) -> None:
    """Raise BadInput unless all encoders of a tower want a part decoded alike."""
    (first, one), *others = encoders.items()
    for key, other in others:
        if other.recipe != one.recipe:
            raise BadInput(
                f"keys `{first}` and `{key}` cannot make one tower: their encoders want a"
                f" {one.card.modality} part decoded each in its own way",
                f"name one of them with `--{one.card.modality}`",
            )


def projected_card(
    card: EncoderCard, tower: Mapping[str, Any], encoders: Mapping[str, Encoder]
) -> EncoderCard:
    """The card of a tower: the first encoder's but for width, weights and space."""
    others = [dict(one.card.preprocessing) for one in list(encoders.values())[1:]]
    columns = dict.fromkeys(name for one in encoders.values() for name in one.card.columns)
    return replace(
        card,
        name=str(tower["name"]),
        dim=int(tower["head"]["dim"]),
        normalized=True,
        space=str(tower["space"]),
        weights_sha256=str(tower["weights_sha256"]),
        preprocessing={**card.preprocessing, **({"beside": others} if others else {})},
        columns=tuple(columns),
    )


def _module(head: Head, first: Any) -> Any:
    load_torch()
    from mmcli.tasks.pairs import Projection

    network = getattr(first, "network", None)
    parameter = next(network.parameters(), None) if network is not None else None
    return Projection(head).eval().to("cpu" if parameter is None else parameter.device)


def _text_encoder(
    encoder: TextEncoder, key: str, module: Any, card: EncoderCard, options: EncoderOptions
) -> TextEncoder:
    """The same text encoder, its vectors projected before they are normalised."""

    def project(features: Any) -> Any:
        pooled = finished(encoder.project(features), None, encoder.card.normalized)
        return steady(lambda rows: module({key: rows}), pooled)

    found = replace(encoder, card=card, options=options, project=project)
    if "trunk" in vars(encoder):  # one that runs in low precision
        found.trunk = encoder.trunk  # type: ignore[method-assign]
    return found


@dataclass
class ProjectedEncoder:
    """Encoders of one modality, and a head on their pooled vectors.

    Those of equal `trunk_key` share one pass, also with encoders outside of it where there is only
    one such trunk. With several trunks each gets rows of equal padded length together, so that a
    row's bits never depend on its neighbours.
    """

    card: EncoderCard
    encoders: dict[str, Encoder]
    project: Any
    options: EncoderOptions
    recipe: Any = None
    trunk_key: Hashable = None
    window: int | None = None
    budget: int = 1
    leads: list[Encoder] = field(default_factory=list)

    def __post_init__(self) -> None:
        by_trunk: dict[Hashable, int] = {}
        self.lead_of: dict[str, int] = {}
        for key, encoder in self.encoders.items():
            if encoder.trunk_key not in by_trunk:
                by_trunk[encoder.trunk_key] = len(self.leads)
                self.leads.append(encoder)
            self.lead_of[key] = by_trunk[encoder.trunk_key]
        self.recipe = self.leads[0].recipe
        self.budget = self.leads[0].budget
        windows = [lead.window for lead in self.leads if lead.window is not None]
        self.window = min(windows, default=None)
        alone = len(self.leads) == 1
        self.trunk_key = self.leads[0].trunk_key if alone else tuple(by_trunk)

    @property
    def network(self) -> Any:
        """What can be trained: the first encoder's network that there is."""
        found = (getattr(encoder, "network", None) for encoder in self.leads)
        return next((network for network in found if network is not None), None)

    @property
    def exact(self) -> bool:
        """Whether one of them is computed in fp32 whatever is asked for."""
        return any(getattr(encoder, "exact", False) for encoder in self.leads)

    def prepare(self, parts: Sequence[Any]) -> list[Prepared]:
        each = [lead.prepare(parts) for lead in self.leads]
        if len(each) == 1:
            return each[0]
        return [
            Prepared(row, max(one.length for one in row), any(one.truncated for one in row))
            for row in zip(*each, strict=True)
        ]

    def collate(self, rows: Sequence[Prepared], length: int) -> Any:
        if len(self.leads) == 1:
            return self.leads[0].collate(rows, length)
        return [
            _grouped(lead, [row.data[number] for row in rows])
            for number, lead in enumerate(self.leads)
        ]

    def trunk(self, batch: Any) -> Any:
        if len(self.leads) == 1:
            return self.leads[0].trunk(batch)
        return [
            [(places, lead.trunk(one)) for places, one in groups]
            for lead, groups in zip(self.leads, batch, strict=True)
        ]

    def head(self, features: Any, *, sequence: bool = False, layer: int | None = None) -> Output:
        """The projection of what every encoder says; layers and sequences of the first one."""
        first = next(iter(self.encoders))
        if layer is not None:
            return self._said(first, features, sequence=sequence, layer=layer)
        said = {
            key: self._said(key, features, sequence=sequence and key == first)
            for key in self.encoders
        }
        pooled = {key: output.pooled.float() for key, output in said.items()}
        vectors = steady_heads(self.project, pooled)
        columns = {
            name: values
            for output in said.values()
            for name, values in (output.columns or {}).items()
        }
        return Output(
            finished(vectors, self.options.dim, True), said[first].sequence, columns or None
        )

    def _said(
        self, key: str, features: Any, *, sequence: bool = False, layer: int | None = None
    ) -> Output:
        """One encoder's output of all rows, in order."""
        encoder = self.encoders[key]
        if len(self.leads) == 1:
            return encoder.head(features, sequence=sequence, layer=layer)
        groups = features[self.lead_of[key]]
        outputs = [encoder.head(f, sequence=sequence, layer=layer) for _, f in groups]
        order = [place for places, _ in groups for place in places]
        back = sorted(range(len(order)), key=order.__getitem__)
        pooled = load_torch().cat([output.pooled for output in outputs])[back]
        tokens = [token for output in outputs for token in output.sequence or []]
        names = outputs[0].columns or {}
        columns = {
            name: [value for output in outputs for value in (output.columns or {})[name]]
            for name in names
        }
        return Output(
            pooled,
            [tokens[i] for i in back] if sequence else None,
            {name: [values[i] for i in back] for name, values in columns.items()} or None,
        )


def steady_heads(project: Any, pooled: Mapping[str, Any]) -> Any:
    """The head's vectors, with the same bits however many rows there are."""
    torch = load_torch()
    sizes = [value.shape[1] for value in pooled.values()]
    side = torch.cat(list(pooled.values()), dim=1)

    def apply(rows: Any) -> Any:
        return project(dict(zip(pooled, rows.split(sizes, dim=1), strict=True)))

    return steady(apply, side)


def _grouped(lead: Encoder, rows: Sequence[Prepared]) -> Grouped:
    by_length: dict[int, list[int]] = {}
    for place, row in enumerate(rows):
        by_length.setdefault(bucket(row.length), []).append(place)
    return [
        (places, lead.collate([rows[place] for place in places], length))
        for length, places in by_length.items()
    ]
