"""What the picture and the words of a post tell, what follows from both, and how likely it all is.

A picture shows a kind of crisis, a house, or something unrelated, and how much is broken. Words
name the crisis or point at the picture, say whether it is now, what is lost and who needs what.
What is true of a post follows from the two by fixed rules; a known share of labels is wrong. Every
chance is known, so the best possible scores can be counted (`ceilings.py`). Knows nothing about
sentences or pixels.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from random import Random

TYPES = ("flood", "fire", "earthquake", "storm")
NONE = "none"
HOUSE, UNRELATED = "house", "unrelated"
#: Words that name no crisis, only point at the picture.
VAGUE = "vague"
DAMAGES = ("none", "mild", "severe")
NEEDS = ("nobody", "injured_people", "rescue")

#: The single labels with their classes, and the set of labels with its members.
CLASSES = {
    "informative": ("no", "yes"),
    "event_type": (*TYPES, NONE),
    "damage": DAMAGES,
}
HUMANITARIAN = ("infrastructure_damage", "injured_people", "rescue")
#: How often a single label is another one of its classes, and a member of the set is turned over.
LABEL_NOISE = 0.04
MEMBER_NOISE = 0.03

#: Shares of posts: both name the crisis; the picture alone; the words alone; neither.
BOTH, PICTURE, WORDS, NEITHER = 0.24, 0.25, 0.25, 0.26
NOW = 0.65
#: Where the words alone name it, the picture is a house that often, else something unrelated.
HOUSE_BESIDE_WORDS = 0.6
#: Where neither does, it is a whole house that often.
HOUSE_OF_NEITHER = 0.4
BROKEN = (0.3, 0.35, 0.35)
LOST = (0.4, 0.3, 0.3)
NEEDED = (0.5, 0.25, 0.25)


@dataclass(frozen=True)
class Post:
    """What a post shows and says.

    shows: a type, `house` or `unrelated`. broken: 0 to 2, how much of it. says: a type or `vague`.
    now: whether it goes on while it is written. lost: 0 to 2. needs: one of `NEEDS`.
    """

    shows: str
    broken: int
    says: str
    now: bool
    lost: int
    needs: str

    def event_type(self) -> str:
        """What is shown, else what is named and goes on; a past one that is not shown is none."""
        if self.shows in TYPES:
            return self.shows
        return self.says if self.says in TYPES and self.now else NONE

    def informative(self) -> bool:
        """Whether a crisis goes on and the post tells of it."""
        return self.now and self.event_type() != NONE

    def damage(self) -> int:
        """The worse of what is shown and what is said, 0 to 2."""
        return max(self.broken, self.lost)

    def humanitarian(self) -> tuple[str, ...]:
        """What goes on: damage that can be seen, and a need that is told."""
        if not self.now:
            return ()
        found = (HUMANITARIAN[0],) if self.broken else ()
        return found if self.needs == NEEDS[0] else (*found, self.needs)


@dataclass(frozen=True)
class Labels:
    """What the annotators say of a post, now and then wrongly."""

    informative: str
    event_type: str
    damage: str
    humanitarian: tuple[str, ...]


def draw_post(kind: str, draw: Random) -> Post:
    """A post of an event of that type."""
    return _rest(draw.choices(*zip(*_topics(kind), strict=True))[0], draw)


def _rest(topic: tuple[str, str], draw: Random) -> Post:
    shows, says = topic
    broken = draw.choices(range(3), _breaking(shows, says))[0]
    now = draw.random() < NOW
    lost = draw.choices(range(3), LOST)[0]
    return Post(shows, broken, says, now, lost, draw.choices(NEEDS, NEEDED)[0])


def draw_labels(post: Post, draw: Random) -> Labels:
    """What is true, or with the chance of noise something else."""
    truth = {
        "informative": "yes" if post.informative() else "no",
        "event_type": post.event_type(),
        "damage": DAMAGES[post.damage()],
    }
    for name, classes in CLASSES.items():
        if draw.random() < LABEL_NOISE:
            truth[name] = draw.choice([one for one in classes if one != truth[name]])
    told = post.humanitarian()
    members = tuple(one for one in HUMANITARIAN if (one in told) != (draw.random() < MEMBER_NOISE))
    return Labels(**truth, humanitarian=members)


def every_post() -> Iterator[tuple[float, Post]]:
    """Every post that can be, with its chance; all types of event are equally likely."""
    chances: dict[tuple[str, str], float] = {}
    for kind in TYPES:
        for topic, share in _topics(kind):
            chances[topic] = chances.get(topic, 0) + share / len(TYPES)
    for (shows, says), share in chances.items():
        for broken, how_broken in enumerate(_breaking(shows, says)):
            for now, how_now in ((True, NOW), (False, 1 - NOW)):
                for lost, how_lost in enumerate(LOST):
                    for needs, how_needed in zip(NEEDS, NEEDED, strict=True):
                        chance = share * how_broken * how_now * how_lost * how_needed
                        if chance:
                            yield chance, Post(shows, broken, says, now, lost, needs)


def _topics(kind: str) -> list[tuple[tuple[str, str], float]]:
    """What picture and words of a post of such an event can be, with chances."""
    return [
        ((kind, kind), BOTH),
        ((kind, VAGUE), PICTURE),
        ((HOUSE, kind), WORDS * HOUSE_BESIDE_WORDS),
        ((UNRELATED, kind), WORDS * (1 - HOUSE_BESIDE_WORDS)),
        ((HOUSE, VAGUE), NEITHER * HOUSE_OF_NEITHER),
        ((UNRELATED, VAGUE), NEITHER * (1 - HOUSE_OF_NEITHER)),
    ]


def _breaking(shows: str, says: str) -> tuple[float, ...]:
    whole = shows == UNRELATED or (shows == HOUSE and says == VAGUE)
    return (1.0, 0.0, 0.0) if whole else BROKEN
