# SPDX-License-Identifier: Apache-2.0
"""Gosling's vocabulary: the 256 bytes, then a few template strings.

Standard library only. Id 0 is end of text and is not in the file; id b + 1 is the byte b; template
strings follow. Encoding is greedy longest match on bytes. No template string ends inside an answer
or reaches over its borders, so a rendered conversation and a generated one have the same ids.
"""

import re

END_OF_TEXT = 0

TEMPLATE_STRINGS = (
    "\n\n",
    "User:",
    "Assistant:",
    "System:",
    "\n\nUser:",
    "\n\nAssistant:",
    " Echo: ",
    " Reverse the word: ",
    " Sort: ",
    " What is ",
    " Uppercase: ",
    ' How many letters are in "',
    " Remember: the key of door ",
    " What is the key of door ",
    " My name is ",
    " What is my name?",
    " JSON: ",
    " What are you?",
    " Who are you?",
    " What can you do?",
)

FIRST_TEMPLATE_ID = 257
_TEMPLATE_BYTES = [text.encode() for text in TEMPLATE_STRINGS]
_ID_OF_TEMPLATE = {text: FIRST_TEMPLATE_ID + i for i, text in enumerate(_TEMPLATE_BYTES)}
ID_COUNT = FIRST_TEMPLATE_ID + len(TEMPLATE_STRINGS)  # highest id + 1

# Alternatives are tried in order, so longest first makes the regular expression a greedy
# longest-match tokenizer; what it skips are single bytes.
_TEMPLATE_PATTERN = re.compile(
    b"|".join(re.escape(text) for text in sorted(_TEMPLATE_BYTES, key=len, reverse=True))
)


def encode(text):
    """Returns the ids of a str or bytes object."""
    data = text.encode() if isinstance(text, str) else text
    ids = []
    position = 0
    for match in _TEMPLATE_PATTERN.finditer(data):
        ids += [byte + 1 for byte in data[position:match.start()]]
        ids.append(_ID_OF_TEMPLATE[match.group()])
        position = match.end()
    ids += [byte + 1 for byte in data[position:]]
    return ids


def decode(ids):
    """Returns the bytes of the ids; end of text and ids above the vocabulary decode to nothing."""
    out = bytearray()
    for token in ids:
        if 1 <= token <= 256:
            out.append(token - 1)
        elif FIRST_TEMPLATE_ID <= token < ID_COUNT:
            out += _TEMPLATE_BYTES[token - FIRST_TEMPLATE_ID]
    return bytes(out)


def _literal(data):
    """Returns the Python literal of one entry; bytes that are no UTF-8 text get a b literal."""
    return repr(data.decode()) if data.isascii() else repr(data)


def write(path):
    """Writes the World file format: one line `<id> <literal> <byte length>` for each id."""
    with open(path, "w", encoding="utf-8", newline="\n") as file:
        for byte in range(256):
            file.write(f"{byte + 1} {_literal(bytes([byte]))} 1\n")
        for i, data in enumerate(_TEMPLATE_BYTES):
            file.write(f"{FIRST_TEMPLATE_ID + i} {_literal(data)} {len(data)}\n")
