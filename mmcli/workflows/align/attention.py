"""`align attention`: what the words of an item find in its picture, as a contact sheet.

Prints nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import isqrt
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmcli.align.pair_scorer import PairScorer
from mmcli.core.errors import BadInput, UsageError
from mmcli.core.registry import suggestion
from mmcli.data.files import PartError
from mmcli.data.images import read_images
from mmcli.data.places import locate
from mmcli.data.recipes import ImageRecipe
from mmcli.encoders.registry import load
from mmcli.encoders.specs import EncoderOptions
from mmcli.engine.device import Placement
from mmcli.report.attention_maps import write_sheet
from mmcli.store.mapped_sequences import MappedSequences
from mmcli.store.reader import Store
from mmcli.workflows.output_files import refuse_file

#: Tokens shown each by itself; more (frames) are averaged over runs.
MOST_CELLS = 48


@dataclass(frozen=True)
class AttentionConfig:
    """What `mmcli align attention` can be told. layer: of cross-attention, from 1; 0 is the
    likeness of words and patches that it starts from. head: None is the mean of all. picture_of:
    the id of another item, whose picture the words of `id` look at.
    """

    aligner: str
    store: str
    id: str
    output: str
    layer: int = 0
    head: int | None = None
    picture_of: str | None = None
    verify: str = "once"
    force: bool = False


def attention(config: AttentionConfig) -> dict[str, Any]:
    """Write the sheet and report the pair's score and the patch that each word looks at most.

    Raises UsageError for an aligner without pictures, a layer or head that is not there; BadInput
    for an id that is not in the store, a part that is missing or a picture that cannot be read.
    """
    refuse_file("-o", config.output, config.force)
    scorer = PairScorer.open(config.aligner, verify=config.verify)
    if "image" not in scorer.modalities:
        raise UsageError(
            f"`{config.aligner}` scores {' and '.join(scorer.modalities)}: there is no picture",
            "train one with `--between text,image`",
        )
    store = Store.open(config.store, config.verify)
    scorer.check(store)
    turned = scorer.modalities[0] == "image"
    words = scorer.modalities[1 if turned else 0]
    said, seen = _row(store, config.id), _row(store, config.picture_of or config.id)
    (tokens,) = MappedSequences(store, scorer.key(words)).take([said])
    (patches,) = MappedSequences(store, scorer.key("image")).take([seen])
    for name, values, row in ((words, tokens, said), ("image", patches, seen)):
        if not len(values):
            raise BadInput(f"row {row} of `{store.path}` has no {name}", "choose another `--id`")
    pair = (patches, tokens) if turned else (tokens, patches)
    weights = _weights(scorer, pair, turned, config.layer, config.head)
    side = isqrt(weights.shape[1])
    if side * side != weights.shape[1]:
        raise BadInput(
            f"key `{scorer.key('image')}` has {weights.shape[1]} patches, no square grid",
            "train on an encoder whose patches are a grid",
        )
    labels = _labels(store, scorer.key(words), words, said, len(weights))
    weights, labels = _runs(weights, labels)
    maps = weights.reshape(-1, side, side)
    pixels = _pixels(store, scorer.key("image"), seen)
    write_sheet(Path(config.output), pixels, labels, maps)
    most = maps.reshape(len(maps), -1).argmax(axis=1)
    return {
        "sheet": config.output,
        "score": float(scorer.score(scorer.modalities[0], [pair[0]], [pair[1]])[0]),
        "words": [
            {"word": label, "row": int(place // side) + 1, "column": int(place % side) + 1,
             "weight": float(grid.max())}
            for label, place, grid in zip(labels, most, maps, strict=True)
        ],
    }  # fmt: skip


def _row(store: Store, id: str) -> int:
    ids = store.ids()
    if id not in ids:
        raise BadInput(f"`{store.path}` has no item `{id}`", suggestion(id, ids))
    return ids.index(id)


def _weights(
    scorer: PairScorer, pair: tuple[Any, Any], turned: bool, layer: int, head: int | None
) -> NDArray[np.float32]:
    """`(words, patches)` of a layer's look, or of the likeness that it starts from."""
    if layer == 0:
        if head is not None:
            raise UsageError(f"`--head {head}`: layer 0 has none", "add `--layer 1`")
        likeness = scorer.likeness(*pair)
        return likeness.T if turned else likeness
    layers = scorer.attention(*pair)
    if not 1 <= layer <= len(layers):
        raise UsageError(
            f"`--layer {layer}`: there are {len(layers)}", "0 is the likeness that they start from"
        )
    return _of_head(layers[layer - 1][1 if turned else 0], head)


def _of_head(weights: NDArray[np.float32], head: int | None) -> NDArray[np.float32]:
    """One head's, or the mean of all."""
    if head is None:
        mean: NDArray[np.float32] = weights.mean(axis=0)
        return mean
    if not 1 <= head <= len(weights):
        raise UsageError(f"`--head {head}`: there are {len(weights)}", "they count from 1")
    one: NDArray[np.float32] = weights[head - 1]
    return one


def _labels(store: Store, key: str, modality: str, row: int, count: int) -> list[str]:
    """The tokens of a text as its encoder cut them; their numbers when they do not fit."""
    numbers = [str(i + 1) for i in range(count)]
    if modality != "text" or "text" not in store.columns:
        return numbers
    value = store.items(["text"]).column("text")[row].as_py()
    entry = store.keys[key]
    encoder: Any = load(
        str(entry.get("reference") or entry["encoder"]),
        "text",
        EncoderOptions(),
        Placement("cpu", "float32"),
    )
    (prepared,) = encoder.prepare([value])
    ids = np.asarray(prepared.data.ids)[np.asarray(prepared.data.content, bool)]
    found = [str(encoder.tokenizer.core.id_to_token(int(i))) for i in ids]
    return found if len(found) == count else numbers


def _runs(
    weights: NDArray[np.float32], labels: Sequence[str]
) -> tuple[NDArray[np.float32], list[str]]:
    """At most `MOST_CELLS` rows: means over runs, named by their first and last."""
    if len(labels) <= MOST_CELLS:
        return weights, list(labels)
    runs = np.array_split(np.arange(len(labels)), MOST_CELLS)
    means = np.stack([weights[run].mean(axis=0) for run in runs])
    return means, [f"{labels[run[0]]}-{labels[run[-1]]}" for run in runs]


def _pixels(store: Store, key: str, row: int) -> NDArray[np.uint8]:
    """The picture as its encoder saw it, so that patches lie where they belong."""
    if "image" not in store.columns:
        raise BadInput(f"`{store.path}` has no column `image`", "extract it from picture files")
    path = locate(store.source_root, str(store.items(["image"])["image"][row]))
    told = store.keys[key].get("preprocessing") or {}
    known = {n: told[n] for n in ("height", "width", "fit", "resize") if told.get(n)}
    recipe = ImageRecipe(**{"height": 224, "width": 224, "fit": "squash", **known})
    try:
        (pixels,) = read_images(path, [recipe])
    except PartError as error:
        raise BadInput(f"`{path}` {error}", "the sheet is drawn over the picture") from error
    return pixels
