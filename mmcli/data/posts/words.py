"""Writes the words of a post: when, what, what is lost, who needs what, a place and a mention.

Every part has several phrases of the same meaning. Knows nothing about pictures or labels.
"""

from random import Random

from mmcli.data.posts.parts import NEEDS, VAGUE, Post

_NOW = ("Right now:", "Live from here:", "Just now, today:", "Happening this minute:",
        "As I write this:", "At this very moment:", "Breaking news:")  # fmt: skip
_NOT_NOW = ("Ten years ago:", "From the old archive:", "This is only a drill:",
            "A scene from a film:", "An old photo:", "In the history museum:",
            "Remembering the past:")  # fmt: skip
_NAMED = {
    "flood": ("the river has burst its banks", "flood water in our streets", "we are flooded",
              "the water keeps rising", "the flood in our town", "everything is under water"),
    "fire": ("the forest is on fire", "flames behind our street", "a wildfire near the houses",
             "the fire in our town", "smoke and flames everywhere", "the hills are burning"),
    "earthquake": ("the earth shook", "a strong earthquake", "the quake in our town",
                   "tremors shook the street", "the ground split open", "aftershocks again"),
    "storm": ("the storm in our town", "a hurricane over the coast", "a tornado in our street",
              "strong winds and lightning", "the cyclone is here", "gale force winds"),
}  # fmt: skip
_VAGUE = ("this is our street", "the view from my window", "see the picture", "look at this",
          "how it looks here", "what we can see here")  # fmt: skip
_LOST = (
    ("Nothing is broken.", "No damage at all.", "All buildings are fine.", "No losses.",
     "Everything is intact."),
    ("Some windows are broken.", "A few roof tiles came off.", "Slight damage to a fence.",
     "Minor damage to a garage.", "A little damage to the roof."),
    ("Whole houses are gone.", "Homes are completely destroyed.", "Buildings have collapsed.",
     "Nothing is left of the town.", "Total destruction."),
)  # fmt: skip
_NEEDS = {
    NEEDS[0]: ("Everybody is well.", "", "We are all safe.", "", "Nobody needs anything."),
    NEEDS[1]: ("Several people are hurt.", "Two neighbours are in hospital.", "Many injured.",
               "A man is bleeding.", "People are wounded."),
    NEEDS[2]: ("Rescue crews are at work.", "Volunteers bring families out.",
               "Rescuers search for people.", "Helpers evacuate families.",
               "Rescue teams have arrived."),
}  # fmt: skip
_ASIDE = ("#news", "#photo", "#today", "#town", "#share")
_MENTIONS = ("@localnews", "@cityhall", "@radio5", "@neighbours", "@mayor")
#: How often a post has the place of its event, another hashtag, a mention.
_WITH_PLACE, _WITH_ASIDE, _WITH_MENTION = 0.7, 0.3, 0.3


def write_words(post: Post, place: str, draw: Random) -> str:
    """The text of a post."""
    when = draw.choice(_NOW if post.now else _NOT_NOW)
    topic = draw.choice(_VAGUE if post.says == VAGUE else _NAMED[post.says])
    details = [draw.choice(_LOST[post.lost]), draw.choice(_NEEDS[post.needs])]
    draw.shuffle(details)
    words = [f"{when} {topic}.", *(detail for detail in details if detail)]
    if draw.random() < _WITH_PLACE:
        words.insert(draw.choice((0, len(words))), f"#{place}")
    if draw.random() < _WITH_ASIDE:
        words.append(draw.choice(_ASIDE))
    if draw.random() < _WITH_MENTION:
        words.insert(draw.choice((0, len(words))), draw.choice(_MENTIONS))
    return " ".join(words)
