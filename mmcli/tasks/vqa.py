"""The task `vqa` with a closed vocabulary: what it may be told, what it chooses, how it is built.

A row needs a picture, a question and an answer. The default network is `votes`; a name of the
fusion registry takes its place. Knows nothing about files.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from mmcli.core.bounds import parsed
from mmcli.core.errors import UsageError
from mmcli.core.registry import suggestion
from mmcli.data.answers import Answers
from mmcli.tasks.vqa_tokens import Asked, Rows

#: The network where no method is named.
VOTES = "votes"
#: Encoders that carry more of a picture and a question than those of the shared space.
ENCODERS = {"image": ("efficientnet-lite0",), "text": ("minilm-l6",)}
#: Layers of a picture that are read where none is named: of `efficientnet-lite0` colour is 0.99 to
#: 1.0 readable up to the third and 0.82 in the fourth, which alone of these has shape (0.99).
LAYERS = {"efficientnet-lite0": (3, 4)}
#: Tokens of a question at most; longer ones are refused or become means.
MOST_WORDS = 128
_EPOCHS = {"fast": 12, "medium": 36, "best": 60}
#: Train rows above which as many epochs are too long.
_MANY_ROWS = 50_000
_BATCH = 128
_WEIGHT_DECAY = 0.05
#: Epochs of a baseline without a better score before it stops, as a share of all.
BASELINE_PATIENCE = 1 / 4
#: What `--set` may say: the value where nothing is said, and its bounds.
_NUMBERS: dict[str, tuple[float, float, float]] = {
    "answers": (3000, 2, 100_000),
    "min_count": (1, 0, 1e9),
    "patches": (49, 1, 1024),
    "width": (64, 8, 1024),
    "noise": (0.7, 0.0, 10.0),
    "dropout": (0.1, 0.0, 0.9),
}
_UNSEEN = ("warn", "error")


@dataclass(frozen=True)
class VqaSettings:
    """How the vocabulary is made, what is read, and how long and how fast it is learned.

    answers: the most of the vocabulary; min_count: what each of them must score in train. unseen:
    what an answer of val or test that train has not is, `warn` or `error`. patches: of a picture
    at most. layers: of the image encoder.
    """

    method: str
    answers: int
    min_count: float
    unseen: str
    patches: int
    layers: tuple[int, ...]
    width: int
    noise: float
    dropout: float
    epochs: int
    batch: int
    weight_decay: float

    @classmethod
    def of(
        cls, method: str, options: Mapping[str, object], tricks: Any, quality: str
    ) -> "VqaSettings":
        """From the words of a command line. Raises UsageError for what does not fit."""
        known = {*_NUMBERS, "unseen", "layers", "tabular"}
        for name in options:
            if name not in known:
                raise UsageError(f"`--set {name}` is unknown here", suggestion(name, known))
        if method not in ("", VOTES):
            from mmcli.tasks.vqa_fusion import fusion_of

            method = fusion_of(method).name
        unseen = str(options.get("unseen", _UNSEEN[0]))
        if unseen not in _UNSEEN:
            raise UsageError(f"`--set unseen={unseen}`", suggestion(unseen, _UNSEEN))
        told = {name: _number(options, name) for name in _NUMBERS}
        decay = tricks.weight_decay
        layers = options.get("layers") or ()
        assert isinstance(layers, tuple)
        return cls(
            method or VOTES,
            answers=int(told["answers"]),
            min_count=told["min_count"],
            unseen=unseen,
            patches=int(told["patches"]),
            layers=layers,
            width=int(told["width"]),
            noise=told["noise"],
            dropout=told["dropout"],
            epochs=tricks.epochs or _EPOCHS[quality],
            batch=tricks.batch or _BATCH,
            weight_decay=_WEIGHT_DECAY if decay is None else decay,
        )

    def schedule(self, train_rows: int, asked_epochs: int | None) -> int:
        """Epochs for so many rows: fewer where there are many, unless the user said how many."""
        if asked_epochs or train_rows <= _MANY_ROWS:
            return self.epochs
        return max(4, self.epochs * _MANY_ROWS // train_rows)

    def told(self) -> dict[str, Any]:
        return asdict(self)


def refuse_idle(tricks: Any, others: Mapping[str, bool]) -> None:
    """Raise UsageError for an option that would do nothing here. others: further ones, if given."""
    idle = {
        "--lr": tricks.lr is not None,
        "--layer-decay": tricks.layer_decay != 1,
        "--accumulate": tricks.accumulate != 1,
        "--gradient-checkpointing": tricks.checkpointing,
        "--average": tricks.average != 1,
        "--mixup": tricks.mixup > 0,
        "--class-weights": tricks.balanced,
        "--loss": tricks.loss not in ("auto", "cross-entropy"),
        **others,
    }
    for option, given in idle.items():
        if given:
            raise UsageError(
                f"`{option}` does nothing for answers of a closed vocabulary",
                "towers stay frozen here: `--head-lr`, `--epochs` and `--set noise=…` say how it"
                " learns; `--model` trains one that writes its answers",
            )


def build(settings: VqaSettings, asked: Asked, train: Rows, n_answers: int) -> Any:
    """A new network for these rows, with the statistics of the train rows' tokens."""
    sides, statistics = {}, {}
    for name, bank, places in (
        ("image", asked.pictures, asked.picture_of),
        ("text", asked.questions, asked.question_of),
    ):
        sides[name], statistics[name] = bank.side(name, np.unique(places[train]))
    content: dict[str, Any] = {
        "n_answers": n_answers,
        "width": settings.width,
        "dropout": settings.dropout,
        **{name: asdict(side) for name, side in sides.items()},
    }
    if settings.method == VOTES:
        content["noise"] = settings.noise
    else:
        content["method"] = settings.method
    network = network_of(settings.method, content)
    for name, (mean, scale) in statistics.items():
        network.set_statistics(name, mean, scale)
    return network


def network_of(method: str, shape: Mapping[str, Any]) -> Any:
    """A network with random weights, from what its `shape.to_json()` said."""
    if method == VOTES:
        from mmcli.tasks.vqa_network import Votes, VotesShape

        return Votes(VotesShape.from_json(shape))
    from mmcli.tasks.vqa_fusion import Fused, FusedShape

    return Fused(FusedShape.from_json(shape))


def majority(answers: Answers, train: Rows, rows: Rows, types: Sequence[str]) -> list[str]:
    """For each of the rows the answer that scores most in train, among questions of its type.

    types: `(all rows,)`, "" where it is not known; such rows, and types that train has not, get
    the answer that scores most over all.
    """
    totals: dict[str, dict[str, float]] = {}
    for row in train.tolist():
        for text, score in answers.scores[row].items():
            for kind in {"", types[row]}:
                of = totals.setdefault(kind, {})
                of[text] = of.get(text, 0.0) + score
    best = {kind: max(sorted(of), key=lambda t: of[t]) for kind, of in totals.items()}
    return [best.get(types[row], best[""]) for row in rows.tolist()]


def _number(options: Mapping[str, object], name: str) -> float:
    usual, *bounds = _NUMBERS[name]
    return parsed(f"--set {name}", options.get(name, usual), (bounds[0], bounds[1]))
