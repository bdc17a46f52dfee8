"""The families of generative vision-language models, as data: classes by name, prompts, parts.

A family is one entry here and, where it talks in a way of its own, one file beside it. Listing them
imports nothing heavy. Knows no weights.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial

from mmcli.core.errors import BadInput, UsageError
from mmcli.core.registry import Registry

TASKS = ("vqa", "caption")
#: Where the question stands in a prompt.
QUESTION = "{question}"


@dataclass(frozen=True)
class Family:
    """One family.

    model_types: as config.json has them. classes: of transformers, the first one where config.json
    names none of them. dialect: `module:function` of (family, class name, processor, config, task,
    prompt) that turns examples into tokens. chat: it speaks by its processor's chat template.
    prompts: by task; of a chat family, what the user says. vision, connector, language: names of
    the modules that see, that lead from there to the words, and that hold the layers of the words;
    a connector may lie inside the vision tower. one_size: every picture takes the same number of
    tokens. hub: a checkpoint to begin with.
    """

    name: str
    model_types: tuple[str, ...]
    classes: tuple[str, ...]
    dialect: str
    vision: tuple[str, ...]
    language: tuple[str, ...]
    hub: str
    licence: str
    paper: str
    chat: bool = False
    connector: tuple[str, ...] = ()
    prompts: Mapping[str, str] = field(default_factory=dict)
    one_size: bool = False

    def prompt(self, task: str) -> str:
        """What is asked in a task."""
        return self.prompts[task]


_HERE = "mmcli.tasks.generative"
_CHAT = {"vqa": QUESTION, "caption": "Describe the picture in one sentence."}
_qwen = partial(
    Family,
    dialect=f"{_HERE}.chat:speak",
    chat=True,
    prompts=_CHAT,
    vision=("model.visual",),
    language=("model.language_model",),
    licence="Apache-2.0",
)

FAMILIES: Registry[Family] = Registry(
    "generative family",
    (
        Family(
            name="blip",
            model_types=("blip",),
            classes=("BlipForConditionalGeneration", "BlipForQuestionAnswering"),
            dialect=f"{_HERE}.blip:speak",
            vision=("vision_model",),
            language=("text_encoder", "text_decoder"),
            # the paper's prompt of captions, section 5.2; questions go in as they are
            prompts={"vqa": QUESTION, "caption": "a picture of"},
            one_size=True,
            hub="Salesforce/blip-vqa-base",
            licence="BSD-3-Clause",
            paper="Li et al. 2022, arXiv 2201.12086",
        ),
        Family(
            name="blip-2",
            model_types=("blip-2",),
            classes=("Blip2ForConditionalGeneration",),
            dialect=f"{_HERE}.blip2:speak",
            vision=("vision_model",),
            connector=("qformer", "query_tokens", "language_projection"),
            language=("language_model",),
            # sections 4.1 and 4.2 of the paper
            prompts={"vqa": f"Question: {QUESTION} Answer:", "caption": "a photo of"},
            one_size=True,
            hub="Salesforce/blip2-opt-2.7b",
            licence="MIT",
            paper="Li et al. 2023, arXiv 2301.12597",
        ),
        Family(
            name="florence-2",
            model_types=("florence2",),
            classes=("Florence2ForConditionalGeneration",),
            dialect=f"{_HERE}.florence2:speak",
            vision=("model.vision_tower",),
            connector=("model.multi_modal_projector",),
            language=("model.language_model",),
            # what its processor writes for <CAPTION>; <VQA> is a word of ours, it has no such task
            prompts={"vqa": f"<VQA>{QUESTION}", "caption": "What does the image describe?"},
            one_size=True,
            hub="florence-community/Florence-2-base",
            licence="MIT",
            paper="Xiao et al. 2023, arXiv 2311.06242",
        ),
        _qwen(
            name="qwen2-vl",
            model_types=("qwen2_vl",),
            classes=("Qwen2VLForConditionalGeneration",),
            connector=("model.visual.merger",),
            hub="Qwen/Qwen2-VL-2B-Instruct",
            paper="Wang et al. 2024, arXiv 2409.12191",
        ),
        _qwen(
            name="qwen2.5-vl",
            model_types=("qwen2_5_vl",),
            classes=("Qwen2_5_VLForConditionalGeneration",),
            connector=("model.visual.merger",),
            hub="Qwen/Qwen2.5-VL-7B-Instruct",
            paper="Bai et al. 2025, arXiv 2502.13923",
        ),
        _qwen(
            name="qwen3-vl",
            model_types=("qwen3_vl",),
            classes=("Qwen3VLForConditionalGeneration",),
            connector=("model.visual.merger", "model.visual.deepstack_merger_list"),
            hub="Qwen/Qwen3-VL-2B-Instruct",
            paper="Bai et al. 2025, arXiv 2511.21631",
        ),
        Family(
            name="smolvlm",
            model_types=("smolvlm", "idefics3"),
            classes=("SmolVLMForConditionalGeneration", "Idefics3ForConditionalGeneration"),
            dialect=f"{_HERE}.chat:speak",
            chat=True,
            prompts=_CHAT,
            vision=("model.vision_model",),
            connector=("model.connector",),
            language=("model.text_model",),
            hub="HuggingFaceTB/SmolVLM2-256M-Video-Instruct",
            licence="Apache-2.0",
            paper="Marafioti et al. 2025, arXiv 2504.05299",
        ),
        Family(
            name="llava",
            model_types=("llava",),
            classes=("LlavaForConditionalGeneration",),
            dialect=f"{_HERE}.chat:speak",
            chat=True,
            prompts=_CHAT,
            vision=("model.vision_tower",),
            connector=("model.multi_modal_projector",),
            language=("model.language_model",),
            hub="llava-hf/llava-1.5-7b-hf",
            licence="Llama 2 Community",
            paper="Liu et al. 2023, arXiv 2310.03744",
        ),
        Family(
            name="paligemma",
            model_types=("paligemma",),
            classes=("PaliGemmaForConditionalGeneration",),
            dialect=f"{_HERE}.paligemma:speak",
            vision=("model.vision_tower",),
            connector=("model.multi_modal_projector",),
            language=("model.language_model",),
            # the task prefixes of its pre-training
            prompts={"vqa": f"answer en {QUESTION}", "caption": "caption en"},
            one_size=True,
            hub="google/paligemma2-3b-pt-224",
            licence="Gemma",
            paper="Beyer et al. 2024, arXiv 2407.07726; Steiner et al. 2024, arXiv 2412.03555",
        ),
    ),
)
#: Where a task needs a generative model and none is named: the smallest one with a free licence.
DEFAULT_MODEL = "hf:HuggingFaceTB/SmolVLM2-256M-Video-Instruct"


def family_of(config: Mapping[str, object], reference: str) -> tuple[Family, str]:
    """The family of a config.json, and the transformers class to load it with.

    Raises UsageError for a model of no family, BadInput for one that needs code of its own.
    """
    model_type = str(config.get("model_type", ""))
    family = next((one for one in FAMILIES if model_type in one.model_types), None)
    if family is None:
        raise UsageError(
            f"`{reference}`: models of type `{model_type or '?'}` do not write text from pictures",
            f"these families do: {', '.join(FAMILIES.names())}",
        )
    if "auto_map" in config:
        raise BadInput(
            f"`{reference}` needs code of its own, which is never run",
            f"transformers' own layout of the same family: `hf:{family.hub}`",
        )
    named = config.get("architectures")
    first = str(named[0]) if isinstance(named, list) and named else ""
    if first and first not in family.classes:
        raise UsageError(
            f"`{reference}` is a {first}, which writes no answers",
            f"of this family: {', '.join(family.classes)}",
        )
    return family, first or family.classes[0]
