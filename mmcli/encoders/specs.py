"""How encoders and presets are declared: data that can be listed without loading any of them.

Knows names, licences and sizes; knows nothing about torch, files or batches.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class EncoderSpec:
    """One encoder that has a name of its own.

    loader: `module:function`, called with (resolved, options, placement). modalities: what it can
    encode; most can do one. hub: the model repository it comes from, empty when a package ships it.
    requires: the extra that brings its packages or weights. params_m: parameters in millions.
    size_mb: what is downloaded. languages: as people name them, `any` where words do not matter.
    prompts: put before texts, `query` and `passage`, where the folder names none itself. source:
    the published card or paper that the facts are from. licence_source: where the licence of these
    weights, or of those they were converted from, is stated, when `source` does not.
    """

    name: str
    modalities: tuple[str, ...]
    loader: str
    summary: str
    dim: int | None = None
    space: str | None = None
    licence: str = ""
    source: str = ""
    licence_source: str = ""
    params_m: float = 0.0
    size_mb: float = 0.0
    languages: str = "any"
    requires: str = ""
    hub: str = ""
    columns: tuple[str, ...] = ()
    prompts: Mapping[str, str] = field(default_factory=dict, compare=False)

    @property
    def modality(self) -> str:
        """What it encodes, for people: `image` or `image, text`."""
        return ", ".join(self.modalities)


@dataclass(frozen=True)
class Preset:
    """Encoders that belong together, one a modality; `encoders` maps modality to reference.

    scripts: ISO 15924 codes of what its text encoder can read.
    """

    name: str
    encoders: Mapping[str, str]
    summary: str
    licence: str = ""
    size_mb: float = 0.0
    languages: str = ""
    scripts: tuple[str, ...] = ()
    requires: str = ""


@dataclass(frozen=True)
class EncoderOptions:
    """What a user may change about an encoder.

    layers: inner layers whose pooled states are wanted, from 1. sequence: tokens, patches or
    frames are wanted. max_length: tokens at most (text). prompt: put before every text. dim: keep
    this many leading dimensions (Matryoshka, arXiv 2205.13147). trust_remote_code: run the code of
    a model repository, which must then be pinned to a commit. frames: of a video; None is what the
    model was made for, else eight.
    """

    layers: tuple[int, ...] = ()
    sequence: bool = False
    max_length: int | None = None
    prompt: str = ""
    dim: int | None = None
    trust_remote_code: bool = False
    frames: int | None = None


@dataclass(frozen=True)
class ResolvedEncoder:
    """A reference that has been understood, nothing of it loaded yet.

    name: what a key is called after (`image:NAME`). scheme: `package`, `hf`, `timm` or `local`.
    location: repository, timm name or directory. loader: empty until the repository was looked at.
    """

    reference: str
    name: str
    modality: str
    scheme: str
    location: str = ""
    revision: str | None = None
    loader: str = ""
    requires: str = ""
    spec: EncoderSpec | None = field(default=None, compare=False)
