# SPDX-License-Identifier: Apache-2.0
"""Bound answers of the whole engine against jsonschema: what is complete is valid.

Usage: structured.py DRIVER [--schemas N] [--answers N]

Every schema of tests/grammar/schemas.py, answered from pseudo-random logits with one and with two
steps in flight: an answer that ended by "stop" is JSON that jsonschema accepts; one that was cut by
max_tokens ended by "length", and the grammar completes it to such JSON. Needs what
tests/grammar/differential.py needs, and finds it in the same way.
"""

import argparse
import json
import os
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "grammar"))

SKIPPED = 77
COMPLETE_SHARE = 0.9
TOKENS_MAX = 400


class Driver:
    """One process of tests/engine/structured_driver.c."""

    def __init__(self, path, steps_in_flight):
        self.process = subprocess.Popen([path, str(steps_in_flight)], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE)

    def ask(self, line, data=b""):
        self.process.stdin.write(line.encode() + b"\n" + data)
        self.process.stdin.flush()

    def answer(self):
        words = self.process.stdout.readline().decode().split()
        if not words:
            raise SystemExit("the driver died")
        return words

    def compile(self, schema):
        data = json.dumps(schema).encode()
        self.ask(f"schema {len(data)}", data)
        words = self.answer()
        return None if words[0] == "ok" else self.process.stdout.read(int(words[1])).decode()

    def answers(self, seed, count):
        """Returns a list of (why it ended, text, what completes it)."""
        self.ask(f"answers {seed} {count} {TOKENS_MAX}")
        found = []
        for _ in range(count):
            words = self.answer()
            text = self.process.stdout.read(int(words[2]))
            found.append((words[1], text, self.process.stdout.read(int(words[3]))))
        return found

    def close(self):
        self.process.stdin.close()
        self.process.stdout.close()
        return self.process.wait()


def is_valid(oracle, data):
    try:
        return oracle.judge(data) != "refuse" and (
            oracle.python_differs or oracle.plain_accepts(data))
    except ValueError:
        return False


def run(path, steps_in_flight, found, count):
    """Returns how many answers passed and failed; texts by schema."""
    driver = Driver(path, steps_in_flight)
    passed = failed = complete = 0
    texts = []
    for number, schema in enumerate(found):
        message = driver.compile(schema)
        if message is not None:
            print(f"FAILED: schema {number} was refused: {message}")
            failed += 1
            continue
        oracle = Oracle(schema)
        answers = driver.answers(1000 * number, count)
        texts.append([text for _, text, _ in answers])
        for finish, text, end in answers:
            complete += finish == "stop"
            right = finish in ("stop", "length") and (finish == "length" or end == b"")
            if right and is_valid(oracle, text + end):
                passed += 1
                continue
            failed += 1
            if failed <= 20:
                print(f"FAILED: schema {number}: {finish} {text!r} + {end!r} for {schema}")
    if driver.close() != 0:
        print("FAILED: the driver's exit status")
        failed += 1
    share = complete / max(1, len(found) * count)
    print(f"{steps_in_flight} in flight: {complete} of {len(found) * count} complete "
          f"({100 * share:.1f} %)")
    if share < COMPLETE_SHARE:
        print(f"FAILED: only {share} of the answers are complete")
        failed += 1
    return passed, failed, texts


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("driver")
    parser.add_argument("--schemas", type=int, default=300)
    parser.add_argument("--answers", type=int, default=20)
    options = parser.parse_args()
    found = schemas(options.schemas)
    passed, failed, alone = run(options.driver, 1, found, options.answers)
    more_passed, more_failed, overlapping = run(options.driver, 2, found, options.answers)
    if alone != overlapping:
        print("FAILED: answers depend on the steps in flight")
        failed += 1
    passed += more_passed
    failed += more_failed
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    PYTHON = os.environ.get("SKEIN_TEST_PYTHON")
    if PYTHON and "SKEIN_TEST_PYTHON_RUNS" not in os.environ:
        os.environ["SKEIN_TEST_PYTHON_RUNS"] = "1"
        os.execv(PYTHON, [PYTHON] + sys.argv)
    try:
        import fqdn  # noqa: F401 (what jsonschema checks hostnames with)
        import isoduration  # noqa: F401
        import jsonschema  # noqa: F401
        import rfc3339_validator  # noqa: F401
    except ImportError as error:
        print(f"SKIP: {error} (set SKEIN_TEST_PYTHON to an interpreter that has it)")
        sys.exit(SKIPPED)
    from oracle import Oracle
    from schemas import schemas
    sys.exit(main())
