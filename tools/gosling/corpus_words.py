# SPDX-License-Identifier: Apache-2.0
"""The words and numbers of Gosling's world, and the split of contents.

Standard library only. Everything is a function of a `random.Random`.
"""

from zlib import crc32

TRAINING, HELD_OUT = "training", "held-out"

COMMON_WORDS = """
apple amber autumn bird blue bread bridge bright candle castle cherry cloud copper dark door dragon
eagle earth echo engine evening feather fire fish flower forest garden gold goose gosling green
happy harbor hello honey horse house ice island juice jungle key kite kitten lake lamp lantern leaf
lemon letter light lion little maple melon mirror moon morning mountain night north oak ocean
orange paper pear pencil pepper plum pocket purple quiet rabbit rain red river road rocket rose
round salt sand school sea server shadow silver skein sky small snow song south spring star stone
storm stream sugar summer sun table tiger tower tree turtle violet water white wind window winter
wolf wood word world yellow young zebra
""".split()
CONSONANTS = "bcdfghjklmnpqrstvwxyz"
VOWELS = "aeiou"
LETTERS = "abcdefghijklmnopqrstuvwxyz"
SYLLABLES = [c + v for c in CONSONANTS for v in VOWELS] + [
    c + v + d for c in CONSONANTS for v in VOWELS for d in "nrstl"
]

# Accented Latin, Greek, Cyrillic, kana, Han, Hangul, faces.
_SCRIPTS = (
    (0xE0, 0xFF),
    (0x3B1, 0x3C9),
    (0x430, 0x44F),
    (0x3042, 0x3093),
    (0x4E00, 0x9FA5),
    (0xAC00, 0xD7A3),
    (0x1F600, 0x1F64F),
)


def held_out(task, content):
    """Whether training must not draw this content of this task."""
    return crc32(f"{task}|{content}".encode()) % 10 == 0


def random_word(rng, shortest, longest):
    """A lower-case word: random letters, syllables, or a common word."""
    count = rng.randint(shortest, longest)
    kind = rng.random()
    if kind < 0.42:
        return "".join(rng.choices(LETTERS, k=count))
    if kind < 0.5:  # few different letters: repeats are the hard case of copying
        return "".join(rng.choices(rng.sample(LETTERS, 3), k=count))
    if kind < 0.85:
        return "".join(rng.choices(SYLLABLES, k=(count + 1) // 2))[:count]
    word = rng.choice(COMMON_WORDS)
    return word if shortest <= len(word) <= longest else "".join(rng.choices(LETTERS, k=count))


def maybe_capital(rng, word):
    kind = rng.random()
    if kind < 0.9:
        return word
    return word.capitalize() if kind < 0.98 else word.upper()


def random_number(rng, highest):
    """0..highest; half of the draws choose the number of digits first, so that short ones occur."""
    if rng.random() < 0.5:
        return rng.randint(0, highest)
    return rng.randint(0, min(highest, 10 ** rng.randint(1, 3) - 1))


def odd_word(rng):
    """A word with punctuation, a number, printable ASCII, or letters of another script."""
    kind = rng.random()
    if kind < 0.3:
        return maybe_capital(rng, random_word(rng, 1, 8)) + rng.choice(".,!?;:")
    if kind < 0.5:
        return str(rng.randint(0, 99999))
    if kind < 0.7:
        return "".join(chr(rng.randint(33, 126)) for _ in range(rng.randint(1, 8)))
    first, last = rng.choice(_SCRIPTS)
    return "".join(chr(rng.randint(first, last)) for _ in range(rng.randint(1, 4)))


def draw(rng, split, task, content_of):
    """Draws until the content belongs to the split. Tiny contents always belong to training."""
    while True:
        content, answer, tiny = content_of(rng)
        out = not tiny and held_out(task, content)
        if out == (split == HELD_OUT):
            return content, answer
