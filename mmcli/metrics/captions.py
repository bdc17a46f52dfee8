"""How close captions come to what people wrote: CIDEr-D and BLEU-4. Pure numpy; knows no model.

Words are lower case and without punctuation; a Chinese, Japanese or Thai character is a word by
itself, so that no segmenter is needed.
"""

import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Words = tuple[str, ...]
Ngrams = Counter[Words]

#: Longest n-gram of both measures.
MOST_WORDS = 4
#: What CIDEr-D gives at most: a caption that equals each of its references.
CIDER_D_MAX = 10.0
#: Spread of the length penalty, in words (Vedantam et al. 2015, section 4.2).
_SIGMA = 6.0
#: First and last character of the scripts that are written without spaces: Thai and Lao, Myanmar,
#: Khmer, kana, Han and its extensions.
_UNSPACED = (
    *((0x0E00, 0x0EFF), (0x1000, 0x109F), (0x1780, 0x17FF), (0x3040, 0x30FF), (0x3400, 0x4DBF)),
    *((0x4E00, 0x9FFF), (0xF900, 0xFAFF), (0x20000, 0x3FFFF)),
)


def words_of(text: str) -> Words:
    """The words of a caption: `A dog's life.` → a, dog's, life; `一只猫` → 一, 只, 猫."""
    plain = unicodedata.normalize("NFKC", text).casefold().replace("’", "'")
    split = "".join(_spaced(plain, at) for at in range(len(plain)))
    return tuple(split.split())


def _spaced(text: str, at: int) -> str:
    """A character as it stands between words: itself, itself between spaces, or a space."""
    char = text[at]
    if unicodedata.category(char)[0] in "LNM":  # letters, numbers, and the marks of letters
        code = ord(char)
        alone = code > 0x0DFF and any(first <= code <= last for first, last in _UNSPACED)
        return f" {char} " if alone else char
    between = text[at - 1 : at].isalpha() and text[at + 1 : at + 2].isalpha()
    return char if char == "'" and between else " "


def ngrams(words: Words, order: int) -> Ngrams:
    """How often each run of `order` words occurs."""
    return Counter(words[i : i + order] for i in range(len(words) - order + 1))


@dataclass(frozen=True)
class Rarity:
    """In how many pictures' references each n-gram occurs; pictures: how many there are."""

    pictures: int
    counts: Ngrams

    @classmethod
    def of(cls, references: Sequence[Sequence[Words]]) -> "Rarity":
        """Counted over the references of some pictures; an n-gram counts once a picture."""
        counts: Ngrams = Counter()
        for mine in references:
            counts.update(
                {
                    gram
                    for words in mine
                    for order in range(1, MOST_WORDS + 1)
                    for gram in ngrams(words, order)
                }
            )
        return cls(len(references), counts)

    def weight(self, gram: Words) -> float:
        """log(pictures / pictures that have it); one that none has counts as if one had."""
        return float(np.log(max(1, self.pictures)) - np.log(max(1, self.counts[gram])))


def cider_d(
    candidates: Sequence[str],
    references: Sequence[Sequence[str]],
    rarity: Rarity | None = None,
) -> NDArray[np.float64]:
    """CIDEr-D of each caption, `(captions,)`, from 0 to 10; the corpus' score is their mean.

    references: at least one a caption. rarity: of n-grams, by default over these references. A
    caption has 10 when it equals each of its references and these hold an n-gram of every order
    that not every picture has; orders longer than both texts are left out of the mean. Raises
    ValueError where a caption has no reference. Source: Vedantam et al. 2015, arXiv 1411.5726,
    eqs. 1 to 3 and the CIDEr-D of section 4.2 (clipped counts, Gaussian of the lengths, times 10).
    """
    _check(candidates, references)
    words = [[words_of(text) for text in mine] for mine in references]
    rarity = rarity or Rarity.of(words)
    found = np.zeros(len(candidates))
    for row, (candidate, mine) in enumerate(zip(candidates, words, strict=True)):
        said = words_of(candidate)
        found[row] = np.mean([_likeness(said, theirs, rarity) for theirs in mine])
    return CIDER_D_MAX * found


def bleu(
    candidates: Sequence[str], references: Sequence[Sequence[str]], order: int = MOST_WORDS
) -> float:
    """BLEU of the whole corpus, from 0 to 1; captions that each equal a reference have 1.

    Geometric mean of the clipped precisions of 1 to `order` words, times the brevity penalty by
    the reference of the closest length (the shorter one of two). Orders that are longer than every
    caption and every reference are left out. Raises ValueError where a caption has no reference.
    Source: Papineni et al. 2002, "BLEU", eqs. 1 to 3.
    """
    _check(candidates, references)
    matched, counted = np.zeros(order), np.zeros(order)
    possible = np.zeros(order, bool)
    length = closest = 0
    for candidate, mine in zip(candidates, references, strict=True):
        said, theirs = words_of(candidate), [words_of(text) for text in mine]
        length += len(said)
        closest += min((len(words) for words in theirs), key=lambda n: (abs(n - len(said)), n))
        for n in range(1, order + 1):
            own, most = ngrams(said, n), Counter[Words]()
            for words in theirs:
                most |= ngrams(words, n)
            matched[n - 1] += (own & most).total()
            counted[n - 1] += own.total()
            possible[n - 1] |= bool(own) or bool(most)
    used = possible & ((counted > 0) | (length < closest))
    if not length or not used.any() or not matched[used].all():
        return 0.0
    penalty = min(0.0, 1.0 - closest / length)
    return float(np.exp(penalty + np.log(matched[used] / counted[used]).mean()))


def _likeness(said: Words, theirs: Words, rarity: Rarity) -> float:
    """Cosine of the tf-idf vectors, the candidate's clipped to the reference's, over the orders."""
    orders = min(MOST_WORDS, max(len(said), len(theirs)))
    if not orders:
        return 0.0
    total = 0.0
    for order in range(1, orders + 1):
        own, other = ngrams(said, order), ngrams(theirs, order)
        weights = {gram: rarity.weight(gram) for gram in own | other}
        norms = [
            np.sqrt(sum((count * weights[gram]) ** 2 for gram, count in grams.items()))
            for grams in (own, other)
        ]
        if norms[0] and norms[1]:
            shared = sum(
                min(own[gram], count) * count * weights[gram] ** 2 for gram, count in other.items()
            )
            total += float(shared / (norms[0] * norms[1]))
    penalty = np.exp(-((len(said) - len(theirs)) ** 2) / (2 * _SIGMA**2))
    return float(penalty * total / orders)


def _check(candidates: Sequence[str], references: Sequence[Sequence[str]]) -> None:
    if len(candidates) != len(references):
        raise ValueError(f"{len(candidates)} captions, references of {len(references)}")
    if any(not mine for mine in references):
        raise ValueError("a caption has no reference")
