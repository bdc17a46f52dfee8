"""Pictures in MiniLM's space with no training: class probabilities weigh class names.

The classifier's ten likeliest ImageNet classes are mixed by their probabilities, each standing
for the MiniLM embedding of its names. Source: Norouzi et al. 2013 (ConSE), arXiv 1312.5650.
"""

import hashlib
import json
import tempfile
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmcli.core.types import EncoderCard, Output, Prepared
from mmcli.data.recipes import ImageRecipe
from mmcli.encoders.cards import finished, narrowed
from mmcli.encoders.catalogue import MINILM_SPACE
from mmcli.encoders.efficientnet import RECIPE, SHA256, MapFeatures, Trunk, preprocessing
from mmcli.encoders.pictures import IMAGE_BATCH, ImageBatch
from mmcli.encoders.specs import EncoderOptions, ResolvedEncoder
from mmcli.encoders.text import MINILM_SHA256, load_minilm
from mmcli.engine.device import Placement
from mmcli.engine.encode import encode_parts
from mmcli.engine.torch_stack import load_torch
from mmcli.store.hashes import cache_directory

#: Chosen on the Tux Paint stamps among 5, 10, 20, all; ConSE's authors use 10 too.
TOP_CLASSES = 10
TEMPERATURE = 1.0
DIM = 384
#: Raised when the way class names become vectors changes, so that old caches are not read.
_RECIPE_VERSION = 1


@dataclass
class ConseEncoder:
    """Probabilities of the trunk's classifier, mixed into the space of the class names."""

    card: EncoderCard
    base: Trunk
    classes: Any
    options: EncoderOptions
    trunk_key: Hashable
    recipe: ImageRecipe = RECIPE
    window: int | None = IMAGE_BATCH
    budget: int = IMAGE_BATCH

    exact = True  # bf16 costs this network too much, see `Trunk`

    @property
    def network(self) -> Any:
        """What can be trained."""
        return self.base.net

    def prepare(self, parts: Sequence[Any]) -> list[Prepared]:
        return self.base.pictures.prepare(parts)

    def collate(self, rows: Sequence[Prepared], length: int) -> ImageBatch:
        return self.base.pictures.collate(rows)

    def trunk(self, batch: ImageBatch) -> MapFeatures:
        return self.base.run(batch)

    def head(
        self, features: MapFeatures, *, sequence: bool = False, layer: int | None = None
    ) -> Output:
        """Sequence: the same mixture at each of the 49 places, as in class activation maps
        (Zhou et al. 2016, arXiv 1512.04150)."""
        last = features.last.float()
        pooled = self._mix(last.mean(dim=(2, 3)))[: features.rows]
        pooled = finished(pooled, self.options.dim, True)
        if not sequence:
            return Output(pooled)
        places = self._mix(last.flatten(2).mT[: features.rows])
        return Output(pooled, [finished(row, None, True) for row in places.unbind(0)])

    def _mix(self, features: Any) -> Any:
        """Features `(..., 1280)` to unnormalised mixtures `(..., 384)`, in float32."""
        torch = load_torch()
        classifier = self.base.net.classifier
        logits = torch.nn.functional.linear(
            features, classifier.weight.float(), classifier.bias.float()
        )
        likely, which = (logits / TEMPERATURE).softmax(-1).topk(TOP_CLASSES)
        return (self.classes[which] * likely.unsqueeze(-1)).sum(-2)


def load(resolved: ResolvedEncoder, options: EncoderOptions, placement: Placement) -> ConseEncoder:
    """The encoder `conse-efficientnet-lite0`; its class vectors are made once and kept."""
    trunk = Trunk(placement, bool(options.layers))
    card = EncoderCard(
        name=resolved.name,
        modality="image",
        dim=DIM,
        normalized=True,
        space=MINILM_SPACE,
        weights_sha256=SHA256,
        preprocessing={
            **preprocessing(),
            "classes": TOP_CLASSES,
            "temperature": TEMPERATURE,
            "class_names": "timm.data.ImageNetInfo",
        },
        sequence_dim=DIM,
        sequence_length=49,
    )
    classes = class_vectors().to(placement.device)
    return ConseEncoder(narrowed(card, options), trunk, classes, options, trunk.key)


def class_names() -> list[str]:
    """The 1,000 ImageNet classes, each with its synonyms between commas."""
    load_torch()
    from timm.data import ImageNetInfo

    info = ImageNetInfo()
    return [info.index_to_description(i) for i in range(1000)]


def class_vectors() -> Any:
    """MiniLM vectors of the classes `(1000, 384)` in float32, from the cache when it holds them.

    A class is the sum of the mean over its synonyms and of all of them read as one text.
    """
    torch = load_torch()
    from safetensors.torch import load_file

    names = class_names()
    told = json.dumps([names, MINILM_SHA256, _RECIPE_VERSION])
    path = cache_directory() / f"conse-{hashlib.sha256(told.encode()).hexdigest()[:16]}.safetensors"
    try:
        held = load_file(path)["classes"]
        if held.shape == (1000, DIM) and held.dtype == torch.float32 and held.isfinite().all():
            return held
    except Exception:  # absent, cut short or unreadable: it is only a cache
        pass
    vectors = _embed_classes(names)
    _keep(path, vectors)
    return vectors


def _embed_classes(names: list[str]) -> Any:
    torch = load_torch()
    resolved = ResolvedEncoder("minilm-l6", "minilm-l6", "text", "package")
    minilm = load_minilm(resolved, EncoderOptions(), Placement("cpu", "float32"))
    synonyms = [[part.strip() for part in name.split(",")] for name in names]
    flat = [part for parts in synonyms for part in parts]
    embedded = encode_parts(minilm, names + flat).pooled
    whole, single = embedded[: len(names)], embedded[len(names) :]
    means = torch.stack([rows.mean(0) for rows in single.split([len(s) for s in synonyms])])
    return torch.nn.functional.normalize(means, dim=-1) + whole


def _keep(path: Path, vectors: Any) -> None:
    """Write the cache whole or not at all; a cache that cannot be written is done without."""
    from safetensors.torch import save

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".tmp-", delete=False) as file:
            file.write(save({"classes": vectors.contiguous()}))
        Path(file.name).replace(path)
    except OSError:
        pass
