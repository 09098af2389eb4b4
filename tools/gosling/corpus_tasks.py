# SPDX-License-Identifier: Apache-2.0
"""What Gosling is asked and what it answers, but for functions: corpus_tools.py.

Standard library only. Everything is a function of a `random.Random`.
"""

import json

from corpus_words import maybe_capital, odd_word, random_number, random_word

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
    "tools",
)

# Measured besides, without a promised share: echo of any text, a key or a name that was never told,
# requests outside the tasks, and the other tasks where functions are listed.
EXTRA_TASKS = ("any text", "unknown", "fallback", "beside tools")

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

JSON_KEYS = "name age city color size id count price kind level year team code unit x y".split()

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


def _echo(rng):
    words = [maybe_capital(rng, random_word(rng, 1, 8)) for _ in range(rng.randint(1, 4))]
    if rng.random() < 0.05:
        words = [words[0]] * len(words)
    text = " ".join(words)
    return text, text, len(text) <= 2


def _any_text(rng):
    words = [
        odd_word(rng) if rng.random() < 0.6 else random_word(rng, 1, 8)
        for _ in range(rng.randint(1, 4))
    ]
    text = " ".join(words)
    return text, text, len(text) <= 2


def _reverse(rng):
    word = maybe_capital(rng, random_word(rng, 3, 8))
    return word, word[::-1], False


def _sort(rng):
    highest = 99 if rng.random() < 0.9 else 9
    numbers = [rng.randint(0, highest) for _ in range(rng.randint(2, 6))]
    return " ".join(map(str, numbers)), " ".join(map(str, sorted(numbers))), False


def _arithmetic(rng):
    a, b = random_number(rng, 999), random_number(rng, 999)
    small = a < 20 and b < 20
    if rng.random() < 0.5:
        return f"{a}+{b}", str(a + b), small
    a, b = max(a, b), min(a, b)
    return f"{a}-{b}", str(a - b), small


def _uppercase(rng):
    word = maybe_capital(rng, random_word(rng, 1, 10))
    return word, word.upper(), len(word) <= 2


def _letters(rng):
    word = maybe_capital(rng, random_word(rng, 1, 12))
    return word, str(len(word)), len(word) <= 2


def _json(rng):
    pairs = {}
    for _ in range(rng.randint(1, 4)):
        key = rng.choice(JSON_KEYS) if rng.random() < 0.3 else random_word(rng, 1, 8)
        if rng.random() < 0.5:
            value = random_number(rng, 999)
        else:
            value = maybe_capital(rng, random_word(rng, 1, 8))
        if isinstance(value, str) and rng.random() < 0.2:
            value = value.capitalize()
        pairs[key] = value
    content = ", ".join(f"{key}={value}" for key, value in pairs.items())
    return content, json.dumps(pairs, separators=(",", ":")), False


STATELESS = {
    "echo": _echo,
    "any text": _any_text,
    "reverse": _reverse,
    "sort": _sort,
    "arithmetic": _arithmetic,
    "uppercase": _uppercase,
    "letters": _letters,
    "json": _json,
}


def phrase(rng, task):
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


def fallback_text(rng):
    kind = rng.random()
    if kind < 0.01:
        return ""
    if kind < 0.15:
        return _sum_out_of_bounds(rng)
    if kind < 0.2:
        return " ".join(random_word(rng, 1, 9) for _ in range(rng.randint(5, 30))) + "."
    while True:
        frame = rng.choice(FALLBACK_FRAMES)
        words = [maybe_capital(rng, random_word(rng, 2, 9)) for _ in range(frame.count("{}"))]
        text = frame.format(*words)
        if rng.random() < 0.15:
            text = text[:1].lower() + text[1:]
        if not _is_known(text):
            return text
