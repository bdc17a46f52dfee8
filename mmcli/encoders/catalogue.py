"""Every encoder and preset that has a name: one entry each, no code.

A new family is one file beside this one and one entry here, or in `hub_catalogue.py` where its
weights are on the model hub.
"""

from mmcli.encoders.hub_catalogue import HUB_PRESETS, HUB_SPECS
from mmcli.encoders.specs import EncoderSpec, Preset

MINILM_SPACE = "minilm-l6@53aa51172d14"
_HERE = "mmcli.encoders."

SPECS = (
    EncoderSpec(
        name="minilm-l6",
        modalities=("text",),
        loader=_HERE + "text:load_minilm",
        summary="all-MiniLM-L6-v2: English sentences, 256 tokens",
        dim=384,
        space=MINILM_SPACE,
        licence="Apache-2.0",
        source="https://huggingface.co/sentence-transformers/all-MiniLM-L6-v2",
        params_m=22.7,
        size_mb=91,
        languages="English",
        requires="starter",
    ),
    EncoderSpec(
        name="conse-efficientnet-lite0",
        modalities=("image",),
        loader=_HERE + "conse:load",
        summary="EfficientNet-Lite0's ImageNet classes as a mixture of MiniLM's class names",
        dim=384,
        space=MINILM_SPACE,
        licence="Apache-2.0",
        source="https://arxiv.org/abs/1312.5650",
        params_m=4.7,
        size_mb=19,
        requires="starter",
    ),
    EncoderSpec(
        name="efficientnet-lite0",
        modalities=("image",),
        loader=_HERE + "efficientnet:load",
        summary="ImageNet EfficientNet-Lite0: pooled features, and the 7x7 map as sequence",
        dim=1280,
        space="efficientnet-lite0@579344248a93",
        licence="Apache-2.0",
        source="https://arxiv.org/abs/1905.11946",
        params_m=4.7,
        size_mb=19,
        requires="starter",
    ),
    EncoderSpec(
        name="whisper-tiny-en-minilm",
        modalities=("speech",),
        loader=_HERE + "transcript:load",
        summary="Whisper tiny.en writes down what is said, MiniLM embeds it",
        dim=384,
        space=MINILM_SPACE,
        licence="MIT and Apache-2.0",
        source="https://arxiv.org/abs/2212.04356",
        licence_source="https://github.com/openai/whisper/blob/main/README.md",
        params_m=60.4,
        size_mb=168,
        languages="English",
        requires="starter",
        columns=("transcript",),
    ),
    EncoderSpec(
        name="whisper-tiny-en",
        modalities=("speech",),
        loader=_HERE + "whisper:load",
        summary="states of Whisper tiny.en's encoder: mean over the recording, frames as sequence",
        dim=384,
        space="whisper-tiny-en@1a5afae06a4d",
        licence="MIT",
        source="https://arxiv.org/abs/2212.04356",
        licence_source="https://github.com/openai/whisper/blob/main/README.md",
        params_m=7.6,
        size_mb=77,
        languages="English",
        requires="starter",
    ),
    EncoderSpec(
        name="logmel",
        modalities=("speech",),
        loader=_HERE + "spectral:load_logmel",
        summary="log-mel spectrum: mean, deviation and the same of its deltas; frames as sequence",
        dim=320,
        licence="no weights",
        source="https://docs.pytorch.org/audio/stable/transforms.html",
    ),
    EncoderSpec(
        name="mfcc",
        modalities=("speech",),
        loader=_HERE + "spectral:load_mfcc",
        summary="40 MFCC: mean, deviation and the same of their deltas; frames as sequence",
        dim=160,
        licence="no weights",
        source="https://docs.pytorch.org/audio/stable/transforms.html",
    ),
    *HUB_SPECS,
)

PRESET_LIST = (
    Preset(
        name="starter",
        encoders={
            "text": "minilm-l6",
            "image": "conse-efficientnet-lite0",
            "speech": "whisper-tiny-en-minilm",
        },
        summary="works without a model hub: English text, pictures and English speech, one space",
        licence="Apache-2.0 and MIT",
        size_mb=187,
        languages="English",
        scripts=("Latn",),
        requires="starter",
    ),
    *HUB_PRESETS,
)
