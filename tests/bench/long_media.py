"""A ten-minute recording and a two-minute film: is the known moment found, where, in what time?"""

import time
from pathlib import Path
from typing import Any

from tests.long_media import PHRASE, Moment, photographs, talk, tour

Row = dict[str, Any]
#: Asked in other words than those said.
QUESTIONS = (PHRASE, "who feeds the cats at the lighthouse?", "cats get their food from a keeper")
SCENES = {
    "coffee.png": "a cup of coffee",
    "chelsea.png": "a kitten",
    "rocket.jpg": "a rocket before its launch",
    "astronaut.png": "an astronaut",
    "motorcycle_left.png": "a motorcycle",
}


def long_media(cache: Path) -> list[Row]:
    """One row a question: the segment that came first, and how far the right one was down."""
    folder = cache / "long"
    said = talk(folder / "talk" / "talk.ogg", 600, 397)
    names = photographs()
    each_s = 120 / len(names)
    shown = tour(folder / "tour" / "tour.mp4", names, each_s, rate=25, codec="libx264", every=250)
    rows = _search(folder, "talk", "speech", dict.fromkeys(QUESTIONS, said))
    asked = {words: shown[name] for name, words in SCENES.items() if name in shown}
    return rows + _search(folder, "tour", "video", asked)


def _search(folder: Path, name: str, key: str, asked: dict[str, Moment]) -> list[Row]:
    from mmcli.workflows.extract.plan import ExtractConfig
    from mmcli.workflows.extract.run import extract
    from mmcli.workflows.index.build import IndexConfig, build_index
    from mmcli.workflows.queries.file import Query, QueryPart
    from mmcli.workflows.search.run import SearchConfig, search

    store, index = str(folder / f"{name}-store"), str(folder / f"{name}-index")
    began = time.perf_counter()
    report = extract(
        ExtractConfig(str(folder / name), store, window=("10s",), hop=("5s",), force=True)
    )
    took = time.perf_counter() - began
    build_index(IndexConfig(store, index, (key,), force=True))
    rows = []
    for words, moment in asked.items():
        query = Query(words, (QueryPart("text", words),))
        found = search(SearchConfig(index, (query,), k=20)).rows
        least = 0.5 * min(moment.end_s - moment.start_s, 10.0)
        right = [
            row["rank"] for row in found if moment.overlap_s(row["start_s"], row["end_s"]) >= least
        ]
        best = found[0]
        rows.append(
            {
                "file": name,
                "asked": words,
                "is_at_s": f"{moment.start_s:.1f}-{moment.end_s:.1f}",
                "found_at_s": f"{best['start_s']:.0f}-{best['end_s']:.0f}",
                "rank": min(right, default=0),
                "segments": report["items"],
                "extract_s": round(took, 1),
                "decode_s": report["seconds"]["decode"],
            }
        )
    return rows
