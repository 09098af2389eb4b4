# SPDX-License-Identifier: Apache-2.0
"""tests/tidy/tidy.py - the house style as a test: includes, lengths, banned calls, headers, README.

Usage: tidy.py TREE [PRINT_OPTIONS PRINT_FIELDS]. Prints one line per violation and exits 1 when
there are any. Warnings do not fail. A rule that is wrong is changed here, not worked around in the
code.
"""

import fnmatch
import os
import re
import subprocess
import sys

LINE_LENGTH_MAX = 100
FUNCTION_LINES_MAX = 70
FILE_LINES_WARN = 600
FILE_LINES_MAX = 1000

# Ratchet: "path" or "path:function" -> lines it has now. It may shrink, never grow; new ones are
# not added.
RATCHET = {}

# Folder -> patterns of project headers that its files may include (its own are always allowed).
# The direction of dependency is the order of these lines; cli/ and tests/ may include everything.
MAY_INCLUDE = {
    "base": [],
    "config": ["base/*"],
    "grammar": ["base/*"],
    "engine": ["base/*", "grammar/grammar.h", "grammar/grammar_mask.h"],
    "cpu": ["base/*", "engine/backend.h", "engine/model_spec.h", "engine/model_file.h",
            "engine/sampler*.h"],
    "cuda": ["base/*", "engine/backend.h", "engine/model_spec.h", "engine/model_file.h",
             "engine/sampler*.h"],
    "server": ["base/*", "config/config.h", "engine/engine.h", "engine/generation.h",
               "engine/chat_template.h", "engine/tokenizer.h", "engine/engine_stats.h",
               "grammar/grammar.h", "grammar/grammar_cache.h"],
    "models": ["base/*"],
    "cli": ["*"],
    "tests": ["*"],
}

# Library header -> patterns of files that may include it; tests may always.
LIBRARY_USERS = {
    "microhttpd.h": ["server/http_*.[ch]", "server/sse_stream.c"],
    "uv.h": ["server/*"],
    "cjson/cJSON.h": ["server/json_reader.c"],
    "zlib.h": ["engine/model_file_zip.c"],
    "cuda*.h": ["cuda/*"],
    "cublas*.h": ["cuda/*"],
}

# Function -> (what to use instead, patterns of files that may call it).
BANNED_CALLS = {
    "strcpy": ("text_copy_to of base/text.h", []),
    "strcat": ("snprintf", []),
    "sprintf": ("snprintf", []),
    "vsprintf": ("vsnprintf", []),
    "gets": ("fgets", []),
    "atoi": ("text_to_int64 of base/text.h", []),
    "atol": ("text_to_int64 of base/text.h", []),
    "strtok": ("text_cut of base/text.h", []),
    "alloca": ("an arena, or a buffer of fixed size", []),
    "setlocale": ("nothing: the program runs in the C locale", []),
    "exit": ("an error code that reaches cli/", ["cli/*", "tests/*"]),
}

C_SUFFIXES = (".c", ".h", ".cu", ".cuh")
TEXT_SUFFIXES = C_SUFFIXES + (".def", ".py", ".sh", ".build", ".ini", ".yaml", ".yml", ".txt",
                              ".md")
TEXT_NAMES = ("Dockerfile*", "run", ".clang-format", ".editorconfig")
DATA = ("tests/data/*.h",)  # Written by programs: tables of numbers, no style.
SKIPPED_FOLDERS = ("build", "build-*", "shared", "__pycache__", "subprojects", ".?*")
KEPT_FOLDERS = (".ci",)

COMMENT_OR_LITERAL = re.compile(
    r'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'', re.DOTALL)

# Written so that this file does not match itself.
UNFINISHED = re.compile(r"\b(TO" r"DO|FIX" r"ME|X" r"XX)\b")
MACHINE_PATH = re.compile(r"(?<![\w.}])/(?:work|root|home)/")
REGISTRY_HOST = re.compile(
    r"\b(?:(?:pypi|npm" r"js|rubygems|golang|anaconda)\.(?:org)|python" r"hosted\.(?:org)"
    r"|(?:crates|docker|ghcr|quay|nvcr)\.(?:io)|(?:deb|security)\.debian\.(?:org)"
    r"|archive\.ubuntu\.(?:com))\b")

# Tables of README.md that a program of tests/tidy/ prints, in the order of the arguments.
TABLES = ("options", "fields")


def matches(name, patterns):
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)


class Report:
    """Collects what is wrong; `failures` decides the exit status."""

    def __init__(self):
        self.failures = []
        self.warnings = []

    def fail(self, path, line, message):
        self.failures.append(f"{path}:{line}: {message}")

    def warn(self, path, line, message):
        self.warnings.append(f"{path}:{line}: warning: {message}")


def find_files(tree):
    """Yields the paths of all text files, relative to the tree, with forward slashes."""
    for folder, folders, names in os.walk(tree):
        folders[:] = sorted(name for name in folders
                            if name in KEPT_FOLDERS or not matches(name, SKIPPED_FOLDERS))
        for name in sorted(names):
            if name.endswith(TEXT_SUFFIXES) or matches(name, TEXT_NAMES):
                yield os.path.relpath(os.path.join(folder, name), tree).replace(os.sep, "/")


def without_comments_and_strings(text):
    """Blanks comments and literals of C, keeping every newline, so that only code is left."""
    return COMMENT_OR_LITERAL.sub(lambda match: re.sub(r"[^\n]", " ", match.group()), text)


def check_includes(path, text, report):
    folder = path.split("/")[0]
    for number, line in enumerate(text.split("\n"), 1):
        match = re.match(r'\s*#\s*include\s+([<"])([^>"]+)[>"]', line)
        if match is None:
            continue
        bracket, header = match.groups()
        if bracket == '"':
            allowed = MAY_INCLUDE.get(folder, []) + [folder + "/*"]
            if not matches(header, allowed):
                report.fail(path, number, f"{folder}/ may not include {header}")
            continue
        for library, users in LIBRARY_USERS.items():
            if fnmatch.fnmatchcase(header, library) and not matches(path, users + ["tests/*"]):
                report.fail(path, number, f"<{header}> belongs only into {' '.join(users)}")


def check_banned_calls(path, code, report):
    for match in re.finditer(r"\b(\w+)\s*\(", code):
        name = match.group(1)
        if name in BANNED_CALLS and not matches(path, BANNED_CALLS[name][1]):
            number = code.count("\n", 0, match.start()) + 1
            report.fail(path, number, f"{name}: use {BANNED_CALLS[name][0]}")


def check_function_lengths(path, code, report):
    """A function is what lies between a lone { and a lone } in the first column."""
    lines = code.split("\n")
    start = None
    for index, line in enumerate(lines):
        if line == "{" and start is None:
            start = index
        elif line == "}" and start is not None:
            check_length(path, function_name(lines, start), start + 1, index - start + 1, report)
            start = None


def function_name(lines, brace):
    """The last name before a parenthesis that starts in the first column's declaration."""
    signature = ""
    for index in range(brace - 1, -1, -1):
        signature = lines[index] + " " + signature
        if lines[index][:1].strip() and "(" in signature:
            break
    match = re.search(r"(\w+)\s*\(", signature)
    return match.group(1) if match else "?"


def check_length(path, function, line, count, report):
    key = f"{path}:{function}"
    if count > max(FUNCTION_LINES_MAX, RATCHET.get(key, 0)):
        report.fail(path, line, f"{function} has {count} lines, at most {FUNCTION_LINES_MAX}")
    elif key in RATCHET and count < RATCHET[key]:
        report.fail(path, line, f"{function} shrank to {count} lines: lower its RATCHET")


def check_file_length(path, text, report):
    count = text.count("\n")
    if count > max(FILE_LINES_MAX, RATCHET.get(path, 0)):
        report.fail(path, count, f"{count} lines, at most {FILE_LINES_MAX}")
    elif count > FILE_LINES_WARN:
        report.warn(path, count, f"{count} lines: look for a second noun")


def check_file_comment(path, text, report):
    """The comment at the top: SPDX, then the file's own name and its purpose."""
    lines = text.split("\n")
    if "SPDX-License-Identifier: Apache-2.0" not in lines[0]:
        report.fail(path, 1, "the first line has no SPDX-License-Identifier: Apache-2.0")
    is_test = path.startswith("tests/") and os.path.basename(path).startswith("test_")
    if not is_test and not any(f"{path} - " in line for line in lines[1:4]):
        report.fail(path, 3, f"the file comment does not say '{path} - purpose'")
    if path.endswith((".h", ".cuh")):
        if "#pragma once" not in lines:
            report.fail(path, 1, "no #pragma once")
        if "Thread:" not in text:
            report.fail(path, 1, "no Thread: line")


def check_lines(path, text, report):
    is_prose = path.endswith(".md")
    for number, line in enumerate(text.split("\n"), 1):
        if not is_prose and len(line) > LINE_LENGTH_MAX:
            report.fail(path, number, f"{len(line)} columns, at most {LINE_LENGTH_MAX}")
        if not is_prose and UNFINISHED.search(line):
            report.fail(path, number, f"{UNFINISHED.search(line).group()}: write an issue instead")
        if "\t" in line or line != line.rstrip():
            report.fail(path, number, "tab, or white space at the line's end")
        if MACHINE_PATH.search(line):
            report.fail(path, number, "absolute path of one machine")
        if REGISTRY_HOST.search(line):
            report.fail(path, number, f"package registry {REGISTRY_HOST.search(line).group()}")


def check_table(text, name, program, report):
    """The table between the markers is exactly what the program prints."""
    begin_mark, end_mark = f"<!-- {name} -->", f"<!-- /{name} -->"
    begin = text.find(begin_mark)
    end = text.find(end_mark)
    if begin < 0 or end < begin:
        report.fail("README.md", 1, f"no {begin_mark} ... {end_mark}")
        return
    table = subprocess.run([program], check=True, capture_output=True, text=True).stdout
    if text[begin + len(begin_mark):end].strip() != table.strip():
        line = text.count("\n", 0, begin) + 1
        report.fail("README.md", line, f"the table of {name} is not what print_{name} prints: "
                    "put its output between the markers")


def check_readme(tree, programs, report):
    path = os.path.join(tree, "README.md")
    if not programs or not os.path.exists(path):
        return
    with open(path, encoding="utf-8") as file:
        text = file.read()
    for name, program in zip(TABLES, programs):
        check_table(text, name, program, report)


def check_tree(tree, programs=()):
    """Runs every check and returns the report; `programs` print the tables of README.md."""
    report = Report()
    for path in find_files(tree):
        if matches(path, DATA):
            continue
        with open(os.path.join(tree, path), encoding="utf-8") as file:
            text = file.read()
        check_lines(path, text, report)
        if path.endswith(C_SUFFIXES):
            code = without_comments_and_strings(text)
            check_includes(path, text, report)
            check_banned_calls(path, code, report)
            check_function_lengths(path, code, report)
            check_file_length(path, text, report)
            check_file_comment(path, text, report)
    check_readme(tree, programs, report)
    return report


def main(arguments):
    report = check_tree(arguments[0], arguments[1:])
    for line in report.warnings + report.failures:
        print(line)
    print(f"{len(report.failures)} violations, {len(report.warnings)} warnings")
    return 1 if report.failures else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
