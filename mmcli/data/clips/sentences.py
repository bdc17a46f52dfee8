"""What is said in a clip: a neutral frame about a topic, and a phrase of graded polarity.

A sentence belongs to one split, by a hash of its text, so no sentence of one split is in another.
The grades are this module's own; no rated lexicon was read. Knows nothing about voices.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from random import Random

#: Shares of the splits, by row; sentences are dealt alike.
SHARES = {"train": 0.6, "val": 0.15, "test": 0.25}


@dataclass(frozen=True)
class Language:
    """phrases: by level from -3 to 3. voices: eSpeak NG's language without a variant."""

    frames: Sequence[str]
    topics: Sequence[str]
    phrases: Mapping[int, Sequence[str]]


ENGLISH = Language(
    frames=(
        "The {topic} was {phrase}.",
        "I thought the {topic} was {phrase}.",
        "So the {topic} turned out {phrase}.",
        "They told us the {topic} was {phrase}.",
        "The {topic} is {phrase} this time.",
        "You know the {topic} was {phrase} today.",
        "I found the {topic} {phrase}.",
        "This time the {topic} was {phrase}.",
        "Looking back the {topic} was {phrase}.",
        "The {topic} last week was {phrase}.",
        "To me the {topic} seems {phrase}.",
        "She says the {topic} is {phrase}.",
    ),
    topics=(
        "film", "meal", "weather", "concert", "room", "service", "coffee", "trip", "party", "book",
        "game", "garden", "lesson", "soup", "music", "holiday", "evening", "meeting", "show",
        "hotel", "speech", "picture", "walk", "plan",
    ),
    phrases={
        -3: ("awful", "terrible", "horrible", "dreadful", "disgusting", "appalling"),
        -2: ("bad", "unpleasant", "nasty", "annoying", "really poor", "quite bad"),
        -1: ("a bit dull", "rather weak", "slightly disappointing", "not quite right",
             "somewhat boring", "a little tiresome"),
        0: ("as usual", "the same as before", "average", "ordinary", "like all the others",
            "neither good nor bad"),
        1: ("all right", "decent", "okay", "fairly nice", "good enough", "not bad"),
        2: ("good", "pleasant", "enjoyable", "really nice", "lovely", "quite good"),
        3: ("wonderful", "fantastic", "marvellous", "brilliant", "superb", "absolutely perfect"),
    },
)  # fmt: skip

CHINESE = Language(
    frames=(
        "这次的{topic}{phrase}。",
        "我觉得{topic}{phrase}。",
        "昨天的{topic}{phrase}。",
        "他们说{topic}{phrase}。",
        "今天的{topic}{phrase}。",
        "说起来,{topic}{phrase}。",
        "对我来说{topic}{phrase}。",
        "上周的{topic}{phrase}。",
        "回头看,{topic}{phrase}。",
        "她说那里的{topic}{phrase}。",
    ),
    topics=(
        "电影", "晚饭", "天气", "音乐会", "房间", "服务", "咖啡", "旅行", "聚会", "课程",
        "比赛", "花园", "会议", "音乐", "假期", "节目", "酒店", "演讲", "活动", "安排",
    ),
    phrases={
        -3: ("糟糕透了", "可怕极了", "让人恶心", "烂透了", "差劲极了", "让人痛恨"),
        -2: ("很差", "很不好", "很讨厌", "让人生气", "很糟糕", "让人难受"),
        -1: ("有点无聊", "不太好", "有些让人失望", "差了一点", "有点没意思", "稍微有点乏味"),
        0: ("和平时一样", "很一般", "跟以前一样", "和别的差不多", "很普通", "没有什么变化"),
        1: ("还可以", "还不错", "还算好", "还行", "够好了", "比较好"),
        2: ("很好", "很不错", "让人愉快", "让人喜欢", "很舒服", "挺好的"),
        3: ("棒极了", "完美无缺", "太精彩了", "好极了", "特别出色", "让人惊喜万分"),
    },
)  # fmt: skip

LANGUAGES = {"en": ENGLISH, "zh": CHINESE}


def draw_sentence(language: str, level: int, split: str, draw: Random) -> str:
    """A sentence of that level, one of those that belong to the split."""
    words = LANGUAGES[language]
    while True:
        frame, topic = draw.choice(words.frames), draw.choice(words.topics)
        text = frame.format(topic=topic, phrase=draw.choice(words.phrases[level]))
        if split_of(text) == split:
            return text


def split_of(sentence: str) -> str:
    """The split of a sentence, by a hash of its text."""
    place = int.from_bytes(hashlib.sha256(sentence.encode()).digest()[:8]) / 2**64
    return split_at(place)


def split_at(place: float) -> str:
    """The split that covers this place between 0 and 1."""
    for name, share in SHARES.items():
        if place < share:
            return name
        place -= share
    return list(SHARES)[-1]
