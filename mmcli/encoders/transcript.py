"""Speech in MiniLM's space: Whisper tiny.en writes down what is said, MiniLM embeds it.

CTranslate2 recognises (beam search, temperature 0, English); what was heard is kept as
`transcript`. A recording in which no words were heard has an empty transcript and a vector of
zeros.
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from mmcli.core.errors import MissingResource
from mmcli.core.types import Output, Prepared
from mmcli.data.recipes import AudioRecipe, Waveform
from mmcli.encoders.sound import RATE_HZ, RECIPE, at_16_khz
from mmcli.encoders.specs import EncoderOptions, ResolvedEncoder
from mmcli.encoders.text import TOKEN_BUDGET, TextEncoder, TextFeatures, load_minilm
from mmcli.encoders.whisper import SHA256, SPEECH_WINDOW, model_file
from mmcli.engine.device import Placement
from mmcli.engine.torch_stack import load_torch

#: Hypotheses kept while decoding, as faster-whisper has it.
BEAMS = 5
#: Silence put before a recording. Whisper mishears a word that starts at once: on the 65 English
#: recordings of Tux Paint this takes hit@1 from 0.29 to 0.32, hit@10 from 0.43 to 0.49.
LEAD_IN_S = 1.0


@dataclass(frozen=True)
class Heard:
    """A transcript and its tokens."""

    transcript: str
    tokens: Any


@dataclass(frozen=True)
class HeardFeatures:
    """The text tower's features beside the transcripts."""

    text: TextFeatures
    transcripts: list[str]


@dataclass
class TranscriptEncoder:
    """Recognises in `prepare`, so that rows are batched by the length of what was said."""

    card: Any
    recogniser: Any
    text: TextEncoder
    trunk_key: Hashable
    recipe: AudioRecipe = RECIPE
    window: int | None = SPEECH_WINDOW
    budget: int = TOKEN_BUDGET

    def prepare(self, parts: Sequence[Waveform]) -> list[Prepared]:
        transcripts = [self.transcribe(at_16_khz(part)) for part in parts]
        return [
            replace(row, data=Heard(transcript, row.data))
            for transcript, row in zip(transcripts, self.text.prepare(transcripts), strict=True)
        ]

    def transcribe(self, samples: np.ndarray) -> str:
        """The words in 16 kHz samples, one line; empty where there are none."""
        silence = np.zeros(int(LEAD_IN_S * RATE_HZ), np.float32)
        segments, _ = self.recogniser.transcribe(
            np.concatenate([silence, samples]),
            language="en",
            beam_size=BEAMS,
            temperature=0.0,
            condition_on_previous_text=False,
            without_timestamps=True,
        )
        return " ".join("".join(segment.text for segment in segments).split())

    def collate(self, rows: Sequence[Prepared], length: int) -> tuple[Any, list[str]]:
        tokens = [replace(row, data=row.data.tokens) for row in rows]
        return self.text.collate(tokens, length), [row.data.transcript for row in rows]

    def trunk(self, batch: tuple[Any, list[str]]) -> HeardFeatures:
        return HeardFeatures(self.text.trunk(batch[0]), batch[1])

    def head(
        self, features: HeardFeatures, *, sequence: bool = False, layer: int | None = None
    ) -> Output:
        """Sequence: the states of the transcript's tokens."""
        torch = load_torch()
        output = self.text.head(features.text, sequence=sequence, layer=layer)
        heard = torch.tensor([bool(t) for t in features.transcripts], device=output.pooled.device)
        pooled = output.pooled * heard.unsqueeze(1)
        return Output(pooled, output.sequence, {"transcript": list(features.transcripts)})


def load(
    resolved: ResolvedEncoder, options: EncoderOptions, placement: Placement
) -> TranscriptEncoder:
    """The encoder `whisper-tiny-en-minilm`."""
    try:
        from faster_whisper import WhisperModel
    except ImportError as error:
        raise MissingResource(
            "package `faster-whisper` is not installed", "pip install 'mmcli[starter]'"
        ) from error
    text = load_minilm(resolved, options, placement)
    recogniser = WhisperModel(
        str(model_file().parent),
        device="cpu",
        compute_type="float32",
        cpu_threads=load_torch().get_num_threads(),
        local_files_only=True,
    )
    card = replace(
        text.card,
        name=resolved.name,
        modality="speech",
        weights_sha256=SHA256,
        preprocessing={
            "rate_hz": RATE_HZ,
            "lead_in_s": LEAD_IN_S,
            "beams": BEAMS,
            "compute_type": "float32",
            "text_encoder_sha256": text.card.weights_sha256,
            **text.card.preprocessing,
        },
        columns=("transcript",),
        scripts=(),
    )
    return TranscriptEncoder(card, recogniser, text, (SHA256, "transcript", text.trunk_key))
