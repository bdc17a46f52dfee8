"""The vocabulary of scenes, what a scene is, and the caption that describes it completely.

Two scenes show the same if and only if their captions are the same text. Knows nothing about
pixels or chance.
"""

from dataclasses import dataclass, replace

SHAPES = ("circle", "square", "triangle", "star", "cross", "heart")
TEXTURES = ("plain", "striped", "dotted", "checkered")
SIZES = ("small", "large")
COLOURS = {
    "red": (214, 39, 40),
    "orange": (255, 140, 20),
    "yellow": (245, 215, 40),
    "green": (40, 150, 60),
    "blue": (40, 90, 210),
    "purple": (135, 60, 170),
}
#: What an object has beside its place.
ATTRIBUTES = ("colour", "size", "texture", "shape")
#: How the objects of a scene lie: the words between them, and where each is.
RELATIONS = {"row": "to the left of", "column": "above"}
PLACES = {
    ("row", 2): ("left", "right"),
    ("row", 3): ("left", "middle", "right"),
    ("column", 2): ("top", "bottom"),
    ("column", 3): ("top", "middle", "bottom"),
}
#: Grounds behind two or three objects; captions do not mention them.
BACKDROPS = ("flat", "gradient", "clouds")


@dataclass(frozen=True)
class Thing:
    """An object as the words have it."""

    shape: str
    colour: str
    size: str
    texture: str

    def phrase(self) -> str:
        return f"a {self.size} {self.colour} {self.texture} {self.shape}"


@dataclass(frozen=True)
class Ground:
    """A background that the caption names: that of a single object."""

    colour: str
    texture: str

    def phrase(self) -> str:
        return f"on a {self.texture} {self.colour} background"


@dataclass(frozen=True)
class Scene:
    """One to three things, named from left to right or from top to bottom.

    layout: `row` or `column` of two or three, `single` for one, which alone has a ground.
    """

    layout: str
    things: tuple[Thing, ...]
    ground: Ground | None = None

    def caption(self) -> str:
        """Names every thing with all it has, and nothing else."""
        phrases = [thing.phrase() for thing in self.things]
        if self.ground is not None:
            return f"{phrases[0]} {self.ground.phrase()}"
        return f" {RELATIONS[self.layout]} ".join(phrases)

    def places(self) -> tuple[str, ...]:
        """Where each thing is, in words; empty for a single one."""
        return PLACES.get((self.layout, len(self.things)), ())


def bag_of_words(caption: str) -> str:
    """The words of a caption in alphabetical order, each as often as it occurs."""
    return " ".join(sorted(caption.split()))


def swapped(scene: Scene, what: str, first: int, second: int) -> Scene:
    """The scene in which two things, or a thing and its ground, have exchanged something.

    what: an attribute, or `position` for the things themselves. The caption keeps its words.
    """
    things = list(scene.things)
    one = things[first]
    if scene.ground is not None:
        ground = scene.ground
        things[first] = replace(one, **{what: getattr(ground, what)})
        ground = replace(ground, **{what: getattr(one, what)})
        return replace(scene, things=tuple(things), ground=ground)
    other = things[second]
    if what == "position":
        things[first], things[second] = other, one
    else:
        things[first] = replace(one, **{what: getattr(other, what)})
        things[second] = replace(other, **{what: getattr(one, what)})
    return replace(scene, things=tuple(things))
