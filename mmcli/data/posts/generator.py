"""The kind `posts`: short posts with a picture, about crises and other things.

The shape of the data is that of CrisisMMD (Alam et al. 2018, arXiv 1805.00713): whether a post is
informative, what it is about, how severe the damage is, and what is needed.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from random import Random
from typing import Any, ClassVar

from mmcli.core.errors import UsageError
from mmcli.data.posts.ceilings import PostTally
from mmcli.data.posts.events import SHARES, events
from mmcli.data.posts.parts import draw_labels, draw_post
from mmcli.data.posts.pictures import draw_picture
from mmcli.data.posts.readme import describe
from mmcli.data.posts.words import write_words
from mmcli.data.synth.kinds import Made, Row
from mmcli.data.synth.writing import block_sizes, write_file

#: Posts made at a time.
BLOCK = 50


@dataclass(frozen=True)
class Posts:
    """n: posts."""

    n: int
    seed: int = 0

    tables: ClassVar[tuple[str, ...]] = ("items",)
    folders: ClassVar[tuple[str, ...]] = ("images",)

    def options(self) -> dict[str, Any]:
        return {"n": self.n, "seed": self.seed}

    def blocks(self) -> Sequence[int]:
        return block_sizes(self.n, BLOCK)

    def check(self) -> None:
        if self.n < 1:
            raise UsageError(f"`-n {self.n}` posts are none", "give 1 or more")

    def make(self, block: int, folder: Path) -> Made:
        rows: list[Row] = []
        files: dict[str, Mapping[str, Any]] = {}
        for number in range(block * BLOCK, min((block + 1) * BLOCK, self.n)):
            draw = Random(f"post {self.seed} {number}")
            (split,) = draw.choices(list(SHARES), list(SHARES.values()))
            event = draw.choice(events(split))
            post = draw_post(event.kind, draw)
            name = f"{number:06d}"
            image = f"images/{name}.png"
            picture = draw_picture(post, Random(f"picture {self.seed} {name}"))
            files[image] = write_file(folder / image, picture)
            labels = asdict(draw_labels(post, draw))
            rows.append(
                {
                    "id": name,
                    "image": image,
                    "text": write_words(post, event.place, draw),
                    **labels,
                    "humanitarian": list(labels["humanitarian"]),
                    "event": event.name,
                    "split": event.split,
                    **asdict(post),
                }
            )
        return Made({"items": rows}, files)

    def tally(self) -> PostTally:
        return PostTally()

    def readme(self, facts: Mapping[str, Any]) -> str:
        return describe(self.options(), facts)
