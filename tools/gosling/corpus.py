# SPDX-License-Identifier: Apache-2.0
"""Gosling's world: conversations with exactly one right answer to every message.

Standard library only. Everything is a function of a `random.Random`, so a seed gives one corpus.
About a tenth of all contents (chosen by a hash of task and content) is held out: training never
draws it, evaluation draws nothing else. See MODEL_CARD.md for the tasks and their bounds.
"""

import json
from typing import NamedTuple
from zlib import crc32

from vocabulary import encode

TRAINING, HELD_OUT = "training", "held-out"

TASKS = (
    "echo",
    "reverse",
    "sort",
    "arithmetic",
    "uppercase",
    "letters",
    "keys",
    "names",
    "json",
    "questions",
)

# Measured besides, without a promised share: echo of any text, a key or a name that was never told,
# and requests outside the tasks.
EXTRA_TASKS = ("any text", "unknown", "fallback")

# Fixed questions; the whole user message has to match.
QUESTIONS = {
    "What are you?": "I am Gosling, the small RWKV-7 model built into Skein.",
    "Who are you?": "I am Gosling, the small RWKV-7 model built into Skein.",
    "What is your name?": "My name is Gosling.",
    "What can you do?": "I can echo, reverse, sort, add, subtract, count letters, "
    "write capitals and JSON, and remember keys and names.",
    "Help": "Try: Echo: blue kite",
    "Hello": "Hello.",
    "Hi": "Hello.",
    "Good morning": "Good morning.",
    "How are you?": "I am well, thank you.",
    "Thank you": "You are welcome.",
    "Goodbye": "Goodbye.",
    "Are you a person?": "No, I am a small language model.",
    "How large are you?": "I have 3.6 million parameters.",
    "What is Skein?": "Skein is an inference server for RWKV-7 models.",
    "What is RWKV-7?": "RWKV-7 is a recurrent language model with a state of fixed size.",
    "What is a skein?": "A skein is a flock of geese in flight.",
    "What is a gosling?": "A gosling is a young goose.",
    "Who made you?": "The scripts in tools/gosling made me.",
}
FALLBACK = "I am small and only know the tasks in my model card."
UNKNOWN = "I do not know."  # a key or a name that was never told
NOTED = "Noted."

_ECHO = ("Echo: {}", "echo: {}", "Repeat: {}", "Say: {}", "Repeat after me: {}")

# The first phrasing is canonical and dominant.
PHRASINGS = {
    "echo": _ECHO,
    "any text": _ECHO,
    "reverse": (
        "Reverse the word: {}",
        "Reverse: {}",
        "reverse the word: {}",
        "Spell {} backwards.",
        'Reverse the word "{}".',
    ),
    "sort": ("Sort: {}", "sort: {}", "Sort these numbers: {}", "Sort the numbers {}."),
    "arithmetic": (
        "What is {}?",
        "what is {}?",
        "What is {}",
        "What's {}?",
        "How much is {}?",
        "Compute {}.",
        "{}=",
        "{}",
    ),
    "uppercase": (
        "Uppercase: {}",
        "uppercase: {}",
        "Write {} in capitals.",
        "Put {} in upper case.",
    ),
    "letters": (
        'How many letters are in "{}"?',
        "How many letters are in {}?",
        'how many letters are in "{}"?',
        'Count the letters in "{}".',
        "How many letters does {} have?",
    ),
    "keys": (
        "Remember: the key of door {} is {}.",
        "Remember that the key of door {} is {}.",
        "The key of door {} is {}.",
    ),
    "keys?": (
        "What is the key of door {}?",
        "what is the key of door {}?",
        "Tell me the key of door {}.",
        "Which key opens door {}?",
    ),
    "names": ("My name is {}.", "my name is {}.", "Call me {}.", "My name is {}"),
    "names?": ("What is my name?", "what is my name?", "Tell me my name.", "Who am I?"),
    "json": ("JSON: {}", "json: {}", "Make JSON: {}", "Write as JSON: {}"),
}
CANONICAL_SHARE = 0.75

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
JSON_KEYS = "name age city color size id count price kind level year team code unit x y".split()
CONSONANTS = "bcdfghjklmnpqrstvwxyz"
VOWELS = "aeiou"
LETTERS = "abcdefghijklmnopqrstuvwxyz"
SYLLABLES = [c + v for c in CONSONANTS for v in VOWELS] + [
    c + v + d for c in CONSONANTS for v in VOWELS for d in "nrstl"
]

FALLBACK_FRAMES = (
    "Who wrote {}?",
    "What is the capital of {}?",
    "Tell me a story about a {}.",
    "Tell me a joke.",
    "Translate {} to French.",
    "Where is {}?",
    "Why is the {} {}?",
    "Can you {} the {}?",
    "Write a poem about {}.",
    "What is {}?",
    "What is the {}?",
    "What does {} mean?",
    "Explain {}.",
    "How do I {} a {}?",
    "Please {} my {}.",
    "I like {} and {}.",
    "The {} is {}.",
    "When was {} born?",
    "Give me three {} names.",
    "Do you like {}?",
    "{}",
    "{} {}",
    "{} {} {}",
    "{} {} {} {}.",
    "{}?",
    "Write code for a {}.",
    "Summarize the {} of {}.",
    "Which {} is the best?",
    "Is {} a {}?",
    "How old is {}?",
)
SYSTEM_FRAMES = (
    "You are a helpful assistant.",
    "You are a {} assistant.",
    "Be brief.",
    "Answer in {} words.",
    "You are {}.",
    "{} {} {}.",
    "Always be {} and {}.",
    "You like {}.",
)


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


class Turn(NamedTuple):
    task: str
    user: str
    answer: str


def held_out(task, content):
    """Whether training must not draw this content of this task."""
    return crc32(f"{task}|{content}".encode()) % 10 == 0


# ---------------------------------------------------------------------------------------------
# Contents
# ---------------------------------------------------------------------------------------------


def _word(rng, shortest, longest):
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


def _maybe_capital(rng, word):
    kind = rng.random()
    if kind < 0.9:
        return word
    return word.capitalize() if kind < 0.98 else word.upper()


def _number(rng, highest):
    """0..highest; half of the draws choose the number of digits first, so that short ones occur."""
    if rng.random() < 0.5:
        return rng.randint(0, highest)
    return rng.randint(0, min(highest, 10 ** rng.randint(1, 3) - 1))


def _echo(rng):
    words = [_maybe_capital(rng, _word(rng, 1, 8)) for _ in range(rng.randint(1, 4))]
    if rng.random() < 0.05:
        words = [words[0]] * len(words)
    text = " ".join(words)
    return text, text, len(text) <= 2


def _any_word(rng):
    kind = rng.random()
    if kind < 0.3:
        return _maybe_capital(rng, _word(rng, 1, 8)) + rng.choice(".,!?;:")
    if kind < 0.5:
        return str(rng.randint(0, 99999))
    if kind < 0.7:
        return "".join(chr(rng.randint(33, 126)) for _ in range(rng.randint(1, 8)))
    first, last = rng.choice(_SCRIPTS)
    return "".join(chr(rng.randint(first, last)) for _ in range(rng.randint(1, 4)))


def _any_text(rng):
    words = [
        _any_word(rng) if rng.random() < 0.6 else _word(rng, 1, 8)
        for _ in range(rng.randint(1, 4))
    ]
    text = " ".join(words)
    return text, text, len(text) <= 2


def _reverse(rng):
    word = _maybe_capital(rng, _word(rng, 3, 8))
    return word, word[::-1], False


def _sort(rng):
    highest = 99 if rng.random() < 0.9 else 9
    numbers = [rng.randint(0, highest) for _ in range(rng.randint(2, 6))]
    return " ".join(map(str, numbers)), " ".join(map(str, sorted(numbers))), False


def _arithmetic(rng):
    a, b = _number(rng, 999), _number(rng, 999)
    small = a < 20 and b < 20
    if rng.random() < 0.5:
        return f"{a}+{b}", str(a + b), small
    a, b = max(a, b), min(a, b)
    return f"{a}-{b}", str(a - b), small


def _uppercase(rng):
    word = _maybe_capital(rng, _word(rng, 1, 10))
    return word, word.upper(), len(word) <= 2


def _letters(rng):
    word = _maybe_capital(rng, _word(rng, 1, 12))
    return word, str(len(word)), len(word) <= 2


def _json(rng):
    pairs = {}
    for _ in range(rng.randint(1, 4)):
        key = rng.choice(JSON_KEYS) if rng.random() < 0.3 else _word(rng, 1, 8)
        value = _number(rng, 999) if rng.random() < 0.5 else _maybe_capital(rng, _word(rng, 1, 8))
        if isinstance(value, str) and rng.random() < 0.2:
            value = value.capitalize()
        pairs[key] = value
    content = ", ".join(f"{key}={value}" for key, value in pairs.items())
    return content, json.dumps(pairs, separators=(",", ":")), False


_STATELESS = {
    "echo": _echo,
    "any text": _any_text,
    "reverse": _reverse,
    "sort": _sort,
    "arithmetic": _arithmetic,
    "uppercase": _uppercase,
    "letters": _letters,
    "json": _json,
}


def _draw(rng, split, task, content_of):
    """Draws until the content belongs to the split. Tiny contents always belong to training."""
    while True:
        content, answer, tiny = content_of(rng)
        out = not tiny and held_out(task, content)
        if out == (split == HELD_OUT):
            return content, answer


def _phrase(rng, task):
    phrasings = PHRASINGS[task]
    if rng.random() < CANONICAL_SHARE:
        return phrasings[0]
    return rng.choice(phrasings[1:])


_KNOWN_TEXTS = {text.lower().rstrip(".?!") for text in (*QUESTIONS, *PHRASINGS["names?"])}


def _is_known(text):
    """Whether a text has another answer than the fallback."""
    plain = text.lower().rstrip(".?!")
    return plain in _KNOWN_TEXTS or plain.startswith(("my name is", "call me"))


def _sum_out_of_bounds(rng):
    """Other operations, negative results, and numbers above 999."""
    a, b = rng.randint(1, 999), rng.randint(1, 999)
    kind = rng.randrange(4)
    if kind == 0:
        text = f"{a}{rng.choice('*/x')}{b}"
    elif kind == 1:
        text = f"{min(a, b)}-{max(a, b) + 1}"
    elif kind == 2:
        text = f"{a + 999}+{b}"
    else:
        text = f"{a}+{b + 999}"
    return PHRASINGS["arithmetic"][0].format(text)


def _fallback_text(rng):
    kind = rng.random()
    if kind < 0.01:
        return ""
    if kind < 0.15:
        return _sum_out_of_bounds(rng)
    if kind < 0.2:
        return " ".join(_word(rng, 1, 9) for _ in range(rng.randint(5, 30))) + "."
    while True:
        frame = rng.choice(FALLBACK_FRAMES)
        words = [_maybe_capital(rng, _word(rng, 2, 9)) for _ in range(frame.count("{}"))]
        text = frame.format(*words)
        if rng.random() < 0.15:
            text = text[:1].lower() + text[1:]
        if not _is_known(text):
            return text


# ---------------------------------------------------------------------------------------------
# Conversations
# ---------------------------------------------------------------------------------------------


class Conversation:
    """A growing conversation and what it was told: up to 3 keys and one name."""

    def __init__(self, rng, split):
        self.rng = rng
        self.split = split
        self.keys = {}
        self.name = None
        self.system = None
        self.turns = []
        if rng.random() < 0.1:
            frame = rng.choice(SYSTEM_FRAMES)
            self.system = frame.format(*(_word(rng, 2, 8) for _ in range(frame.count("{}"))))

    def add(self, turn):
        self.turns.append(turn)
        return turn

    def stateless(self, task):
        content, answer = _draw(self.rng, self.split, task, _STATELESS[task])
        form = _phrase(self.rng, task)
        if task == "sort" and self.rng.random() < 0.1:
            content = content.replace(" ", ", ")
        if task == "arithmetic" and self.rng.random() < 0.1:
            content = content.replace("+", " + ").replace("-", " - ")
        return self.add(Turn(task, form.format(content), answer))

    def tell_key(self):
        rng = self.rng
        if len(self.keys) == 3 or (self.keys and rng.random() < 0.1):
            door = rng.choice(list(self.keys))
        else:
            door = rng.randint(1, 9) if rng.random() < 0.5 else rng.randint(1, 99)

        def pair(rng):
            word = _word(rng, 2, 8)
            return f"{door}:{word}", word, False

        _, word = _draw(rng, self.split, "keys", pair)
        self.keys[door] = word
        return self.add(Turn("keys", _phrase(rng, "keys").format(door, word), NOTED))

    def ask_key(self, door=None):
        if door is None:
            door = self.rng.choice(list(self.keys))
        answer = self.keys.get(door, UNKNOWN)
        return self.add(Turn("keys", _phrase(self.rng, "keys?").format(door), answer))

    def tell_name(self):
        def name(rng):
            word = _word(rng, 2, 8).capitalize()
            return word, word, False

        _, self.name = _draw(self.rng, self.split, "names", name)
        form = _phrase(self.rng, "names")
        return self.add(Turn("names", form.format(self.name), f"Hello, {self.name}."))

    def ask_name(self):
        return self.add(Turn("names", _phrase(self.rng, "names?"), self.name or UNKNOWN))

    def question(self):
        question = self.rng.choice(list(QUESTIONS))
        answer = QUESTIONS[question]
        kind = self.rng.random()
        if kind < 0.1 and question[-1].isalpha():
            question += "!" if question != "Help" else "."
        elif 0.1 <= kind < 0.2:
            question = question[0].lower() + question[1:]
        elif 0.2 <= kind < 0.25:
            question = question.rstrip("?")
        return self.add(Turn("questions", question, answer))

    def fallback(self):
        return self.add(Turn("fallback", _fallback_text(self.rng), FALLBACK))

    def anything(self):
        """One more turn of any kind that has an answer now."""
        kind = self.rng.choices(_KINDS, cum_weights=_CUMULATIVE)[0]
        if kind == "tell_key":
            return self.tell_key()
        if kind == "ask_key":
            if self.keys and self.rng.random() < 0.9:
                return self.ask_key()
            return self.ask_key(self.rng.randint(1, 99))
        if kind == "tell_name":
            if self.name and self.rng.random() < 0.8:
                return self.ask_name()
            return self.tell_name()
        if kind == "ask_name":
            if not self.name and self.rng.random() < 0.7:
                return self.tell_name()
            return self.ask_name()
        if kind == "question":
            return self.question()
        if kind == "fallback":
            return self.fallback()
        return self.stateless(kind)

    def filler(self):
        """One more turn that tells and asks nothing about keys and names."""
        while True:
            kind = self.rng.choices(_KINDS, cum_weights=_CUMULATIVE)[0]
            if kind in _STATELESS:
                return self.stateless(kind)
            if kind == "question":
                return self.question()
            if kind == "fallback":
                return self.fallback()

    def prompt(self):
        """The rendered conversation up to the last `Assistant:`."""
        head = f"System: {self.system}\n\n" if self.system else ""
        body = "".join(f"{rendered(turn)} {turn.answer}\n\n" for turn in self.turns[:-1])
        return head + body + rendered(self.turns[-1])

    def messages(self):
        """The same as chat messages; the last one is the user's."""
        out = [{"role": "system", "content": self.system}] if self.system else []
        for turn in self.turns:
            out.append({"role": "user", "content": turn.user})
            out.append({"role": "assistant", "content": turn.answer})
        return out[:-1]


_WEIGHTS = {
    "echo": 9,
    "any text": 3,
    "reverse": 9,
    "sort": 9,
    "arithmetic": 22,
    "uppercase": 6,
    "letters": 6,
    "json": 9,
    "tell_key": 6,
    "ask_key": 8,
    "tell_name": 3,
    "ask_name": 4,
    "question": 4,
    "fallback": 4,
}
_KINDS = list(_WEIGHTS)
_CUMULATIVE = [sum(list(_WEIGHTS.values())[: i + 1]) for i in range(len(_WEIGHTS))]


def rendered(turn):
    """The turn up to `Assistant:`; empty content leaves no space behind `User:`."""
    return f"User: {turn.user}".rstrip() + "\n\nAssistant:"


def training_row(rng, token_count):
    """One conversation of at most token_count ids, as (ids, labels) of equal length.

    The label of a position is the id that follows it inside an answer, 0 (end of text) after the
    answer's last byte, and -1 where nothing is learned. History never contains id 0.
    """
    talk = Conversation(rng, TRAINING)
    ids = encode(f"System: {talk.system}") if talk.system else []
    labels = [-1] * len(ids)
    # Long conversations: half of them open with what is asked for later.
    plan = []
    if rng.random() < 0.5:
        plan = [talk.tell_key] * rng.randint(1, 3)
        if rng.random() < 0.4:
            plan.insert(rng.randint(0, len(plan)), talk.tell_name)
    separator = "\n\n" if ids else ""
    while True:
        turn = plan.pop(0)() if plan else talk.anything()
        question = encode(separator + rendered(turn))
        answer = encode(" " + turn.answer)
        if len(ids) + len(question) + len(answer) > token_count:
            return ids, labels
        ids += question + answer
        labels += [-1] * (len(question) - 1) + answer + [0]
        separator = "\n\n"


def evaluation_conversation(rng, task):
    """A conversation of held-out contents that ends with a question of the task.

    Every third one has other turns before the question; keys and names always have their telling
    and up to 600 tokens of other turns before it.
    """
    talk = Conversation(rng, HELD_OUT)
    if task == "keys":
        for _ in range(rng.randint(1, 3)):
            talk.tell_key()
        _fill(talk, rng.randint(0, 600) if rng.random() < 0.7 else 0)
        talk.ask_key()
    elif task == "names":
        kind = rng.random()
        if kind < 0.5:
            talk.tell_name()
            _fill(talk, rng.randint(0, 600) if rng.random() < 0.7 else 0)
            talk.ask_name()
        else:
            if kind > 0.8:
                talk.filler()
            talk.tell_name()
    else:
        if rng.random() < 1 / 3:
            for _ in range(rng.randint(1, 4)):
                talk.filler()
        if task == "questions":
            talk.question()
        elif task == "fallback":
            talk.fallback()
        elif task == "unknown":
            if rng.random() < 0.5:
                talk.tell_key()
                talk.ask_name()
            else:
                talk.tell_name()
                talk.ask_key(rng.randint(1, 99))
        else:
            talk.stateless(task)
    return talk


def _fill(talk, token_count):
    """Adds other turns of at most token_count ids in total."""
    used = 0
    while True:
        turn = talk.filler()
        used += len(encode(f"\n\n{rendered(turn)} {turn.answer}"))
        if used > token_count:
            talk.turns.pop()
            return
