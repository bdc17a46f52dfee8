"""Tiny networks with random weights, one of each kind that encoders have, and how they are run.

`make` gives equal weights each time; `run` calls the network as its encoder does.
"""

import copy
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

from mmcli.encoders.class_token import ClassTokenLayer
from mmcli.encoders.efficientnet import folded
from mmcli.encoders.specs import EncoderOptions
from mmcli.encoders.whisper import WhisperEncoder
from mmcli.engine.torch_stack import load_torch, load_transformers

torch = load_torch()
transformers = load_transformers()

_WIDTH = {
    "hidden_size": 16,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "intermediate_size": 24,
}
_IDS = torch.tensor([[2, 9, 4, 7, 1], [2, 5, 1, 0, 0]])
_MASK = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]])


@dataclass(frozen=True)
class Case:
    """unfit: strategies that do not fit. depth: how many layers it has."""

    make: Callable[[], Any]
    run: Callable[[Any], Any]
    depth: int
    unfit: tuple[str, ...] = ()


def _pictures(side: int) -> Any:
    return torch.randn(2, 3, side, side, generator=torch.Generator().manual_seed(8))


def bert() -> Any:
    config = transformers.BertConfig(vocab_size=12, max_position_embeddings=8, **_WIDTH)
    return transformers.BertModel(config)


def run_bert(network: Any) -> Any:
    return network(input_ids=_IDS, attention_mask=_MASK).last_hidden_state[_MASK.bool()]


def bert_and_dense() -> Any:
    return torch.nn.ModuleList([bert(), torch.nn.Sequential(torch.nn.Linear(16, 5))])


def run_bert_and_dense(network: Any) -> Any:
    return network[1](run_bert(network[0]))


def whisper() -> Any:
    from transformers.models.whisper.modeling_whisper import WhisperEncoder as Network

    config = transformers.WhisperConfig(
        d_model=16,
        num_mel_bins=6,
        encoder_layers=3,
        encoder_attention_heads=2,
        encoder_ffn_dim=24,
        max_source_positions=40,
    )
    return Network(config)


def run_whisper(network: Any) -> Any:
    mel = torch.randn(2, 6, 24, generator=torch.Generator().manual_seed(9))
    encoder = WhisperEncoder(None, network, None, EncoderOptions(), "")  # type: ignore[arg-type]
    return encoder._run(mel)[None]


def _clip() -> Any:
    text = {**_WIDTH, "vocab_size": 12, "max_position_embeddings": 8, "eos_token_id": 1}
    vision = {**_WIDTH, "image_size": 16, "patch_size": 8}
    return transformers.CLIPModel(
        transformers.CLIPConfig(text_config=text, vision_config=vision, projection_dim=6)
    )


def clip_text() -> Any:
    model = _clip()
    model.vision_model = model.visual_projection = None
    return model


def run_clip_text(network: Any) -> Any:
    out = network.text_model(input_ids=_IDS, attention_mask=_MASK)
    return network.text_projection(out.pooler_output)


def clip_vision() -> Any:
    model = _clip()
    model.text_model = model.text_projection = None
    return model


def clip_class_token() -> Any:
    """The last layer computed for the class token alone."""
    model = clip_vision()
    layers = model.vision_model.encoder.layers
    layers[-1] = ClassTokenLayer(layers[-1])
    return model


def run_clip_vision(network: Any) -> Any:
    return network.visual_projection(network.vision_model(pixel_values=_pictures(16)).pooler_output)


def vit() -> Any:
    import timm

    sizes = {"img_size": 16, "patch_size": 8, "embed_dim": 16, "depth": 3, "num_heads": 2}
    return timm.models.VisionTransformer(**sizes, num_classes=0)


def resnet() -> Any:
    import timm

    network = timm.create_model("test_resnet", num_classes=0)
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):  # the last of a block begins with zeros
            torch.nn.init.uniform_(module.weight, 0.5, 1.5)
    return network


def convnext() -> Any:
    import timm

    network = timm.create_model("test_convnext", num_classes=0)
    for name, parameter in network.named_parameters():
        if name.endswith("gamma"):  # blocks begin with next to nothing
            torch.nn.init.uniform_(parameter, 0.5, 1.5)
    return network


def run_timm(network: Any) -> Any:
    last = network.forward_features(_pictures(16 if hasattr(network, "patch_embed") else 32))
    return network.forward_head(last, pre_logits=True)


def efficientnet() -> Any:
    """A narrow EfficientNet-Lite, its batch normalisations folded as the encoder folds them."""
    return folded(efficientnet_with_norms().eval())


def efficientnet_with_norms() -> Any:
    from timm.models.efficientnet import _gen_efficientnet_lite

    network = _gen_efficientnet_lite(
        "tf_efficientnet_lite0", channel_multiplier=0.25, depth_multiplier=0.5
    )
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(std=0.1)
            module.running_var.uniform_(0.5, 1.5)
    network.reset_classifier(0)
    return network


CASES = {
    "bert": Case(bert, run_bert, 3),
    "bert and dense": Case(bert_and_dense, run_bert_and_dense, 3),
    "whisper": Case(whisper, run_whisper, 3),
    "clip text": Case(clip_text, run_clip_text, 3),
    "clip vision": Case(clip_vision, run_clip_vision, 3),
    "clip class token": Case(clip_class_token, run_clip_vision, 3),
    "vit": Case(vit, run_timm, 3),
    "resnet": Case(resnet, run_timm, 4, unfit=("prompts",)),
    "convnext": Case(convnext, run_timm, 4, unfit=("prompts",)),
    "efficientnet": Case(efficientnet, run_timm, 7, unfit=("prompts",)),
}


@cache
def _template(case: Case) -> Any:
    torch.manual_seed(0)
    return case.make().eval()


def fresh(case: Case) -> Any:
    """The network, in evaluation mode, with equal weights each time."""
    return copy.deepcopy(_template(case))


def learn(network: Any, run: Callable[[Any], Any], steps: int = 2, lr: float = 1e-2) -> None:
    """Steps of AdamW on a loss that has no symmetry to hide in."""
    chosen = [p for p in network.parameters() if p.requires_grad]
    if not chosen:
        return
    optimizer = torch.optim.AdamW(chosen, lr=lr, weight_decay=0.01)
    for _ in range(steps):
        optimizer.zero_grad()
        outputs = run(network)
        aim = torch.randn(outputs.shape, generator=torch.Generator().manual_seed(10))
        (outputs - aim).square().sum().backward()
        optimizer.step()
