# SPDX-License-Identifier: Apache-2.0
"""Counts the results of one step of test.sh: prints `passed failed skipped`.

count.py meson testlog.json   a libcheck suite counts its checks, any other test counts as one
count.py junit results.xml    what pytest writes
count.py output log           its last line `N passed, N failed[, N skipped]`, if it has one

The names of what failed or was skipped go to standard error. Exit status 1: nothing to count.
"""

import json
import re
import sys
import xml.etree.ElementTree as xml

CHECK_LINE = re.compile(r"^\d+%: Checks: (\d+), Failures: (\d+), Errors: (\d+)$", re.MULTILINE)
PLAIN_LINE = re.compile(r"(?:\w+: )?(\d+) passed, (\d+) failed(?:, (\d+) skipped)?")


def count_meson_test(test):
    """Returns (passed, failed, skipped) of one line of meson's testlog.json."""
    if test["result"] == "SKIP":
        return 0, 0, 1
    ok = test["result"] in ("OK", "EXPECTEDFAIL")
    suites = [tuple(map(int, found)) for found in CHECK_LINE.findall(test.get("stdout") or "")]
    checks = sum(suite[0] for suite in suites)
    failed = sum(suite[1] + suite[2] for suite in suites)
    if checks == 0:
        return int(ok), int(not ok), 0
    # A suite that crashed, or whose sanitizer complained, failed even if every check passed.
    if not ok and failed == 0:
        return checks, 1, 0
    return checks - failed, failed, 0


def count_meson(path):
    total = (0, 0, 0)
    with open(path, encoding="utf-8") as lines:
        for line in lines:
            test = json.loads(line)
            counts = count_meson_test(test)
            if counts[1] or counts[2]:
                print(f"    {test['result'].lower()}: {test['name']}", file=sys.stderr)
            total = tuple(map(sum, zip(total, counts)))
    return total


def count_junit(path):
    total = [0, 0, 0]
    for case in xml.parse(path).iter("testcase"):
        outcome = 0
        for child in case:
            if child.tag in ("failure", "error"):
                outcome = 1
            elif child.tag == "skipped" and outcome == 0:
                outcome = 2
        total[outcome] += 1
        if outcome:
            name = f"{case.get('classname')}.{case.get('name')}"
            print(f"    {('', 'failed', 'skipped')[outcome]}: {name}", file=sys.stderr)
    return tuple(total)


def count_output(path):
    with open(path, encoding="utf-8", errors="replace") as log:
        lines = log.read().rstrip().splitlines()
    match = PLAIN_LINE.fullmatch(lines[-1].strip()) if lines else None
    return tuple(int(number or 0) for number in match.groups()) if match else None


def main():
    kind, path = sys.argv[1:]
    count = {"meson": count_meson, "junit": count_junit, "output": count_output}[kind]
    try:
        counts = count(path)
    except (OSError, ValueError, xml.ParseError) as problem:
        print(f"    {path}: {problem}", file=sys.stderr)
        counts = None
    if counts is None:
        sys.exit(1)
    print(*counts)


if __name__ == "__main__":
    main()
