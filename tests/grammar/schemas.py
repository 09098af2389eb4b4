# SPDX-License-Identifier: Apache-2.0
"""Schemas for differential.py, written by hand and generated, and texts that nearly fit them.

Everything is a function of a seed, so that a failure can be run again.
"""

import json
import random

CLOSED = {"additionalProperties": False}


def closed(properties, required=None, **more):
    return {"type": "object", "properties": properties,
            "required": sorted(properties) if required is None else required, **CLOSED, **more}


TREE = {"$ref": "#/$defs/node", "$defs": {"node": closed(
    {"value": {"type": "integer"}, "children": {"type": "array", "items": {"$ref": "#/$defs/node"},
                                                "maxItems": 2}})}}
LINKED = closed({"v": {"type": "boolean"}, "next": {"anyOf": [{"$ref": "#"}, {"type": "null"}]}})
EXPRESSION = {
    "$ref": "#/$defs/e",
    "$defs": {
        "e": {"anyOf": [{"type": "number"}, {"$ref": "#/$defs/sum"}, {"$ref": "#/$defs/neg"}]},
        "sum": closed({"op": {"const": "+"}, "args": {
            "type": "array", "items": {"$ref": "#/$defs/e"}, "minItems": 2, "maxItems": 3}}),
        "neg": closed({"op": {"const": "-"}, "arg": {"$ref": "#/$defs/e"}})}}

# Patterns that mean the same to Python, with re.ASCII and $ as \Z, and to ECMA 262.
PATTERNS = [
    "^[a-z]+$", "^a", "b$", "ab+c", "^(foo|bar|baz)$", "^\\d{3}-\\d{4}$", "^[A-Z][a-z]*( [A-Z])?$",
    "^$", "x", "^[^\"\\\\]{1,5}$", "^(a|b)*abb$", "^\\w+@\\w+\\.com$", "^[\\u00e0-\\u00ff]{2}$",
    "^.{2,4}$", "\\.", "^(?:ab){2,3}$", "^a?b?c?$", "^[\\x41-\\x43]*$", "^-?\\d+$", "(a|^b)c",
    "^(ab|a)(c|bcd)$", "^\\n\\t?$", "^[a-z]{2}|[0-9]{2}$", "^[^a-y]*$", "a.c", "^(a*b*)*c$",
    "^\\/\\*$", "^[\\-a]+$", "^[\\]x]+$", "^\U0001F600+$", "^[\U0001F600-\U0001F64F]{1,2}$",
    "^é|ü$", "(^|,)x(,|$)", "^a{0}b$", "^(a{2}){2}$", "^a{2,}$", "^\\s*\\S\\s*$"]

HANDWRITTEN = [
    True, {}, {"title": "anything", "description": "x", "default": 3},
    {"type": "string"}, {"type": "integer"}, {"type": "number"}, {"type": "boolean"},
    {"type": "null"}, {"type": ["string", "null"]}, {"type": ["integer", "boolean", "null"]},
    {"type": ["number", "integer"]}, {"type": ["array", "object"], "items": {"type": "null"},
                                      "properties": {"a": True}, **CLOSED},
    {"enum": ["a", "b", "ab", ""]}, {"enum": [1, 12, 123, -5, 0, 0.5, 1.25e2]},
    {"enum": [None, True, False, "null", "true", 0]}, {"const": "x\"y\\z\n"}, {"const": 3},
    {"const": {"a": [1, {"b": None}], "c": "é"}}, {"enum": [[], [[]], [1, 2], {}]},
    {"type": "string", "enum": ["a", 1, None]}, {"type": "integer", "enum": ["a", 1, 2.5, 30]},
    {"type": ["string", "integer"], "enum": ["ä", 1, 2.5]}, {"enum": ["\U0001F600", "\U0001F601"]},
    {"enum": ["日本", "日本語", "中国"]}, {"const": None},
    {"type": "string", "minLength": 2}, {"type": "string", "maxLength": 3},
    {"type": "string", "minLength": 2, "maxLength": 2}, {"type": "string", "maxLength": 0},
    {"type": "string", "minLength": 1, "maxLength": 4, "pattern": "^(ab)*c?$"},
    {"type": "string", "maxLength": 5, "pattern": "^(aaa|b)+$"},
    {"type": "string", "minLength": 3, "pattern": "^a*$"},
    {"type": "string", "format": "date", "pattern": "^20"},
    {"type": "integer", "minimum": 0}, {"type": "integer", "maximum": -10},
    {"type": "integer", "minimum": -3, "maximum": 17}, {"type": "integer", "exclusiveMinimum": 5},
    {"type": "integer", "exclusiveMaximum": 1000, "exclusiveMinimum": 998},
    {"type": "integer", "minimum": 0.5, "maximum": 2.5}, {"type": "integer", "multipleOf": 7},
    {"type": "integer", "multipleOf": 12, "minimum": -50, "maximum": 100},
    {"type": "integer", "multipleOf": 1.5}, {"type": "integer", "multipleOf": 100},
    {"type": "number", "minimum": 0, "maximum": 1}, {"type": "number", "exclusiveMinimum": 0},
    {"type": "number", "minimum": -1.5, "exclusiveMaximum": 2.25},
    {"type": "number", "multipleOf": 0.25}, {"type": "number", "multipleOf": 3},
    {"type": "number", "minimum": 1e3, "maximum": 1.5e3}, {"type": "number", "maximum": -0.001},
    {"type": "number", "minimum": 0.1, "maximum": 0.3}, {"type": "number", "exclusiveMaximum": 0},
    {"type": "array"}, {"type": "array", "items": {"type": "integer"}},
    {"type": "array", "items": {"type": "boolean"}, "minItems": 1},
    {"type": "array", "items": {"type": "string"}, "maxItems": 2},
    {"type": "array", "items": {"type": "null"}, "minItems": 2, "maxItems": 3},
    {"type": "array", "maxItems": 0},
    {"type": "array", "items": {"type": "array", "items": {"type": "integer"}, "maxItems": 2}},
    closed({}), closed({"a": {"type": "integer"}}),
    closed({"a": True, "b": True, "c": True}, ["b"]),
    closed({"a": {"type": "integer"}, "aa": {"type": "string"}, "aaa": {"type": "null"}}, []),
    closed({"": {"type": "integer"}, "\"": {"type": "string"}, "\\": {"type": "null"}}),
    closed({"é": {"type": "integer"}, "日本": {"type": "string"}, "\U0001F600": {"type": "null"}}),
    closed({"a b": {"type": "integer"}, "line\nbreak": {"type": "boolean"}}, ["a b"]),
    {"type": "object", "additionalProperties": {"type": "integer"}},
    {"type": "object", "properties": {"a": {"type": "string"}},
     "additionalProperties": {"type": "integer"}},
    {"type": "object", "properties": {"é1": {"type": "string"}, "é2": {"type": "null"}},
     "required": ["é1"], "additionalProperties": {"type": "boolean"}},
    {"type": "object", "properties": {"a": {"type": "string"}}, "additionalProperties": True},
    closed({"person": closed({"name": {"type": "string", "minLength": 1}, "age": {
        "type": "integer", "minimum": 0, "maximum": 150}}), "tags": {
            "type": "array", "items": {"enum": ["new", "old"]}, "maxItems": 2}}),
    {"anyOf": [{"type": "string"}, {"type": "integer"}]},
    {"anyOf": [closed({"kind": {"const": "a"}, "x": {"type": "integer"}}),
               closed({"kind": {"const": "b"}, "y": {"type": "string"}}),
               closed({"kind": {"const": "ab"}})]},
    {"anyOf": [closed({"a": {"type": "integer"}, "b": {"type": "integer"}}),
               closed({"a": {"type": "string"}, "b": {"type": "integer"}}),
               closed({"a": {"type": "integer"}, "b": {"type": "string"}})]},
    {"anyOf": [{"type": "array", "items": {"type": "integer"}},
               {"type": "array", "items": {"type": "string"}, "minItems": 1}]},
    {"anyOf": [{"type": "number", "maximum": 0}, {"type": "number", "minimum": 10}]},
    {"anyOf": [{"type": "string", "maxLength": 1}, {"type": "string", "pattern": "^abc$"}]},
    {"type": "array", "items": {"anyOf": [{"type": "null"}, {"enum": ["n", "nn"]},
                                          {"type": "integer", "minimum": 7}]}},
    TREE, LINKED, EXPRESSION,
    closed({"l": {"$ref": "#/properties/r"}, "r": {"type": "array", "items": {"$ref": "#"},
                                                   "maxItems": 1}}),
    {"$ref": "#/definitions/a~1b", "definitions": {"a/b": {"enum": ["x", 2]}}},
    {"$schema": "https://json-schema.org/draft/2020-12/schema", "$id": "https://example.org/s",
     "type": "string", "$comment": "c", "examples": ["e"], "deprecated": True},
    closed({"opt": {"anyOf": [{"type": "string"}, {"type": "null"}]}, "n": {"type": "number"}}),
    closed({f"k{i}": {"type": "integer", "maximum": 3} for i in range(12)}, ["k1", "k11"]),
] + [{"type": "string", "pattern": pattern} for pattern in PATTERNS] + [
    {"type": "string", "format": name} for name in (
        "date", "time", "date-time", "duration", "email", "hostname", "ipv4", "ipv6", "uuid")]

NAMES = ["a", "b", "name", "id", "na", "é", "x y", "items", "日", "q\"q"]
FORMATS = ["date", "time", "date-time", "duration", "email", "hostname", "ipv4", "ipv6", "uuid"]
EXAMPLES = {
    "date": ["2024-02-29", "1999-12-31", "2023-02-29", "0001-01-01", "0000-01-01", "1900-02-29",
             "2000-02-29", "2024-04-31", "2024-1-01"],
    "time": ["12:30:00Z", "23:59:59.123+05:30", "24:00:00Z", "12:30:60Z", "01:02:03-00:00",
             "12:30Z", "12:30:00z"],
    "date-time": ["2024-02-29T12:30:00Z", "2023-02-29T12:30:00Z", "1999-01-01T00:00:00.5-08:00",
                  "2024-02-29 12:30:00Z"],
    "duration": ["P1Y2M3D", "PT5M", "P3W", "P", "PT", "P1YT2H3M4S", "P1M", "P1D", "P1Y3D", "PT1S"],
    "email": ["a@b", "first.last@example.com", ".a@b", "a@b-", "a@@b", "x+y@a.b.c", "a@1"],
    "hostname": ["example.com", "a", "-a", "a-", "a.b-c.d", "1.2.3.4", "a..b", "x" * 63, "x" * 64],
    "ipv4": ["127.0.0.1", "255.255.255.255", "256.0.0.1", "1.2.3", "01.2.3.4", "0.0.0.0"],
    "ipv6": ["::", "::1", "1:2:3:4:5:6:7:8", "1::8", "fe80::1", "::ffff:1.2.3.4", "1:2:3", "1:::2",
             "1:2:3:4:5:6:7::", "::2:3:4:5:6:7:8", "1:2:3:4:5:6:1.2.3.4", "12345::"],
    "uuid": ["123e4567-e89b-12d3-a456-426614174000", "123E4567-E89B-12D3-A456-426614174000",
             "123e4567e89b12d3a456426614174000", "g23e4567-e89b-12d3-a456-426614174000"]}


def generated_string(rng):
    schema = {"type": "string"}
    kind = rng.randrange(4)
    if kind == 0:
        schema["pattern"] = rng.choice(PATTERNS)
    elif kind == 1:
        schema["format"] = rng.choice(FORMATS)
    if kind != 1 and rng.random() < 0.4:
        low = rng.randrange(4)
        schema["minLength"] = low
        schema["maxLength"] = low + rng.randrange(5)
    return schema


def generated_number(rng):
    schema = {"type": rng.choice(["integer", "number"])}
    if rng.random() < 0.6:
        low = rng.randrange(-200, 200)
        if schema["type"] == "number" and rng.random() < 0.5:
            low /= 8
        schema[rng.choice(["minimum", "exclusiveMinimum"])] = low
        if rng.random() < 0.6:
            high = low + rng.randrange(1, 300)
            schema[rng.choice(["maximum", "exclusiveMaximum"])] = high
    if rng.random() < 0.2:
        schema["multipleOf"] = rng.choice([1, 2, 3, 5, 10, 0.5])
    return schema


def generated_object(rng, depth):
    names = rng.sample(NAMES, rng.randrange(5))
    properties = {name: generated(rng, depth - 1) for name in names}
    schema = closed(properties, [name for name in names if rng.random() < 0.7])
    if rng.random() < 0.15:
        schema["additionalProperties"] = generated(rng, 0)
    return schema


def generated(rng, depth):
    """A random schema of at most that many levels."""
    kind = rng.randrange(9 if depth > 0 else 5)
    if kind == 0:
        return generated_string(rng)
    if kind == 1:
        return generated_number(rng)
    if kind == 2:
        return {"enum": rng.sample(["a", "ab", "é", "", "x y", 1, 12, -3, 0.5, None, True, False],
                                   rng.randrange(1, 5))}
    if kind == 3:
        return {"type": rng.choice(["boolean", "null", "string", "integer"])}
    if kind == 4:
        return {"type": rng.sample(["string", "integer", "null", "boolean"], 2)}
    if kind in (5, 6):
        return generated_object(rng, depth)
    if kind == 7:
        low = rng.randrange(3)
        return {"type": "array", "items": generated(rng, depth - 1), "minItems": low,
                "maxItems": low + rng.randrange(3)}
    return {"anyOf": [generated(rng, depth - 1) for _ in range(rng.randrange(1, 4))]}


def schemas(count):
    """That many schemas: all written by hand, then generated ones."""
    rng = random.Random(6)
    found = list(HANDWRITTEN)
    while len(found) < count:
        schema = generated(rng, 3)
        if schema not in found:
            found.append(schema)
    return found[:count]


# ---- Texts ----

STRINGS = ["", "a", "ab", "abc", "é", "日本", "\U0001F600", "x y", "null", "1", "\"", "\\", "\n",
           "foo", "bar", "aaa", "abb", "c", "aabb", "123-4567", "me@it.com", "àé", "n", "nn", "ac",
           "abab", "ababc", "BCA", "bc", "-12", "/*", "Ab C", "\n\t", " x ", "-a-", "]x", "xx",
           "12", "\u0000", "zz", "aaaa", "b", "old", "new", ",x,"]


def number_text(rng):
    """A number, or nearly one, written in any way."""
    whole = rng.choice(["0", "1", "5", "7", "12", "100", "998", "999", "1000", "-", "", "00", "01"])
    text = rng.choice(["", "", "-", "--", "+"]) if rng.random() < 0.5 else ""
    text += whole + "".join(rng.choice("0123456789") for _ in range(rng.choice([0, 0, 1, 2, 18])))
    if rng.random() < 0.5:
        text += "." + "".join(rng.choice("0123455") for _ in range(rng.choice([0, 1, 1, 2, 3, 13])))
    if rng.random() < 0.2:
        text += rng.choice(["e", "E", "e+", "E-"]) + rng.choice(["", "0", "5", "12", "123"])
    return text.encode()


class Texts:
    """Instances of a schema, right and nearly right, as JSON texts."""

    def __init__(self, schema, rng):
        self.root = schema
        self.rng = rng

    def scalar(self):
        rng = self.rng
        return rng.choice([rng.choice(STRINGS), rng.randrange(-20, 200), None, True, False,
                           rng.randrange(-100, 100) / 8, 0, 1000, [], {}])

    def string(self, schema):
        if "format" in schema and self.rng.random() < 0.9:
            return self.rng.choice(EXAMPLES[schema["format"]])
        if self.rng.random() < 0.5:
            return self.rng.choice(STRINGS)
        letters = "abc é日\U0001F600xyz-.@12\"\\/\n"
        return "".join(self.rng.choice(letters) for _ in range(self.rng.randrange(7)))

    def number(self, schema):
        rng = self.rng
        anchors = [schema[key] for key in ("minimum", "maximum", "exclusiveMinimum",
                                           "exclusiveMaximum") if key in schema] + [0]
        value = rng.choice(anchors) + rng.choice([0, 0, 1, -1, 2, 10, 100, 0.5, -0.25])
        if "multipleOf" in schema and rng.random() < 0.7:
            value = schema["multipleOf"] * rng.randrange(-10, 30)
        if schema["type"] == "integer" and rng.random() < 0.9:
            value = int(value)
        return int(value) if value == int(value) else value

    def object(self, schema, depth):
        rng = self.rng
        members = list(schema.get("properties", {}).items())
        rng.shuffle(members)
        required = schema.get("required", [])
        value = {name: self.value(child, depth - 1) for name, child in members
                 if rng.random() < (0.97 if name in required else 0.6)}
        additional = schema.get("additionalProperties", True)
        if additional is not False and rng.random() < 0.5:
            value[rng.choice(["zz", "é", "é3", "", "aa", "b"])] = self.value(additional, depth - 1)
        elif rng.random() < 0.05:
            value["zz"] = 1
        return value

    def resolve(self, pointer):
        at = self.root
        for part in pointer[1:].split("/")[1:]:
            at = at[part.replace("~1", "/").replace("~0", "~")]
        return at

    def value(self, schema, depth):
        """A value that mostly matches."""
        rng = self.rng
        if rng.random() < 0.04 or depth < -6:
            return self.scalar()
        if schema is True or not set(schema) & {"type", "enum", "const", "anyOf", "$ref"}:
            return rng.choice([self.scalar(), [self.scalar()], {"k": self.scalar()}])
        if "$ref" in schema:
            return self.value(self.resolve(schema["$ref"]), depth - 0.5)
        if "anyOf" in schema:
            branches = schema["anyOf"]
            return self.value(branches[-1] if depth < 0 else rng.choice(branches), depth - 0.5)
        if "const" in schema:
            return schema["const"]
        if "enum" in schema:
            return rng.choice(schema["enum"])
        kind = schema["type"] if isinstance(schema["type"], str) else rng.choice(schema["type"])
        if kind == "string":
            return self.string(schema)
        if kind in ("integer", "number"):
            return self.number({**schema, "type": kind})
        if kind == "object":
            return self.object(schema, depth)
        if kind == "array":
            low = schema.get("minItems", 0)
            count = max(0, low + rng.randrange(-1, 4)) if depth > 0 else low
            return [self.value(schema.get("items", True), depth - 1) for _ in range(count)]
        return None if kind == "null" else rng.random() < 0.5

    def write(self, value):
        """JSON with varied white space and escapes."""
        style = self.rng.randrange(6)
        if style == 0:
            return json.dumps(value)
        if style == 1:
            return json.dumps(value, ensure_ascii=False, indent=2)
        if style == 2:
            return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
        if style == 3:
            return json.dumps(value, ensure_ascii=False, separators=(" ,\t", "\r\n: "))
        text = json.dumps(value, ensure_ascii=False)
        if style == 4:
            text = "".join(f"\\u{ord(c):04X}" if c.isalpha() and ord(c) < 0x10000 and
                           self.rng.random() < 0.3 and c not in "truefalsn" else c for c in text)
        return text

    def mutate(self, text):
        rng = self.rng
        extra = "\"\\{}[]:,0123456789.-+eEtruefalsn u\n\té\U0001F600\x01"
        for _ in range(rng.choice([1, 1, 1, 2, 3])):
            at = rng.randrange(len(text) + 1)
            kind = rng.randrange(5)
            if kind == 0:
                text = text[:at] + text[at + 1:]
            elif kind == 1:
                text = text[:at] + rng.choice(extra) + text[at:]
            elif kind == 2:
                text = text[:at] + rng.choice(extra) + text[at + 1:]
            elif kind == 3:
                text = text[:at]
            else:
                end = min(len(text), at + rng.randrange(1, 8))
                text = text[:end] + text[at:end] + text[end:]
        return text

    def next(self):
        text = self.write(self.value(self.root, 3))
        if self.rng.random() < 0.4:
            text = self.mutate(text)
        data = text.encode("utf-8")
        if self.rng.random() < 0.02:
            at = self.rng.randrange(len(data) + 1)
            data = data[:at] + bytes([self.rng.randrange(128, 256)]) + data[at:]
        return data
