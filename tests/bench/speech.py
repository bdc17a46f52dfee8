"""Spoken captions and their pictures before and after alignment: no test voice, no test caption.

Pictures, captions and speech are Tux Paint's stamps; what Debian recorded in English is kept for
testing, and eSpeak NG says every caption: train captions in train voices, test captions in others.
"""

import hashlib
import json
from pathlib import Path
from typing import Any

from tests.bench.material import stamps

Row = dict[str, Any]
TRAIN_VOICES = ("en-us+f3", "en-us+m3", "en-gb-scotland+f2")
TEST_VOICES = ("en-us+f4", "en-029+m4")


def speech(cache: Path) -> list[Row]:
    """hit@k of speech to picture, three modalities, with the paired test of `--against`."""
    from mmcli.align.fitting import AlignOptions
    from mmcli.data.splits import SplitOptions
    from mmcli.workflows.align.data import DataConfig
    from mmcli.workflows.align.train import TrainConfig, train
    from mmcli.workflows.evaluate.retrieval import evaluate_retrieval
    from mmcli.workflows.evaluate.retrieval_config import RetrievalConfig
    from mmcli.workflows.extract.plan import ExtractConfig
    from mmcli.workflows.extract.run import extract

    source = stamps(cache)
    if source is None:
        return [{"what": "speech", "note": "no Tux Paint stamps here"}]
    store = cache / "spoken"
    if not (store / "manifest.json").exists():
        table = _table(source / "usr/share/tuxpaint/stamps", cache / "voices")
        encoders = {"image": ("conse-efficientnet-lite0", "efficientnet-lite0")}
        extract(ExtractConfig(source=str(table), output=str(store), encoders=encoders))
    rows: list[Row] = []
    for method in ("linear", "contrastive"):
        aligner = cache / f"spoken-{method}"
        train(
            TrainConfig(
                str(store),
                str(aligner),
                DataConfig(
                    ("text", "image", "speech"),
                    positive_by="caption",
                    splits=SplitOptions(group_by="caption"),
                ),
                method,
                AlignOptions(),
                force=True,
            )
        )
        report = evaluate_retrieval(
            RetrievalConfig(
                str(store),
                "speech",
                "image",
                aligner=str(aligner),
                against=str(store),
                relevant_by="caption",
            )
        )
        after = report["directions"]["speech-to-image"]
        for k in (1, 10):
            found = after["against"][f"hit@{k}"]
            rows.append({"method": method, "measure": f"speech-to-image hit@{k}",
                         "before": found["other"], "after": after["measures"][f"hit@{k}"]["value"],
                         "gain": found["difference"], "low": found["low"],
                         "high": found["high"], "p": found["p"]})  # fmt: skip
    return rows


def _table(root: Path, folder: Path) -> Path:
    """One row a stamp with its caption spoken; test captions also in Debian's own recordings.

    A fifth of the captions, by sha256, is for testing.
    """
    from mmcli.data.voices import write_speech

    folder.mkdir(parents=True, exist_ok=True)
    lines = []
    for number, picture in enumerate(sorted(root.rglob("*.png"))):
        text = picture.with_suffix(".txt")
        if not text.exists():
            continue
        caption = text.read_text("utf-8").splitlines()[0].strip()
        digest = int(hashlib.sha256(caption.encode()).hexdigest(), 16)
        held = digest % 5 == 0
        voices = TEST_VOICES if held else TRAIN_VOICES
        voice = voices[number % len(voices)]
        spoken = write_speech(caption, folder / f"{number:04d}.wav", voice)
        row = {
            "id": f"{number:04d}",
            "image": str(picture),
            "text": caption,
            "caption": caption,
            "speech": str(spoken),
            "voice": voice,
            "split": "test" if held else "train",
        }
        lines.append(row)
        recording = picture.with_name(f"{picture.stem}_desc.ogg")
        if held and recording.exists():
            said = {"id": f"{number:04d}-recorded", "speech": str(recording), "voice": "recorded"}
            lines.append({**row, **said})
    table = folder / "spoken.jsonl"
    table.write_text("".join(json.dumps(line) + "\n" for line in lines), "utf-8")
    return table
