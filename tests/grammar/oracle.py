# SPDX-License-Identifier: Apache-2.0
"""What a text should be found to be: json.loads and jsonschema, and the documented subset.

Two validators. `plain` is the library as everybody has it: whatever the grammar accepts, it must
accept. `exact` reads patterns as ECMA 262 does ($ at the very end, ASCII classes) and formats as
grammar/string_format.h documents them: what it accepts, written within the subset, the grammar must
accept too.
"""

import datetime
import decimal
import ipaddress
import json
import re

import jsonschema

WHITE_SPACE_MAX = 40
DEPTH_MAX = 32
LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
TIME = r"([01]\d|2[0-3]):[0-5]\d:[0-5]\d(\.\d{1,9})?(Z|[+-]([01]\d|2[0-3]):[0-5]\d)"
CANONICAL_NUMBER = re.compile(r"-?(0|[1-9]\d{0,9})(\.\d{0,4}[1-9])?\Z")


def is_date(text):
    try:
        return bool(re.fullmatch(r"\d{4}-\d\d-\d\d", text, re.ASCII)) and bool(
            datetime.date.fromisoformat(text))
    except ValueError:
        return False


def is_time(text):
    return re.fullmatch(TIME, text, re.ASCII) is not None


def is_duration(text):
    digits = r"\d{1,9}"
    date = f"(?:{digits}Y(?:{digits}M(?:{digits}D)?)?|{digits}M(?:{digits}D)?|{digits}D)"
    time = f"T(?:{digits}H(?:{digits}M(?:{digits}S)?)?|{digits}M(?:{digits}S)?|{digits}S)"
    return re.fullmatch(f"P(?:{digits}W|{date}(?:{time})?|{time})", text, re.ASCII) is not None


def is_hostname(text):
    labels = text.split(".")
    return len(text) <= 253 and labels[-1][:1].isalpha() and all(
        re.fullmatch(LABEL, label, re.ASCII) for label in labels)


def is_email(text):
    local, _, host = text.rpartition("@")
    return len(text) <= 254 and is_hostname(host) and all(
        re.fullmatch(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+", part, re.ASCII)
        for part in local.split("."))


def is_ip(version):
    def check(text):
        try:
            return "%" not in text and ipaddress.ip_address(text).version == version
        except ValueError:
            return False
    return check


def is_uuid(text):
    return re.fullmatch(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}", text) is not None


FORMATS = {"date": is_date, "time": is_time, "duration": is_duration, "email": is_email,
           "hostname": is_hostname, "ipv4": is_ip(4), "ipv6": is_ip(6), "uuid": is_uuid,
           "date-time": lambda text: text[10:11] == "T" and is_date(text[:10])
           and is_time(text[11:])}


SPACES = r"\t-\r \xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000\ufeff"


def to_python(pattern):
    """A test pattern with the meaning of ECMA 262: $ in them is always an anchor, and what is not
    the same everywhere is not in classes."""
    for ours, python in (("$", r"\Z"), (r"\s", f"[{SPACES}]"), (r"\S", f"[^{SPACES}]")):
        pattern = pattern.replace(ours, python)
    return re.sub(r"(?<!\\)\.", r"[^\\n\\r\\u2028\\u2029]", pattern)


def exact_pattern(validator, pattern, instance, schema):
    if validator.is_type(instance, "string") and \
            re.search(to_python(pattern), instance, re.ASCII) is None:
        yield jsonschema.ValidationError("pattern")


def exact_format(validator, name, instance, schema):
    if validator.is_type(instance, "string") and not FORMATS[name](instance):
        yield jsonschema.ValidationError("format")


Exact = jsonschema.validators.extend(
    jsonschema.Draft202012Validator, {"pattern": exact_pattern, "format": exact_format})


class Outside(Exception):
    """JSON, but not within the documented subset."""


class Refused(Exception):
    """Not JSON."""


def no_constant(text):
    raise Refused(text)


def distinct_pairs(pairs):
    if len({key for key, _ in pairs}) < len(pairs):
        raise Outside("a key appears twice")
    return dict(pairs)


def depth_of(value):
    if isinstance(value, dict):
        return 1 + max(map(depth_of, value.values()), default=0)
    if isinstance(value, list):
        return 1 + max(map(depth_of, value), default=0)
    return 0


def has_surrogates(value):
    if isinstance(value, dict):
        return any(has_surrogates(part) for pair in value.items() for part in pair)
    if isinstance(value, list):
        return any(map(has_surrogates, value))
    return isinstance(value, str) and any("\ud800" <= c <= "\udfff" for c in value)


STRING_OR_SPACE = re.compile(r'"(?:[^"\\]|\\.)*"|([ \t\n\r]+)', re.DOTALL)


INTEGER = re.compile(rb"-?(0|[1-9]\d{0,18})\Z")
NUMBER = re.compile(rb"-?(0|[1-9]\d{0,18})(\.\d{1,19})?([eE][+-]?\d{1,2})?\Z")
PLAIN_NUMBER = re.compile(rb"-?(0|[1-9]\d*)(\.\d+)?\Z")
LIMITS = {"minimum": lambda x, y: x >= y, "exclusiveMinimum": lambda x, y: x > y,
          "maximum": lambda x, y: x <= y, "exclusiveMaximum": lambda x, y: x < y,
          "multipleOf": lambda x, y: x % y == 0}


def judge_number(schema, data):
    """The verdict on a text for a schema of type integer or number, in whatever way written."""
    limits = [key for key in schema if key in LIMITS]
    if schema["type"] == "integer":
        written = INTEGER.match(data)
    elif limits:
        written = PLAIN_NUMBER.match(data) and len(re.findall(rb"\d", data)) <= 15
    else:
        written = NUMBER.match(data)
    right = written and all(LIMITS[key](decimal.Decimal(data.decode()), decimal.Decimal(
        str(schema[key]))) for key in limits)
    return "accept" if right else "refuse"


class Oracle:
    """Judges texts for one schema."""

    def __init__(self, schema):
        self.plain = jsonschema.Draft202012Validator(
            schema, format_checker=jsonschema.Draft202012Validator.FORMAT_CHECKER)
        self.exact = Exact(schema)
        written = json.dumps(schema)
        # Python's \S and \s know more white space than ECMA's; elsewhere both agree.
        self.python_differs = "\\\\S" in written

    def parse(self, data):
        """Returns (value, whether it is written within the subset). Raises Refused."""
        numbers = []

        def number(kind):
            def parse(text):
                numbers.append(text)
                return kind(text)
            return parse
        try:
            text = data.decode("utf-8")
            try:
                value = json.loads(text, parse_int=number(int), parse_float=number(float),
                                   parse_constant=no_constant, object_pairs_hook=distinct_pairs)
                inside = True
            except Outside:
                value = json.loads(text)
                inside = False
        except (UnicodeDecodeError, ValueError, RecursionError) as error:
            raise Refused(str(error)) from error
        if has_surrogates(value):
            raise Refused("a lone surrogate")
        runs = [len(match.group(1) or "") for match in STRING_OR_SPACE.finditer(text)]
        inside = inside and max(runs, default=0) <= WHITE_SPACE_MAX and text == text.rstrip(
            " \t\n\r") and depth_of(value) <= DEPTH_MAX and all(
                CANONICAL_NUMBER.match(number) for number in numbers)
        return value, inside

    def judge(self, data):
        """Returns "accept", "refuse", or what the grammar may choose between: "accept if
        documented", when the value is right but written in another way."""
        try:
            value, inside = self.parse(data)
        except Refused:
            return "refuse"
        if not self.exact.is_valid(value):
            return "refuse"
        return "accept" if inside else "either"

    def plain_accepts(self, data):
        return self.plain.is_valid(json.loads(data, parse_constant=no_constant))
