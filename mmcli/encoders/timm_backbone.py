"""Any timm backbone: `timm:NAME` from the hub, or a folder that timm saved.

The folder's config.json names the architecture and the preprocessing; weights are read by us, from
safetensors where there are any. Pooled features before the classifier; patches or map as sequence.
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mmcli.core.errors import BadInput, MissingResource, UsageError
from mmcli.core.registry import suggestion
from mmcli.core.types import EncoderCard, Output, Prepared
from mmcli.data.recipes import Fit, ImageRecipe
from mmcli.encoders.cards import finished, narrowed, space_of
from mmcli.encoders.hub import Folder, config_of, fetch
from mmcli.encoders.pictures import IMAGE_BATCH, ImageBatch, Pictures
from mmcli.encoders.specs import EncoderOptions, ResolvedEncoder
from mmcli.encoders.weights import folder_sha256, read_state, settle, weight_files
from mmcli.engine.device import Placement
from mmcli.engine.torch_stack import load_torch

#: timm's crop modes in the words of a decoding recipe.
_FITS: dict[str, Fit] = {"center": "crop", "squash": "squash"}
#: What config.json says beside the architecture's own arguments.
_SETTINGS = ("num_classes", "global_pool")
#: Arguments of timm.create_model that fetch or open other files.
_NOT_FROM_A_FILE = frozenset(
    ("pretrained", "pretrained_cfg", "pretrained_cfg_overlay", "checkpoint_path", "cache_dir")
)


@dataclass(frozen=True)
class BackboneFeatures:
    """Unpooled features of the last block and of the layers asked for."""

    last: Any
    layers: tuple[Any, ...]
    rows: int


@dataclass
class TimmEncoder:
    """timm's forward_features, and its own pooling before the classifier."""

    card: EncoderCard
    net: Any
    pictures: Pictures
    recipe: ImageRecipe
    trunk_key: Hashable
    options: EncoderOptions
    window: int | None = IMAGE_BATCH
    budget: int = IMAGE_BATCH

    @property
    def network(self) -> Any:
        """What can be trained."""
        return self.net

    def prepare(self, parts: Sequence[Any]) -> list[Prepared]:
        return self.pictures.prepare(parts)

    def collate(self, rows: Sequence[Prepared], length: int) -> ImageBatch:
        return self.pictures.collate(rows)

    def trunk(self, batch: ImageBatch) -> BackboneFeatures:
        if not self.options.layers:
            return BackboneFeatures(self.net.forward_features(batch.pixels), (), batch.rows)
        indices = [layer - 1 for layer in self.options.layers]
        last, layers = self.net.forward_intermediates(batch.pixels, indices=indices)
        return BackboneFeatures(last, tuple(layers), batch.rows)

    def head(
        self, features: BackboneFeatures, *, sequence: bool = False, layer: int | None = None
    ) -> Output:
        """A layer's vector is the mean of its map `(rows, dim, height, width)`."""
        if layer is None:
            pooled = self.net.forward_head(features.last, pre_logits=True)
            pooled = finished(pooled[: features.rows], self.options.dim, False)
            tokens = self._tokens(features.last) if sequence else None
        else:
            assert features.layers, "load the encoder with options.layers"
            map_ = features.layers[self.options.layers.index(layer)].float()
            pooled = map_.mean(dim=(2, 3))[: features.rows]
            tokens = map_.flatten(2).transpose(1, 2)
        if not sequence or tokens is None:
            return Output(pooled)
        return Output(pooled, list(tokens[: features.rows].float().unbind(0)))

    def _tokens(self, last: Any) -> Any:
        """Features as `(rows, places, dim)`, class and register tokens left out."""
        if last.ndim == 3:
            return last[:, getattr(self.net, "num_prefix_tokens", 0) :]
        if last.ndim != 4:
            raise UsageError(f"`{self.card.name}` has no map", "leave out `--sequence`")
        if getattr(self.net, "output_fmt", "NCHW") == "NHWC":
            return last.flatten(1, 2)
        return last.flatten(2).transpose(1, 2)


def load(resolved: ResolvedEncoder, options: EncoderOptions, placement: Placement) -> TimmEncoder:
    """A backbone by timm's name, from a repository, or from a folder."""
    found = _folder(resolved)
    net, settings = build(found.path)
    net = settle(net, placement, channels_last=True)
    sha256 = folder_sha256(weight_files(found.path)[:1])
    recipe = recipe_of(settings, found.path)
    dim, places = _measure(net, recipe, placement)
    card = EncoderCard(
        name=resolved.name,
        modality="image",
        dim=dim,
        normalized=False,
        space=space_of(str(settings["architecture"]), sha256),
        weights_sha256=sha256,
        revision=found.revision,
        preprocessing={
            **vars(recipe),
            "mean": list(settings["mean"]),
            "std": list(settings["std"]),
        },
        sequence_dim=int(net.num_features) if places else None,
        sequence_length=places,
        layers=len(getattr(net, "feature_info", None) or ())
        if hasattr(net, "forward_intermediates")
        else 0,
        layer_shapes=layer_shapes(net, recipe.height, recipe.width),
    )
    return TimmEncoder(
        card=narrowed(card, options),
        net=net,
        pictures=Pictures(settings["mean"], settings["std"], placement),
        recipe=recipe,
        trunk_key=(sha256, placement, options.layers),
        options=options,
    )


def layer_shapes(net: Any, height: int, width: int) -> tuple[tuple[int, int], ...]:
    """Places and channels of each stage's map, as timm's `feature_info` has them."""
    stages = getattr(net, "feature_info", None) or ()
    return tuple(
        ((height // s["reduction"]) * (width // s["reduction"]), int(s["num_chs"])) for s in stages
    )


def build(folder: Path) -> tuple[Any, dict[str, Any]]:
    """The network of a timm folder without its classifier, and its data settings.

    Raises BadInput when the architecture is unknown or the weights do not fit it.
    """
    load_torch()
    import timm

    config = config_of(folder, "config.json")
    told = {**config, **config.get("pretrained_cfg", {})}
    architecture = str(config.get("architecture") or told.get("architecture", ""))
    if not timm.is_model(architecture):
        raise BadInput(
            f"`{folder}/config.json`: timm has no architecture `{architecture}`",
            suggestion(architecture, timm.list_models()),
        )
    settings = {k: config[k] for k in _SETTINGS if config.get(k) is not None}
    asked = config.get("model_args", {})
    settings |= {k: v for k, v in asked.items() if k not in _NOT_FROM_A_FILE}
    try:
        net = timm.create_model(architecture, pretrained=False, **settings)
    except (RuntimeError, TypeError, ValueError) as error:
        raise BadInput(
            f"`{folder}/config.json`: timm cannot make `{architecture}` of it",
            "get the model again",
        ) from error
    path = weight_files(folder)[0]
    try:
        net.load_state_dict(read_state(path))
    except RuntimeError as error:
        raise BadInput(f"`{path}` does not fit `{architecture}`", "get the model again") from error
    net.reset_classifier(0)
    given = {k: v for k, v in told.items() if v is not None}
    return net, {**timm.data.resolve_data_config(given, model=net), "architecture": architecture}


def recipe_of(settings: dict[str, Any], folder: Path) -> ImageRecipe:
    """timm's evaluation preprocessing: the shorter side to size / crop_pct, the centre cut out."""
    channels, height, width = settings["input_size"]
    mode = settings.get("crop_mode") or "center"
    if channels != 3 or mode not in _FITS:
        raise BadInput(
            f"`{folder}/config.json`: crop mode `{mode}` of {channels} channels is not supported",
            "colour pictures with crop mode center or squash are",
        )
    resize = int(min(height, width) / settings.get("crop_pct", 1.0))
    fit = _FITS[mode]
    filter_ = settings.get("interpolation", "bicubic")
    if filter_ == "random":
        filter_ = "bilinear"
    return ImageRecipe(height, width, fit, resize if fit == "crop" else None, filter_)


def _folder(resolved: ResolvedEncoder) -> Folder:
    if resolved.scheme != "timm":
        return fetch(resolved)
    if "/" in resolved.location:
        return fetch(replace(resolved, scheme="hf"))
    load_torch()
    import timm

    if not timm.is_model(resolved.location):
        raise UsageError(
            f"timm has no model named `{resolved.location}`",
            suggestion(resolved.location, timm.list_models(pretrained=True)),
        )
    config = timm.get_pretrained_cfg(resolved.location)
    repository = str(getattr(config, "hf_hub_id", None) or "")
    if not repository:
        raise MissingResource(
            f"`{resolved.reference}` has no weights on the hub",
            "`timm.list_models(pretrained=True)` names those that have",
        )
    if repository.endswith("/"):
        repository += config.architecture + (f".{config.tag}" if config.tag else "")
    return fetch(replace(resolved, scheme="hf"), repository)


def _measure(net: Any, recipe: ImageRecipe, placement: Placement) -> tuple[int, int | None]:
    """Pooled width and number of places, by running one black picture."""
    torch = load_torch()
    dtype = getattr(torch, placement.dtype)
    black = torch.zeros((1, 3, recipe.height, recipe.width), dtype=dtype, device=placement.device)
    with torch.inference_mode():
        last = net.forward_features(black)
        dim = int(net.forward_head(last, pre_logits=True).shape[1])
    if last.ndim == 3:
        return dim, int(last.shape[1]) - int(getattr(net, "num_prefix_tokens", 0))
    if last.ndim == 4:
        nhwc = getattr(net, "output_fmt", "NCHW") == "NHWC"
        height, width = last.shape[1:3] if nhwc else last.shape[2:4]
        return dim, int(height * width)
    return dim, None
