"""From token states to one vector a text, as sentence-transformers folders describe it.

Knows `modules.json` and the few modules that text encoders use; knows no transformer.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mmcli.core.errors import BadInput
from mmcli.encoders.families import read_json
from mmcli.encoders.hub import config_of
from mmcli.encoders.weights import read_state, weight_files
from mmcli.engine.torch_stack import load_torch

_MODES = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "lasttoken",
}


@dataclass
class TextRecipeOfFolder:
    """What a sentence-transformers folder says beside its transformer.

    modes: how states are pooled, several are concatenated. dense: torch modules applied after.
    """

    transformer: Path
    modes: tuple[str, ...] = ("mean",)
    dense: list[Any] = field(default_factory=list)
    dense_files: list[Path] = field(default_factory=list)
    normalize: bool = False
    max_length: int | None = None
    lower_case: bool = False
    prompts: dict[str, str] = field(default_factory=dict)
    default_prompt: str = ""


def read_recipe(folder: Path) -> TextRecipeOfFolder:
    """The recipe of a folder; mean pooling without normalisation where there is no modules.json.

    Raises BadInput for a module that is not known.
    """
    recipe = TextRecipeOfFolder(folder)
    if not (folder / "modules.json").is_file():
        return recipe
    for module in sorted(read_json(folder / "modules.json"), key=lambda m: m["idx"]):
        kind = str(module["type"]).rpartition(".")[2]
        place = folder / str(module.get("path", ""))
        if not place.resolve().is_relative_to(folder.resolve()):
            raise BadInput(
                f"`{folder}/modules.json` points outside its folder", "get the model again"
            )
        if kind == "Transformer":
            recipe.transformer = place
        elif kind == "Pooling":
            recipe.modes = _modes(config_of(place, "config.json"), place)
        elif kind == "Dense":
            recipe.dense.append(_dense(place))
            recipe.dense_files += weight_files(place)
        elif kind == "Normalize":
            recipe.normalize = True
        elif kind != "Dropout":
            raise BadInput(
                f"`{folder}/modules.json`: module `{kind}` is not supported",
                "Transformer, Pooling, Dense, Normalize and Dropout are",
            )
    settings = config_of(recipe.transformer, "sentence_bert_config.json")
    recipe.max_length = settings.get("max_seq_length")
    recipe.lower_case = bool(settings.get("do_lower_case", False))
    names = config_of(folder, "config_sentence_transformers.json")
    recipe.prompts = {k: str(v) for k, v in (names.get("prompts") or {}).items()}
    recipe.default_prompt = recipe.prompts.get(names.get("default_prompt_name") or "", "")
    return recipe


def pool(states: Any, mask: Any, modes: Sequence[str]) -> Any:
    """Token states `(batch, length, dim)` and mask `(batch, length)` to `(batch, dim x modes)`.

    Computed in float32 whatever the states are. Padding is on the right.
    """
    torch = load_torch()
    states = states.float()
    keep = mask.to(states.dtype).unsqueeze(-1)
    return torch.cat([_pool_one(torch, states, keep, mode) for mode in modes], dim=-1)


def _pool_one(torch: Any, states: Any, keep: Any, mode: str) -> Any:
    if mode == "cls":
        return states[:, 0]
    if mode == "max":
        return states.masked_fill(keep == 0, float("-inf")).amax(dim=1)
    if mode == "lasttoken":
        last = keep.sum(dim=1).long().clamp(min=1) - 1
        return states.gather(1, last.unsqueeze(-1).expand(-1, -1, states.shape[-1])).squeeze(1)
    if mode == "weightedmean":
        places = torch.arange(1, states.shape[1] + 1, device=states.device, dtype=states.dtype)
        keep = keep * places.view(1, -1, 1)
    count = keep.sum(dim=1).clamp(min=1e-9)
    return (states * keep).sum(dim=1) / (count.sqrt() if mode == "mean_sqrt_len_tokens" else count)


def _modes(config: dict[str, Any], place: Path) -> tuple[str, ...]:
    named = config.get("pooling_mode")
    if named is not None:
        modes = (named,) if isinstance(named, str) else tuple(named)
    else:
        modes = tuple(mode for key, mode in _MODES.items() if config.get(key)) or ("mean",)
    unknown = [mode for mode in modes if mode not in _MODES.values()]
    if unknown:
        raise BadInput(
            f"`{place}/config.json`: pooling `{unknown[0]}` is not known",
            "known: " + ", ".join(_MODES.values()),
        )
    return modes


def _dense(place: Path) -> Any:
    """A linear layer and its activation, which must be one of torch.nn's."""
    torch = load_torch()
    config = config_of(place, "config.json")
    if config.get("use_residual"):
        raise BadInput(
            f"`{place}/config.json`: a residual Dense layer is not supported yet",
            "choose a model without one",
        )
    linear = torch.nn.Linear(
        config["in_features"], config["out_features"], bias=config.get("bias", True)
    )
    state = read_state(weight_files(place)[0])
    linear.load_state_dict({k.removeprefix("linear."): v for k, v in state.items()})
    path = str(config.get("activation_function", "torch.nn.modules.activation.Tanh"))
    name = path.rpartition(".")[2]
    activation = getattr(torch.nn, name, None)
    if not path.startswith("torch.nn.modules.") or activation is None:
        raise BadInput(
            f"`{place}/config.json`: activation `{path}` is not one of torch.nn",
            "choose a model with one of those",
        )
    return torch.nn.Sequential(linear, activation())
