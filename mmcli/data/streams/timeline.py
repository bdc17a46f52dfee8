"""What happens in a made recording, and when. Knows neither pixels nor samples.

Ten classes: some are heard, some are seen, and four are told apart by both only. A bell or a horn
sounds while a lamp is lit red or blue; each of the four pairs is a class of its own, so that
whoever only hears, or only sees, can tell two of them from the other two and no more.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random


@dataclass(frozen=True)
class Kind:
    """A class of events: its sound and its picture, "" for none."""

    name: str
    sound: str = ""
    picture: str = ""

    @property
    def group(self) -> str:
        """Which senses it takes: `heard`, `seen` or `both`."""
        return "both" if self.sound and self.picture else "heard" if self.sound else "seen"


KINDS = (
    Kind("chirp", sound="chirp"),
    Kind("knock", sound="knock"),
    Kind("siren", sound="siren"),
    Kind("hiss", sound="hiss"),
    Kind("ball", picture="ball"),
    Kind("wheel", picture="wheel"),
    Kind("fire_alarm", sound="bell", picture="red_lamp"),
    Kind("door_bell", sound="bell", picture="blue_lamp"),
    Kind("train", sound="horn", picture="red_lamp"),
    Kind("tram", sound="horn", picture="blue_lamp"),
)

#: Seconds of a recording, and of an event; between two that must not meet.
DURATION_S = (8.0, 15.0)
LENGTH_S = (0.8, 3.0)
GAP_S = 0.5
#: Events in a recording.
COUNT = (2, 7)
_TRIES = 30


@dataclass(frozen=True)
class Event:
    """Something that happens from `start_s` to `end_s`."""

    kind: Kind
    start_s: float
    end_s: float


@dataclass(frozen=True)
class Timeline:
    """A recording's length and its events, by their start."""

    duration_s: float
    events: tuple[Event, ...]


def draw_timeline(draw: Random) -> Timeline:
    """Events of any classes may overlap, but for those of one class and those that use the lamp.

    Times are whole hundredths of a second.
    """
    duration_s = round(draw.uniform(*DURATION_S), 2)
    events: list[Event] = []
    for _ in range(draw.randint(*COUNT)):
        kind = draw.choice(KINDS)
        for _ in range(_TRIES):
            length_s = draw.uniform(*LENGTH_S)
            start_s = round(draw.uniform(0.0, duration_s - length_s), 2)
            event = Event(kind, start_s, round(start_s + length_s, 2))
            if event.end_s <= duration_s and not any(_clash(event, other) for other in events):
                events.append(event)
                break
    return Timeline(duration_s, tuple(sorted(events, key=lambda e: (e.start_s, e.kind.name))))


def _clash(one: Event, other: Event) -> bool:
    near = one.start_s < other.end_s + GAP_S and other.start_s < one.end_s + GAP_S
    alike = one.kind == other.kind
    return near and (alike or (one.kind.group == "both" and other.kind.group == "both"))


def listed(events: Sequence[Event]) -> list[dict[str, object]]:
    """Events as a row has them."""
    return [
        {"class": event.kind.name, "start_s": event.start_s, "end_s": event.end_s}
        for event in events
    ]
