"""The events that posts are about: a name, a kind of crisis, and the split of all its posts.

Names are made up. The posts of an event mention its place, never with its kind in the name, so in
a new event the name tells nothing.
"""

from dataclasses import dataclass
from functools import lru_cache

from mmcli.data.posts.parts import TYPES

#: How many events of each kind a split has, and its share of the posts.
COUNTS = {"train": 5, "val": 1, "test": 2}
SHARES = {"train": 0.6, "val": 0.15, "test": 0.25}
_PLACES = (
    "Aldermoor", "Brackenford", "Caldwick", "Dunmarrow", "Eskerton", "Farrowdale", "Grimsholt",
    "Haverleigh", "Inchbourne", "Jarrowmere", "Kestrelby", "Larkhollow", "Merrowdene", "Netherby",
    "Oakhanger", "Pendlecote", "Quarrington", "Ravensworth", "Saltmarsh", "Thornaby", "Ullerby",
    "Varleigh", "Wexcombe", "Yarrowby", "Ashgarth", "Birkenshaw", "Coldharbour", "Dovercote",
    "Elmstead", "Fenwick", "Glenharrow", "Holmbury",
)  # fmt: skip


@dataclass(frozen=True)
class Event:
    """kind: of `TYPES`."""

    place: str
    kind: str
    split: str

    @property
    def name(self) -> str:
        return f"{self.place.lower()}_{self.kind}"


@lru_cache(maxsize=8)
def events(split: str) -> tuple[Event, ...]:
    """The events of a split; of each kind equally many."""
    found = []
    for i, place in enumerate(_PLACES):
        kind = TYPES[i % len(TYPES)]
        if _split_of(i // len(TYPES)) == split:
            found.append(Event(place, kind, split))
    return tuple(found)


def _split_of(number: int) -> str:
    for name, count in COUNTS.items():
        if number < count:
            return name
        number -= count
    raise ValueError(number)
