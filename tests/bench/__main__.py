"""Measures what the project promises and prints one table: `python -m tests.bench [PART …]`.

Parts: startup, search, stamps, images, texts, memory, crashes, broken, evaluation, alignment,
speech, dual, scenes, auto_index, on_disk, fusion, planted, sentiment, strategies, cached,
precisions, two_stages, real_events, real_reviews, real_vqa, living, kills, filters, long_media; all
by default. Files are kept in `MMCLI_BENCH_DIR` (default: a folder in the system's temporary
directory) between runs.
"""

import os
import sys
import tempfile
from pathlib import Path

from mmcli.cli.output import Sink


def main() -> None:
    """Run the parts named on the command line."""
    from tests.bench import (
        alignment,
        commands,
        dual,
        evaluation,
        finetune,
        fusion,
        index,
        living,
        long_media,
        real_events,
        real_reviews,
        real_vqa,
        scenes,
        speech,
        speed,
        two_stages,
    )

    parts = {
        "startup": commands.startup,
        "search": commands.search,
        "stamps": commands.stamp_search,
        "images": speed.images,
        "texts": speed.texts,
        "memory": commands.memory,
        "crashes": commands.crashes,
        "broken": commands.broken,
        "evaluation": evaluation.evaluation,
        "alignment": alignment.alignment,
        "speech": speech.speech,
        "dual": dual.dual,
        "scenes": scenes.scenes,
        "auto_index": index.auto_index,
        "on_disk": index.on_disk,
        "fusion": fusion.fusion,
        "planted": fusion.planted,
        "sentiment": finetune.sentiment,
        "strategies": finetune.strategies,
        "cached": finetune.cached,
        "precisions": finetune.precisions,
        "two_stages": two_stages.two_stages,
        "real_events": real_events.real_events,
        "real_vqa": real_vqa.real_vqa,
        "living": living.living,
        "kills": living.kills,
        "filters": living.filters,
        "real_reviews": real_reviews.real_reviews,
        "long_media": long_media.long_media,
    }
    names = sys.argv[1:] or list(parts)
    default = Path(tempfile.gettempdir()) / "mmcli-bench"
    cache = Path(os.environ.get("MMCLI_BENCH_DIR", default))
    cache.mkdir(parents=True, exist_ok=True)
    for name in names:
        rows = parts[name](cache)
        Sink().rows([{k: _rounded(v) for k, v in row.items()} for row in rows], "table")
        print(flush=True)


def _rounded(value: object) -> object:
    return f"{value:.4g}" if isinstance(value, float) else value


if __name__ == "__main__":
    main()
