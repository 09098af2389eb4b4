# SPDX-License-Identifier: Apache-2.0
"""Schemas and patterns that have brought others down, for differential.py.

Each is (kind, name, text, verdict): "ok" and "refused" are required, "any" may be either.
"""

import json


def closed(properties):
    return {"type": "object", "properties": properties, "required": list(properties),
            "additionalProperties": False}


def nested_objects(depth):
    schema = {"type": "null"}
    for _ in range(depth):
        schema = closed({"a": schema})
    return schema


def nested_any_of(depth, width):
    schema = {"type": "integer"}
    for _ in range(depth):
        schema = {"anyOf": [schema] * width}
    return schema


def reference_chain(count, last):
    definitions = {f"d{i}": {"$ref": f"#/$defs/d{i + 1}"} for i in range(count)}
    definitions[f"d{count}"] = last
    return {"$ref": "#/$defs/d0", "$defs": definitions}


def doubling(count):
    definitions = {f"d{i}": {"anyOf": [{"$ref": f"#/$defs/d{i + 1}"},
                                       {"$ref": f"#/$defs/d{i + 1}"}]} for i in range(count)}
    definitions[f"d{count}"] = {"type": "string"}
    return {"$ref": "#/$defs/d0", "$defs": definitions}


def everything_of_everything(count):
    names = [{"$ref": f"#/$defs/d{i}"} for i in range(count)]
    return {"$ref": "#/$defs/d0", "$defs": {f"d{i}": {"anyOf": names + [{"type": "null"}]}
                                           for i in range(count)}}


def ambiguous_recursion(width):
    return {"anyOf": [{"type": "null"}] + [
        {"type": "array", "items": {"$ref": "#"}, "maxItems": 1000 + i} for i in range(width)]}


def patterns():
    return [
        ("nested quantifiers", "(a+)+b", "ok"), ("more of them", "(((a*)*)*)*b", "ok"),
        ("alternation of itself", "(a|a|a|a|a)*c", "ok"), ("exponential DFA", "(a|b)*a(a|b){20}",
                                                          "refused"),
        ("search with count", "a.{500}b", "any"), ("nested repeats", "((a{1000}){1000}){1000}",
                                                   "refused"),
        ("repeat above limit", "a{1001}", "refused"), ("repeat huge", "a{99999999999}", "refused"),
        ("repeat of any", ".{1000}", "any"), ("bounded any", "^.{0,1000}$", "any"),
        ("bounded class product", "^([a-z]{1,100} ){1,100}$", "any"),
        ("empty repeats", "(){1000}", "ok"), ("repeat of optional", "(a?){1000}a{1000}", "any"),
        ("deep groups", "(" * 32 + "a" + ")" * 32, "ok"),
        ("deeper groups", "(" * 33 + "a" + ")" * 33, "refused"),
        ("open groups", "(" * 20000, "refused"), ("close groups", ")" * 20000, "refused"),
        ("open classes", "[" * 20000, "refused"), ("many classes", "[a-z]" * 10000, "any"),
        ("long alternation", "|".join(f"w{i}x" for i in range(8000)), "any"),
        ("long alternation of classes", "|".join("[a-z]*[0-9]" for _ in range(3000)), "any"),
        ("back reference", "(a)\\1", "refused"), ("lookahead", "(?=a)b", "refused"),
        ("lookbehind", "(?<!a)b", "refused"), ("word boundary", "\\bfoo\\b", "refused"),
        ("unicode property", "\\p{L}+", "refused"), ("inline flag", "(?i)abc", "refused"),
        ("possessive", "a++b", "refused"), ("atomic", "(?>a)b", "refused"),
        ("conditional", "(?(1)a|b)", "refused"), ("surrogate escape", "\\ud800", "refused"),
        ("all unicode many times", "[^a]{300}[^b]{300}", "any"),
        ("many unicode ranges", "[" + "".join(
            chr(0x400 + 2 * i) for i in range(4000)) + "]*", "any"),
        ("anchors everywhere", "^$" * 3000, "ok"), ("dots and stars", "(.*)" * 2000, "any"),
        ("star height", "((a*b*)*c*)*" * 300, "any"), ("dangling brace", "a{,5}", "refused"),
        ("bad range", "[z-a]", "refused"), ("lone backslash", "\\", "refused")]


def documents():
    big = "x" * 30000
    return [
        ("levels of objects", nested_objects(31), "ok"), ("33 levels", nested_objects(33),
                                                         "refused"),
        ("a choice of choices", nested_any_of(10, 2), "ok"),
        ("wide choices", nested_any_of(2, 50), "ok"), ("reference to itself", {"$ref": "#"},
                                                      "refused"),
        ("circle of references", reference_chain(500, {"$ref": "#/$defs/d0"}), "refused"),
        ("long chain", reference_chain(1500, {"type": "string"}), "any"),
        ("doubling references", doubling(30), "ok"), ("more doubling", doubling(600), "any"),
        ("129 alternatives", {"anyOf": [closed({f"p{i}": True}) for i in range(129)]}, "refused"),
        ("50 times 10 alternatives", {"anyOf": [{"anyOf": [closed({f"p{100 * j + i}": True})
                                                            for i in range(10)]}
                                                  for j in range(50)]}, "refused"),
        ("everything of everything", everything_of_everything(100), "any"),
        ("array of itself that never ends", {"type": "array", "items": {"$ref": "#"},
                                             "minItems": 1}, "refused"),
        ("ambiguous recursion", ambiguous_recursion(60), "any"),
        ("long enum", {"enum": [f"value {i}" for i in range(3500)]}, "ok"),
        ("enum of numbers", {"enum": list(range(9000))}, "ok"), ("long constant", {"const": big},
                                                               "ok"),
        ("many properties", closed({f"p{i}": {"type": "integer"} for i in range(1200)}), "any"),
        ("many bounds", closed({f"p{i}": {"type": "number", "minimum": i + 0.125, "maximum": 2 * i
                                          + 1000.5} for i in range(500)}), "any"),
        ("many formats", closed({f"p{i}": {"type": "string", "format": "ipv6", "minLength": i % 40}
                                 for i in range(300)}), "any"),
        ("long minimum length", {"type": "string", "pattern": "^a*$", "minLength": 100000}, "any"),
        ("huge lengths", {"type": "string", "minLength": 10**9, "maxLength": 10**9}, "ok"),
        ("length overflow", {"type": "string", "minLength": 10**30}, "refused"),
        ("huge item counts", {"type": "array", "minItems": 10**9}, "ok"),
        ("large multiple", {"type": "integer", "multipleOf": 999983}, "refused"),
        ("tiny multiple", {"type": "number", "multipleOf": 1e-300}, "refused"),
        ("huge bounds", {"type": "number", "minimum": -1e300, "maximum": 1e300}, "refused"),
        ("empty range", {"type": "integer", "minimum": 5, "maximum": 4}, "refused"),
        ("unknown keyword", {"type": "object", "patternProperties": {}}, "refused"),
        ("negation", {"not": {"type": "string"}}, "refused"),
        ("outside reference", {"$ref": "http://example.org/s.json"}, "refused"),
        ("no additionalProperties", {"type": "object", "properties": {}}, "refused")]


def raw():
    return [
        ("not UTF-8", b'{"type":"\xff\xfe"}'), ("lone surrogate", b'{"const":"\\ud800"}'),
        ("raw control", b'{"const":"\x01"}'), ("cut", b'{"type":"obj'), ("empty", b""),
        ("trailing", b'{} {}'), ("deep arrays", b"[" * 60000), ("deep objects", b'{"a":' * 10000),
        ("twice", b'{"type":"string","type":"null"}'), ("too long", b" " * 70000 + b"{}"),
        ("overlong UTF-8", b'{"const":"\xc0\x80"}'), ("number", b"{\"minimum\":01}")]


def hostile():
    """All of them."""
    found = [("schema", name, json.dumps(schema), verdict) for name, schema, verdict in documents()]
    found += [("schema", name, text, "refused") for name, text in raw()]
    for name, pattern, verdict in patterns():
        found.append(("regex", name, pattern, verdict))
        found.append(("schema", name + " in a schema", json.dumps(
            {"type": "string", "pattern": pattern}), "any"))
    return found
