# SPDX-License-Identifier: Apache-2.0
"""Gosling's world: conversations with exactly one right answer to every message.

Standard library only. Everything is a function of a `random.Random`, so a seed gives one corpus.
About a tenth of all contents (chosen by a hash of task and content) is held out: training never
draws it, evaluation draws nothing else. See MODEL_CARD.md for the tasks and their bounds.
"""

import json
from typing import NamedTuple

import corpus_tools as tools
from corpus_tasks import (
    CANONICAL_SHARE,
    EXTRA_TASKS,
    FALLBACK,
    NOTED,
    PHRASINGS,
    QUESTIONS,
    STATELESS,
    SYSTEM_FRAMES,
    TASKS,
    UNKNOWN,
    fallback_text,
    phrase,
)
from corpus_words import HELD_OUT, TRAINING, draw, held_out, random_word
from vocabulary import encode

__all__ = (  # what the scripts beside this one use
    "EXTRA_TASKS",
    "FALLBACK",
    "HELD_OUT",
    "NOTED",
    "PHRASINGS",
    "TASKS",
    "TRAINING",
    "Conversation",
    "evaluation_conversation",
    "held_out",
    "training_row",
)


class Turn(NamedTuple):
    """A message and its answer. A call of a function is an answer, its result the next message."""

    task: str
    user: str
    answer: str
    call: tuple = ()  # (name, arguments) where the answer is a call


class Conversation:
    """A growing conversation and what it was told: up to 3 keys and one name.

    With functions it also has their list, and whether the system turn allows nothing but calls.
    """

    def __init__(self, rng, split, listed=None):
        self.rng = rng
        self.split = split
        self.listed = listed
        self.required = listed is not None and rng.random() < 0.3
        self.keys = {}
        self.name = None
        self.system = None
        self.turns = []
        if rng.random() < 0.1:
            frame = rng.choice(SYSTEM_FRAMES)
            self.system = frame.format(*(random_word(rng, 2, 8) for _ in range(frame.count("{}"))))

    def add(self, turn):
        self.turns.append(turn)

    def stateless(self, task):
        content, answer = draw(self.rng, self.split, task, STATELESS[task])
        form = phrase(self.rng, task)
        if task == "sort" and self.rng.random() < 0.1:
            content = content.replace(" ", ", ")
        if task == "arithmetic" and self.rng.random() < 0.1:
            content = content.replace("+", " + ").replace("-", " - ")
        self.add(Turn(task, form.format(content), answer))

    def tell_key(self):
        rng = self.rng
        if len(self.keys) == 3 or (self.keys and rng.random() < 0.1):
            door = rng.choice(list(self.keys))
        else:
            door = rng.randint(1, 9) if rng.random() < 0.5 else rng.randint(1, 99)

        def pair(rng):
            word = random_word(rng, 2, 8)
            return f"{door}:{word}", word, False

        _, word = draw(rng, self.split, "keys", pair)
        self.keys[door] = word
        self.add(Turn("keys", phrase(rng, "keys").format(door, word), NOTED))

    def ask_key(self, door=None):
        if door is None:
            door = self.rng.choice(list(self.keys))
        answer = self.keys.get(door, UNKNOWN)
        self.add(Turn("keys", phrase(self.rng, "keys?").format(door), answer))

    def tell_name(self):
        def name(rng):
            word = random_word(rng, 2, 8).capitalize()
            return word, word, False

        _, self.name = draw(self.rng, self.split, "names", name)
        form = phrase(self.rng, "names")
        self.add(Turn("names", form.format(self.name), f"Hello, {self.name}."))

    def ask_name(self):
        self.add(Turn("names", phrase(self.rng, "names?"), self.name or UNKNOWN))

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
        self.add(Turn("questions", question, answer))

    def fallback(self):
        text = fallback_text(self.rng)
        names = self.listed.names if self.listed else set()
        lacking = [kind for kind, needed in tools.NEEDED.items() if not needed <= names]
        if lacking and self.rng.random() < 0.12:
            text, _ = self._tool_question(self.rng.choice(lacking))
        self.add(Turn("fallback", text, FALLBACK))

    def _tool_question(self, kind):
        """A question and the calls that answer it: (name, arguments, key of the result, result)."""
        rng = self.rng
        forms = tools.PHRASINGS[kind]
        form = forms[0] if rng.random() < CANONICAL_SHARE else rng.choice(forms[1:])

        def item(rng):
            word = random_word(rng, 2, 8)
            return word, word, False

        def pair(rng):
            a, b = rng.randint(2, 9), rng.randint(1, 99)
            return f"{a}*{b}", (a, b), False

        _, (a, b) = draw(rng, self.split, "tools", pair)
        product = a * b
        if self.split == TRAINING and rng.random() < 0.25:
            product = rng.randint(1, 999)  # the answer is the result, not a multiplication
        multiplied = (tools.PRODUCT, {"a": a, "b": b}, "product", product)
        if kind == "product":
            return form.format(a, b), [multiplied]
        _, word = draw(rng, self.split, "tools", item)
        if kind == "price":
            price = (tools.PRICE, {"item": word}, "price", rng.randint(1, 99))
            return form.format(tools.one(rng, word)), [price]
        price = (tools.PRICE, {"item": word}, "price", b)
        return form.format(f"{a} {word}s"), [price, multiplied]

    def use_tools(self, kind):
        """A question that needs functions, their results, and the answer: a few turns."""
        user, calls = self._tool_question(kind)
        for name, arguments, key, value in calls:
            answer = tools.call_text(name, arguments)
            self.add(Turn("tools", user, answer, (name, arguments)))
            user = tools.RESULT + tools.result_text(self.rng, key, value)
        self.add(Turn("tools", user, str(value)))

    def _used_tools(self, share):
        """Asks what the listed functions can answer, in the given share of all cases."""
        if self.listed is None or self.rng.random() >= share:
            return False
        kinds = [kind for kind, needed in tools.NEEDED.items() if needed <= self.listed.names]
        if kinds:
            self.use_tools(self.rng.choice(kinds))
        return bool(kinds)

    def anything(self):
        """One more question of any kind that has an answer now."""
        if self._used_tools(0.65):
            return None
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
        """One more question that tells and asks nothing about keys and names."""
        if self._used_tools(0.4):
            return None
        while True:
            kind = self.rng.choices(_KINDS, cum_weights=_CUMULATIVE)[0]
            if kind in STATELESS:
                return self.stateless(kind)
            if kind == "question":
                return self.question()
            if kind == "fallback":
                return self.fallback()

    def head(self):
        """The system turn, or nothing."""
        parts = [self.system] if self.system else []
        if self.listed is not None:
            parts.append(self.listed.text(self.required))
        return "System: " + "\n".join(parts) if parts else ""

    def prompt(self):
        """The rendered conversation up to the last `Assistant:`, or to the opened fence where only
        a call is allowed."""
        turns = [f"{rendered(turn)} {turn.answer}" for turn in self.turns[:-1]]
        turns.append(rendered(self.turns[-1]) + (f" {tools.OPENED}" if self.is_forced() else ""))
        return "\n\n".join([self.head()] * bool(self.head()) + turns)

    def is_forced(self):
        return self.required and bool(self.turns[-1].call)

    def continuation(self):
        """What the model writes behind the prompt, but for the end of text."""
        answer = self.turns[-1].answer
        return answer.removeprefix(tools.OPENED) if self.is_forced() else " " + answer

    def request(self):
        """The same as fields of a chat request; the last message is the one to answer."""
        messages = [{"role": "system", "content": self.system}] if self.system else []
        called = None
        for number, turn in enumerate(self.turns, 1):
            if called:
                text = turn.user.removeprefix(tools.RESULT)
                messages.append({"role": "tool", "tool_call_id": called, "content": text})
            else:
                messages.append({"role": "user", "content": turn.user})
            called = f"call_{number}" if turn.call else None
            messages.append(_answer_message(turn, called))
        fields = {"messages": messages[:-1]}
        if self.listed is not None:
            fields["tools"] = self.listed.openai()
            fields["tool_choice"] = "required" if self.is_forced() else "auto"
        return fields


def _answer_message(turn, call_id):
    if call_id is None:
        return {"role": "assistant", "content": turn.answer}
    name, arguments = turn.call
    function = {"name": name, "arguments": json.dumps(arguments, separators=(",", ":"))}
    call = {"id": call_id, "type": "function", "function": function}
    return {"role": "assistant", "content": None, "tool_calls": [call]}


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


def training_row(rng, token_count, with_tools=False):
    """One conversation of at most token_count ids, as (ids, labels) of equal length.

    The label of a position is the id that follows it inside an answer, 0 (end of text) after the
    answer's last byte, and -1 where nothing is learned. History never contains id 0. Where only
    calls are allowed, only calls are learned.
    """
    talk = Conversation(rng, TRAINING, tools.tool_list(rng) if with_tools else None)
    ids = encode(talk.head())
    labels = [-1] * len(ids)
    # Long conversations: half of them open with what is asked for later.
    plan = []
    if rng.random() < (0.2 if with_tools else 0.5):
        plan = [talk.tell_key] * rng.randint(1, 3)
        if rng.random() < 0.4:
            plan.insert(rng.randint(0, len(plan)), talk.tell_name)
    separator = "\n\n" if ids else ""
    while True:
        begin = len(talk.turns)
        (plan.pop(0) if plan else talk.anything)()
        for turn in talk.turns[begin:]:
            question = encode(separator + rendered(turn))
            answer = encode(" " + turn.answer)
            if len(ids) + len(question) + len(answer) > token_count:
                return ids, labels
            ids += question + answer
            if talk.required and not turn.call:  # said earlier, when answers were allowed
                labels += [-1] * (len(question) + len(answer))
            else:
                labels += [-1] * (len(question) - 1) + answer + [0]
            separator = "\n\n"


def evaluation_conversation(rng, task):
    """A conversation of held-out contents that ends with a question of the task.

    Every third one has other turns before the question; keys and names always have their telling
    and up to 600 tokens of other turns before it, 150 where functions are listed.
    """
    if task == "tools":
        return _tools_conversation(rng)
    between, listed = 600, None
    if task == "beside tools":
        task = rng.choice([other for other in TASKS if other != "tools"])
        between, listed = 150, tools.tool_list(rng)
    talk = Conversation(rng, HELD_OUT, listed)
    talk.required = False
    if task == "keys":
        for _ in range(rng.randint(1, 3)):
            talk.tell_key()
        _fill(talk, rng.randint(0, between) if rng.random() < 0.7 else 0)
        talk.ask_key()
    elif task == "names":
        kind = rng.random()
        if kind < 0.5:
            talk.tell_name()
            _fill(talk, rng.randint(0, between) if rng.random() < 0.7 else 0)
            talk.ask_name()
        else:
            if kind > 0.8:
                talk.filler()
            talk.tell_name()
    else:
        if rng.random() < 1 / 3:
            for _ in range(rng.randint(1, 4 if listed is None else 1)):
                talk.filler()
        _ask(talk, task)
    return talk


def _ask(talk, task):
    if task == "questions":
        talk.question()
    elif task == "fallback":
        talk.fallback()
    elif task == "unknown":
        if talk.rng.random() < 0.5:
            talk.tell_key()
            talk.ask_name()
        else:
            talk.tell_name()
            talk.ask_key(talk.rng.randint(1, 99))
    else:
        talk.stateless(task)


def _tools_conversation(rng):
    """Ends at any step of a question that needs functions; a third has other turns before it."""
    kind = rng.choices(("price", "total", "product"), (1, 2, 1))[0]
    while True:
        listed = tools.tool_list(rng)
        if tools.NEEDED[kind] <= listed.names:
            break
    talk = Conversation(rng, HELD_OUT, listed)
    talk.required = False
    if rng.random() < 1 / 3:
        _fill(talk, 150)
    begin = len(talk.turns)
    talk.use_tools(kind)
    del talk.turns[begin + rng.randint(1, tools.STEPS[kind]):]
    talk.required = bool(talk.turns[-1].call) and rng.random() < 0.5
    return talk


def _fill(talk, token_count):
    """Adds other turns of at most token_count ids in total."""
    used = 0
    while True:
        begin = len(talk.turns)
        talk.filler()
        for turn in talk.turns[begin:]:
            used += len(encode(f"\n\n{rendered(turn)} {turn.answer}"))
        if used > token_count:
            del talk.turns[begin:]
            return
