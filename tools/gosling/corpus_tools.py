# SPDX-License-Identifier: Apache-2.0
"""Function calling: which functions are listed and how, what is asked, what comes back.

Gosling knows two functions: get_price(item) and multiply(a, b). Clients describe one function in
many ways; the variety here is theirs. Standard library only.
"""

import json
from typing import NamedTuple

from corpus_words import random_word

PRICE, PRODUCT = "get_price", "multiply"
ANY_CALL = "Return a JSON function call when one is needed, else answer."
ONLY_CALL = "Return only a JSON function call."
FENCE = "```"
OPENED = f"{FENCE}json"  # where a call is required the prompt ends with it
RESULT = "Function output:\n"

LINE_BYTES_MAX = 600  # of the list as JSON

# The first phrasing is canonical. {} is `a plum`, `3 plums`, or two numbers.
PHRASINGS = {
    "price": (
        "What does {} cost?",
        "what does {} cost?",
        "How much is {}?",
        "How much does {} cost?",
        "What is the price of {}?",
    ),
    "total": (
        "What do {} cost?",
        "what do {} cost?",
        "How much are {}?",
        "How much do {} cost?",
        "What is the price of {}?",
    ),
    "product": (
        "Multiply {} by {}.",
        "multiply {} by {}.",
        "Multiply {} by {}",
        "Multiply {} and {}.",
        "What is {} times {}?",
    ),
}
NEEDED = {"price": {PRICE}, "total": {PRICE, PRODUCT}, "product": {PRODUCT}}
STEPS = {"price": 2, "total": 3, "product": 2}

_DESCRIPTIONS = {
    PRICE: (
        "Get the price of an item.",
        "Returns the price of one item",
        "Price of an item",
        "Look up what an item costs.",
        "The price of an item in the shop.",
        "Get the price.\n\nArgs:\n    item: what is bought",
    ),
    PRODUCT: (
        "Multiply two integers.",
        "Multiplies a by b and returns the product.",
        "Product of two numbers",
        "Multiply two numbers",
        "a times b",
        "Multiply.\n\n:param a: first\n:param b: second",
    ),
}
_PROPERTIES = {
    PRICE: (("item", "string", ("The item", "Name of the item", "The item, singular", "an item")),),
    PRODUCT: (
        ("a", "integer", ("The amount", "First factor", "first number", "a")),
        ("b", "integer", ("The price", "Second factor", "second number", "b")),
    ),
}
_OTHER_NAMES = ("get_weather", "get_current_weather", "search", "send_email", "get_time", "add")
_OTHER_PROPERTIES = ("location", "city", "query", "unit", "text", "x", "y", "name")
_KINDS = ("string", "integer", "number", "boolean")
_DRAFT = "http://json-schema.org/draft-07/schema#"


class ToolList(NamedTuple):
    """The functions of one conversation: their names, and as listed, in order."""

    names: frozenset
    functions: tuple

    def text(self, required):
        """What the system turn says about them."""
        line = json.dumps(self.functions, separators=(",", ":"))
        return f"Tools:\n{line}\n{ONLY_CALL if required else ANY_CALL}"

    def openai(self):
        """The same as the field `tools` of a chat request."""
        return [
            {
                "type": "function",
                "function": {
                    {"arguments": "parameters"}.get(key, key): value
                    for key, value in function.items()
                },
            }
            for function in self.functions
        ]


class _Dress(NamedTuple):
    """How one client writes its schemas."""

    titles: bool
    closed: bool
    described: bool
    required: bool
    order: str  # "plain", "pydantic" (type last), "any"


def _dress(rng):
    order = rng.choices(("plain", "pydantic", "any"), (0.6, 0.25, 0.15))[0]
    return _Dress(
        titles=rng.random() < (0.8 if order == "pydantic" else 0.1),
        closed=rng.random() < 0.35,
        described=rng.random() < 0.4,
        required=rng.random() < 0.9,
        order=order,
    )


def _words(rng, most):
    text = " ".join(random_word(rng, 1, 8) for _ in range(rng.randint(1, most)))
    return text.capitalize() + rng.choice(("", "."))


def _ordered(rng, dress, entries):
    """A schema object of the entries, which come in the plain order: type first."""
    if dress.order == "pydantic":
        entries = [entry for entry in entries if entry[0] != "type"] + entries[:1]
    elif dress.order == "any":
        rng.shuffle(entries)
    return dict(entries)


def _property(rng, dress, name, kind, wordings):
    entries = [("type", kind)]
    if dress.described:
        text = rng.choice(wordings) if wordings and rng.random() < 0.6 else _words(rng, 5)
        entries.append(("description", text))
    if dress.titles:
        entries.append(("title", name.capitalize()))
    if kind == "integer" and rng.random() < 0.08:
        entries += [("minimum", rng.randint(0, 2)), ("maximum", rng.choice((9, 99, 100)))]
    return _ordered(rng, dress, entries)


def _schema(rng, dress, name, properties):
    inner = {key: _property(rng, dress, key, kind, said) for key, kind, said in properties}
    entries = [("type", "object"), ("properties", inner)]
    if dress.required:
        entries.append(("required", list(inner)))
    if dress.closed:
        entries.append(("additionalProperties", False))
    if dress.titles and rng.random() < 0.7:
        title = "".join(part.capitalize() for part in name.split("_"))
        entries.append(("title", rng.choice((name, title, title + "Args"))))
    if rng.random() < 0.05:
        entries.append(("$schema", _DRAFT))
    return _ordered(rng, dress, entries)


def _function(rng, dress, name, properties, wordings):
    function = {"name": name}
    if rng.random() < 0.75:
        known = wordings and rng.random() < 0.65
        function["description"] = rng.choice(wordings) if known else _words(rng, 8)
    function["arguments"] = _schema(rng, dress, name, properties)
    return function


def _other_function(rng, dress):
    """A function that Gosling does not know. It never has a reason to call it."""
    name = rng.choice(_OTHER_NAMES)
    if rng.random() < 0.5:
        name = f"{random_word(rng, 2, 6)}_{random_word(rng, 2, 6)}"
    keys = rng.sample(_OTHER_PROPERTIES, rng.randint(0, 2))
    return _function(rng, dress, name, [(key, rng.choice(_KINDS), ()) for key in keys], ())


def tool_list(rng):
    """Functions as a client lists them: mostly both, in any order, at times with a strange one."""
    while True:
        kind = rng.random()
        known = [PRICE, PRODUCT]
        rng.shuffle(known)
        if kind < 0.2:
            known.pop()
        elif kind < 0.23:
            known = []
        dress = _dress(rng)
        functions = [
            _function(rng, dress, name, _PROPERTIES[name], _DESCRIPTIONS[name]) for name in known
        ]
        if not known or rng.random() < 0.12:
            functions.insert(rng.randint(0, len(known)), _other_function(rng, dress))
        if len(json.dumps(functions, separators=(",", ":"))) <= LINE_BYTES_MAX:
            return ToolList(frozenset(known), tuple(functions))


def call_text(name, arguments):
    """The assistant's turn that calls a function."""
    body = json.dumps({"name": name, "arguments": arguments}, separators=(",", ":"))
    return f"{OPENED}\n{body}\n{FENCE}"


def result_text(rng, key, value):
    """What a program hands back: usually JSON, with or without spaces, at times only the number."""
    kind = rng.random()
    if kind < 0.4:
        return f'{{"{key}":{value}}}'
    if kind < 0.78:
        return f'{{"{key}": {value}}}'
    if kind < 0.9:
        return str(value)
    return rng.choice(
        (
            f'{{\n  "{key}": {value}\n}}',
            f"{{'{key}': {value}}}",
            f"{key}: {value}",
            f'"{value}"',
            f'{{"result":{value}}}',
            f'{{"result": {value}}}',
        )
    )


def one(rng, item):
    """The item with its article: `a plum`, `an apple`, at times `a apple`."""
    return f"{'an' if item[0] in 'aeiou' and rng.random() < 0.8 else 'a'} {item}"
