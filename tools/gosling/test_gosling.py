# SPDX-License-Identifier: Apache-2.0
"""At stake: that every prompt has one right answer, that evaluation never saw training's contents,
and that the trained model is RWKV-7 whichever form computes it. Shown by drawing many conversations
and by comparing the chunked, packed and recurrent forms in float64.

Run: python3 -m unittest discover -s tools/gosling -p "test_*.py"
"""

import json
import os
import random
import re
import sys
import tempfile
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import corpus
import vocabulary

try:
    import torch
except ImportError:
    torch = None


def conversations(task, count=300):
    rng = random.Random(f"test {task}")
    return [corpus.evaluation_conversation(rng, task) for _ in range(count)]


def canonical(task, turn):
    """The content of a turn, or None where another phrasing was used."""
    pattern = re.escape(corpus.PHRASINGS[task][0]).replace(r"\{\}", "(.*)")
    match = re.fullmatch(pattern, turn.user)
    return match and (match.group(1) if match.lastindex == 1 else match.groups())


class Corpus(unittest.TestCase):
    def contents(self, task):
        pairs = [(canonical(task, t), t.answer) for c in conversations(task) for t in c.turns[-1:]]
        pairs = [(content, answer) for content, answer in pairs if content is not None]
        self.assertGreater(len(pairs), 150)
        return pairs

    def test_seed_decides_everything(self):
        rows = [corpus.training_row(random.Random(5), 768) for _ in range(2)]
        self.assertEqual(rows[0], rows[1])
        self.assertNotEqual(rows[0], corpus.training_row(random.Random(6), 768))

    def test_echo(self):
        for content, answer in self.contents("echo"):
            self.assertEqual(content, answer)
            self.assertRegex(content, r"^[A-Za-z]{1,8}( [A-Za-z]{1,8}){0,3}$")

    def test_reverse(self):
        for content, answer in self.contents("reverse"):
            self.assertEqual(content[::-1], answer)
            self.assertRegex(content, r"^[A-Za-z]{3,8}$")

    def test_sort(self):
        for content, answer in self.contents("sort"):
            numbers = [int(n) for n in re.findall(r"\d+", content)]
            self.assertEqual(sorted(numbers), [int(n) for n in answer.split(" ")])
            self.assertTrue(2 <= len(numbers) <= 6 and max(numbers) <= 99)

    def test_arithmetic(self):
        for content, answer in self.contents("arithmetic"):
            a, sign, b = re.fullmatch(r"(\d+) ?([+-]) ?(\d+)", content).groups()
            self.assertTrue(int(a) <= 999 and int(b) <= 999)
            self.assertEqual(int(a) + int(b) if sign == "+" else int(a) - int(b), int(answer))
            self.assertGreaterEqual(int(answer), 0)

    def test_uppercase(self):
        for content, answer in self.contents("uppercase"):
            self.assertEqual(content.upper(), answer)
            self.assertRegex(content, r"^[A-Za-z]{1,10}$")

    def test_letters(self):
        for content, answer in self.contents("letters"):
            self.assertEqual(len(content), int(answer))
            self.assertRegex(content, r"^[A-Za-z]{1,12}$")

    def test_json(self):
        for content, answer in self.contents("json"):
            pairs = [pair.split("=") for pair in content.split(", ")]
            wanted = {key: int(v) if v.isdigit() else v for key, v in pairs}
            self.assertEqual(wanted, json.loads(answer))
            self.assertEqual(answer, json.dumps(wanted, separators=(",", ":")))
            self.assertTrue(1 <= len(pairs) <= 4)

    def test_keys_and_names_answer_what_was_told_last(self):
        for conversation in conversations("keys") + conversations("names"):
            told = {}
            for turn in conversation.turns:
                key = re.search(r"key of door (\d+) is (\w+)\.$", turn.user)
                name = re.fullmatch(r"(?:[Mm]y name is|Call me) ([A-Z][a-z]{1,7})\.?", turn.user)
                if key:
                    told[key.group(1)] = key.group(2)
                    self.assertEqual(corpus.NOTED, turn.answer)
                elif name:
                    told["name"] = name.group(1)
                    self.assertEqual(f"Hello, {name.group(1)}.", turn.answer)
                elif turn.task == "keys":
                    self.assertEqual(told[re.search(r"\d+", turn.user).group()], turn.answer)
                elif turn.task == "names":
                    self.assertEqual(told["name"], turn.answer)
            self.assertLessEqual(len(told), 3)

    def test_held_out_contents_are_never_drawn_for_training(self):
        rng = random.Random(11)
        drawn = set()
        for _ in range(300):
            talk = corpus.Conversation(rng, corpus.TRAINING)
            for _ in range(10):
                talk.stateless("reverse")
                if content := canonical("reverse", talk.turns[-1]):
                    drawn.add(content)
        evaluated = {content for content, _ in self.contents("reverse")}
        self.assertFalse(drawn & evaluated)
        self.assertTrue(all(corpus.held_out("reverse", content) for content in evaluated))

    def test_functions_do_not_change_what_other_tasks_answer(self):
        for talk in conversations("beside tools"):
            self.assertIn("\nReturn a JSON function call when one is needed, else answer.\n\nUser:",
                          talk.prompt())
            self.assertNotIn("```", talk.continuation())
            self.assertEqual("auto", talk.request()["tool_choice"])

    def test_labels_end_every_answer_and_history_holds_no_end(self):
        rng = random.Random(3)
        for _ in range(100):
            ids, labels = corpus.training_row(rng, 512)
            self.assertNotIn(0, ids)
            self.assertEqual(len(ids), len(labels))
            text = vocabulary.decode(ids).decode()
            self.assertEqual(labels.count(0), text.count("Assistant:"))
            self.assertEqual(ids, vocabulary.encode(text))
            for i, label in enumerate(labels[:-1]):
                if label > 0:
                    self.assertEqual(label, ids[i + 1])
                elif label == 0:
                    self.assertEqual(ids[i + 1], vocabulary.encode("\n\nUser:")[0])


def rendered_request(request):
    """The prompt of a chat request, by the rules of the model card alone."""
    turns, system = [], ""
    for message in request["messages"]:
        text = message.get("content")
        if message["role"] == "system":
            system = text + "\n"
        elif message["role"] == "user":
            turns.append(f"User: {text}")
        elif message["role"] == "tool":
            turns.append(f"User: Function output:\n{text}")
        elif message.get("tool_calls"):
            (call,) = message["tool_calls"]
            name, arguments = call["function"]["name"], call["function"]["arguments"]
            body = f'{{"name":"{name}","arguments":{arguments}}}'
            turns.append(f"Assistant: ```json\n{body}\n```")
        else:
            turns.append(f"Assistant: {text}")
    listed = []
    for tool in request["tools"]:
        function = tool["function"]
        entry = {key: function[key] for key in ("name", "description") if key in function}
        listed.append({**entry, "arguments": function["parameters"]})
    required = request["tool_choice"] == "required"
    line = json.dumps(listed, separators=(",", ":"))
    rule = (
        "Return only a JSON function call."
        if required
        else "Return a JSON function call when one is needed, else answer."
    )
    end = "Assistant: ```json" if required else "Assistant:"
    return "\n\n".join([f"System: {system}Tools:\n{line}\n{rule}", *turns, end])


def right_step(messages):
    """What has to follow the messages: a call as (name, arguments), or an answer."""
    last = max(i for i, message in enumerate(messages) if message["role"] == "user")
    question = messages[last]["content"]
    results = [
        re.search(r"-?\d+", message["content"]).group()
        for message in messages[last:]
        if message["role"] == "tool"
    ]
    if re.match(r"multiply|What is \d+ times", question, re.IGNORECASE):
        a, b = map(int, re.findall(r"\d+", question))
        calls = [("multiply", {"a": a, "b": b})]
    else:
        count, word = re.search(r"(an?|\d+) ([a-z]+)(?: cost)?\??$", question).groups()
        many = count.isdigit()
        calls = [("get_price", {"item": word[:-1] if many else word})]
        if many and results:
            calls.append(("multiply", {"a": int(count), "b": int(results[0])}))
        elif many:
            calls.append(None)
    return calls[len(results)] if len(results) < len(calls) else results[-1]


class Tools(unittest.TestCase):
    def test_prompts_are_what_a_server_makes_of_the_request(self):
        for talk in conversations("tools") + conversations("beside tools"):
            self.assertEqual(rendered_request(talk.request()), talk.prompt())

    def test_every_step_follows_from_the_messages(self):
        seen = set()
        for talk in conversations("tools"):
            request, said = talk.request(), talk.continuation()
            wanted = right_step(request["messages"])
            if isinstance(wanted, str):
                self.assertEqual(f" {wanted}", said)
                self.assertEqual("auto", request["tool_choice"])
                seen.add("answer")
                continue
            name, arguments = wanted
            body = json.dumps({"name": name, "arguments": arguments}, separators=(",", ":"))
            forced = request["tool_choice"] == "required"
            self.assertEqual(("" if forced else " ```json") + f"\n{body}\n```", said)
            self.assertIn(name, {tool["function"]["name"] for tool in request["tools"]})
            seen.add((name, forced))
        self.assertEqual(5, len(seen))

    def test_contents_are_within_bounds_and_held_out(self):
        for talk in conversations("tools"):
            for name, arguments in (turn.call for turn in talk.turns if turn.call):
                if name == "multiply":
                    self.assertTrue(2 <= arguments["a"] <= 9 and 1 <= arguments["b"] <= 99)
                    content = "{a}*{b}".format(**arguments)
                else:
                    content = arguments["item"]
                    self.assertRegex(content, r"^[a-z]{2,8}$")
                self.assertTrue(corpus.held_out("tools", content))

    def test_training_never_calls_with_held_out_contents(self):
        rng = random.Random(12)
        calls = []
        for _ in range(300):
            ids, _ = corpus.training_row(rng, 1024, with_tools=True)
            text = vocabulary.decode(ids).decode()
            calls += re.findall(r"```json\n(.*)\n```", text)
        self.assertGreater(len(calls), 500)
        for call in map(json.loads, calls):
            arguments = call["arguments"]
            content = arguments.get("item") or "{a}*{b}".format(**arguments)
            self.assertFalse(corpus.held_out("tools", content))

    def test_rows_fit_and_end_every_learned_answer(self):
        rng = random.Random(13)
        for _ in range(200):
            ids, labels = corpus.training_row(rng, 1024, with_tools=True)
            self.assertLessEqual(len(ids), 1024)
            self.assertEqual(len(ids), len(labels))
            self.assertNotIn(0, ids)
            text = vocabulary.decode(ids).decode()
            self.assertEqual(ids, vocabulary.encode(text))
            only_calls = "\nReturn only a JSON function call.\n\n" in text
            learned = "Assistant: ```json\n" if only_calls else "Assistant:"
            self.assertEqual(text.count(learned), labels.count(0))

    def test_functions_that_are_not_listed_are_not_called(self):
        asked = 0
        for talk in conversations("fallback", 2000):
            if re.search(r" cost\?$|^multiply ", talk.turns[-1].user, re.IGNORECASE):
                self.assertEqual(corpus.FALLBACK, talk.turns[-1].answer)
                asked += 1
        self.assertGreater(asked, 50)


class Vocabulary(unittest.TestCase):
    def test_any_bytes_round_trip(self):
        rng = random.Random(2)
        for _ in range(200):
            data = bytes(rng.choices(range(256), k=50)) + b"\n\nUser: What is my name?\n\n"
            self.assertEqual(data, vocabulary.decode(vocabulary.encode(data)))

    def test_file_lists_every_id_with_its_length(self):
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "vocabulary.txt")
            vocabulary.write(path)
            with open(path, encoding="utf-8", newline="") as file:
                lines = file.read().split("\n")[:-1]
        for expected, line in enumerate(lines, 1):
            number, rest = line.split(" ", 1)
            literal, length = rest.rsplit(" ", 1)
            entry = eval(literal)  # the file was written by this test
            entry = entry.encode() if isinstance(entry, str) else entry
            self.assertEqual((expected, len(entry)), (int(number), int(length)))
            self.assertEqual([expected], vocabulary.encode(entry))
        self.assertEqual(vocabulary.ID_COUNT, len(lines) + 1)


@unittest.skipIf(torch is None, "PyTorch is not installed")
class Model(unittest.TestCase):
    def setUp(self):
        import model as rwkv7

        torch.manual_seed(4)
        torch.set_num_threads(1)
        self.rwkv7 = rwkv7
        self.model = rwkv7.Gosling(64, layers=3, d=128, f=256, ranks=(8, 8, 8, 16)).double()
        with torch.no_grad():
            for p in self.model.parameters():
                p.add_(torch.randn_like(p) * 0.1)
        self.ids = torch.randint(0, 64, (2, 96))

    def recurrent(self, ids):
        state = self.model.zero_state(len(ids))
        return torch.stack([self.model.step(ids[:, t], state) for t in range(ids.shape[1])], 1)

    def test_chunked_form_equals_recurrent_form(self):
        torch.testing.assert_close(self.model(self.ids), self.recurrent(self.ids))

    def test_gradients_of_both_forms_are_equal(self):
        gradients = []
        for form in (self.model, self.recurrent):
            self.model.zero_grad()
            form(self.ids).square().mean().backward()
            gradients.append([p.grad.clone() for p in self.model.parameters()])
        torch.testing.assert_close(*gradients)

    def test_packed_conversations_do_not_see_each_other(self):
        keep = torch.ones(2, 96, dtype=torch.float64)
        keep[0, 32] = keep[1, 64] = 0
        packed = self.model(self.ids, keep)
        torch.testing.assert_close(packed[:1, 32:], self.model(self.ids[:1, 32:]))
        torch.testing.assert_close(packed[1:, 64:], self.model(self.ids[1:, 64:]))

    def test_written_file_is_read_back_rounded(self):
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "model.safetensors")
            self.rwkv7.save(self.model, path)
            read = self.rwkv7.load(path).state_dict()
        for name, tensor in self.model.state_dict().items():
            self.assertTrue(torch.equal(tensor.bfloat16(), read[name].bfloat16()), name)


if __name__ == "__main__":
    unittest.main()
