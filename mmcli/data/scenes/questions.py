"""Questions about a pair of scenes, the same ones asked of both, and what is true of each.

The partners have the same words bound differently, so the question alone says little: every
yes-no question is answered once by yes and once by no. Knows words only, no pixels.
"""

from dataclasses import dataclass
from random import Random

from mmcli.data.scenes.pairs import CYCLE, Pair
from mmcli.data.scenes.words import ATTRIBUTES, Scene

#: Five strata each of two and of three things, two of single ones: as many of each are counted.
_STRATA_OF_SEVERAL = 5
_STRATA_COUNTED = 2


@dataclass(frozen=True)
class Question:
    """A question about the one thing of which `key` is `value`, about the ground, or the number.

    kind: `yes-no`, `colour`, `shape`, `position` or `count`. asked: the attribute wanted, or
    `place`. guess: what a yes-no question proposes.
    """

    kind: str
    text: str
    key: str = ""
    value: str = ""
    asked: str = ""
    guess: str = ""

    def answer(self, scene: Scene) -> str:
        """What is true of the scene. Raises ValueError unless exactly one thing is meant."""
        if self.kind == "count":
            return str(len(scene.things))
        if self.key == "ground":
            found = str(getattr(scene.ground, self.asked))
        else:
            slots = range(len(scene.things))
            (slot,) = (s for s in slots if _value(scene, s, self.key) == self.value)
            found = _value(scene, slot, self.asked)
        if self.kind == "yes-no":
            return "yes" if found == self.guess else "no"
        return found


def ask(pair: Pair, draw: Random) -> list[Question]:
    """The questions of a pair, at most one of each type; both scenes answer each."""
    found = [_yes_no(pair, draw)]
    for asked, kind in (("colour", "colour"), ("shape", "shape"), ("place", "position")):
        thing = _reference(pair.first, draw, asked)
        if thing is None:
            continue
        key, value = thing
        name = f"the {value}" if key == "shape" else f"the {value} object"
        if not value:
            name = "the object"
        text = f"where is {name}?" if asked == "place" else f"what {asked} is {name}?"
        found.append(Question(kind, text, key, value, asked))
    if _is_counted(pair.number):
        found.append(Question("count", "how many objects are there?"))
    return found


def _value(scene: Scene, slot: int, key: str) -> str:
    """A thing's attribute, or where it is; a single thing is at no place, ""."""
    if key == "place":
        return scene.places()[slot] if scene.places() else ""
    return str(getattr(scene.things[slot], key))


def _yes_no(pair: Pair, draw: Random) -> Question:
    """Of something that the partners have exchanged, so that one says yes and the other no."""
    slot = draw.choice(pair.slots)
    one, other = pair.first.things[slot], pair.second.things[slot]
    differing = [name for name in ATTRIBUTES if getattr(one, name) != getattr(other, name)]
    asked = draw.choice(differing)
    guess = str(getattr(draw.choice((one, other)), asked))
    said = f"a {guess}" if asked == "shape" else guess
    if pair.first.ground is not None and draw.random() < 0.5:
        return Question("yes-no", f"is the background {said}?", "ground", "", asked, guess)
    place = _value(pair.first, slot, "place")
    name = f"the {place} object" if place else "the object"
    return Question("yes-no", f"is {name} {said}?", "place", place, asked, guess)


def _reference(scene: Scene, draw: Random, asked: str) -> tuple[str, str] | None:
    """An attribute and value that one thing alone has, other than what is asked.

    The partner has the same values of every attribute, so there too it means one thing. None when
    nothing tells a thing from the others, or a single one is asked for its place.
    """
    count = len(scene.things)
    if count == 1:
        return None if asked == "place" else ("place", "")
    found = []
    for key in (*ATTRIBUTES, "place"):
        values = [_value(scene, slot, key) for slot in range(count)]
        found += [(key, value) for value in values if key != asked and values.count(value) == 1]
    return draw.choice(found) if found else None


def _is_counted(number: int) -> bool:
    """As many pairs of one, of two and of three things, in every full cycle of strata."""
    cycle, stratum = divmod(number, len(CYCLE))
    if CYCLE[stratum][0] == 1:
        return True
    return (stratum + cycle) % _STRATA_OF_SEVERAL < _STRATA_COUNTED
