# SPDX-License-Identifier: Apache-2.0
"""The grammar against json.loads and jsonschema: the same texts, the same verdicts.

Usage: differential.py DRIVER [--schemas N] [--strings N] [--outputs N] [--limits]
                              [--vocabulary PATH]

Four parts: texts that nearly fit, for every schema; numbers written in every way; outputs generated
from pseudo-random logits under masks; hostile schemas and patterns, with --limits also their CPU
time and memory. Needs jsonschema and what its formats need (pip install
jsonschema[format-nongpl]): from the interpreter that SKEIN_TEST_PYTHON names, else from this one.
Exit status 77 when there is none.
"""

import argparse
import json
import os
import random
import subprocess
import sys

SKIPPED = 77
CPU_US_MAX = 100_000
MEMORY_KB_MAX = 64 * 1024
COMPLETE_SHARE = 0.9
TOKENS_MAX = 400


class Driver:
    """One process of tests/grammar/driver.c."""

    def __init__(self, arguments):
        self.process = subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def close(self):
        self.process.stdin.close()
        self.process.stdout.close()
        self.process.wait()

    def ask(self, line, data=b""):
        self.process.stdin.write(line.encode() + b"\n" + data)
        self.process.stdin.flush()
        answer = self.process.stdout.readline().decode().split()
        if not answer:
            raise SystemExit(f"the driver died after: {line} {data[:200]!r}")
        return answer

    def compile(self, kind, text, mode="any"):
        """Returns (None, [bytes, us, kb]) or (message, None)."""
        data = text.encode() if isinstance(text, str) else text
        answer = self.ask(f"{kind} {mode} {len(data)}", data)
        if answer[0] == "error":
            return self.process.stdout.read(int(answer[1])).decode(), None
        return None, list(map(int, answer[1:]))

    def check(self, data):
        return self.ask(f"check {len(data)}", data)[0]

    def generate(self, seed):
        """Returns (finished, text, what completes it)."""
        answer = self.ask(f"generate {seed} {TOKENS_MAX}")
        text = self.process.stdout.read(int(answer[2]))
        return answer[1] == "stop", text, self.process.stdout.read(int(answer[3]))


class Count:
    """Passed and failed; the first failures are shown."""

    def __init__(self):
        self.passed = 0
        self.failed = 0

    def check(self, right, message):
        self.passed += bool(right)
        self.failed += not right
        if not right and self.failed <= 20:
            print("FAILED:", message)


def test_strings(driver, schemas, strings, count):
    """Random texts for each schema: the verdicts must agree."""
    totals = {"accept": 0, "refuse": 0, "either": 0}
    for number, schema in enumerate(schemas):
        message, _ = driver.compile("schema", json.dumps(schema))
        count.check(message is None, f"schema {number} was refused: {message}: {schema}")
        if message is not None:
            continue
        oracle = Oracle(schema)
        texts = Texts(schema, random.Random(number))
        for _ in range(strings):
            data = texts.next()
            wanted = oracle.judge(data)
            totals[wanted] += 1
            found = "accept" if driver.check(data) == "accept" else "refuse"
            count.check(wanted in (found, "either"),
                        f"schema {number}: {found}, expected {wanted}: {data!r} for {schema}")
            if found == "accept" and not oracle.python_differs:
                count.check(oracle.plain_accepts(data),
                            f"schema {number}: jsonschema refuses {data!r} for {schema}")
    print(f"strings: {totals}")


def test_numbers(driver, schemas, strings, count):
    """Numbers in every way of writing, for all schemas of numbers."""
    accepted = total = 0
    for number, schema in enumerate(schemas):
        if not isinstance(schema, dict) or schema.get("type") not in ("integer", "number") \
                or "enum" in schema:
            continue
        driver.compile("schema", json.dumps(schema))
        rng = random.Random(number)
        for _ in range(strings):
            data = number_text(rng)
            wanted = judge_number(schema, data)
            found = "accept" if driver.check(data) == "accept" else "refuse"
            count.check(found == wanted, f"number {data!r}: {found} for {schema}")
            accepted += found == "accept"
            total += 1
            if found == "accept":
                count.check(Oracle(schema).plain_accepts(data), f"jsonschema refuses {data!r} for "
                            f"{schema}")
    print(f"numbers: {accepted} of {total} accepted")


def test_outputs(driver, schemas, outputs, count):
    """Generated texts: complete ones are valid, cut ones can be completed."""
    complete = 0
    for number, schema in enumerate(schemas):
        message, _ = driver.compile("schema", json.dumps(schema))
        if message is not None:
            continue
        oracle = Oracle(schema)
        for seed in range(outputs):
            finished, text, end = driver.generate(1000 * number + seed)
            complete += finished
            count.check(finished <= (end == b""), f"schema {number}: {text!r} ended too early")
            try:
                right = oracle.judge(text + end) != "refuse" and (
                    oracle.python_differs or oracle.plain_accepts(text + end))
            except ValueError:
                right = False
            count.check(right, f"schema {number} seed {seed}: {text!r} + {end!r} for {schema}")
            count.check(driver.check(text) != "refuse", f"schema {number}: {text!r} is no prefix")
    share = complete / (len(schemas) * outputs)
    print(f"outputs: {complete} of {len(schemas) * outputs} complete ({100 * share:.1f} %)")
    count.check(share >= COMPLETE_SHARE, f"only {share} of the outputs are complete")


def test_hostile(arguments, limits, count):
    """Each in a process of its own: an answer, within the limits."""
    base = Driver(arguments)
    _, measured = base.compile("schema", "true")
    base.close()
    accepted = 0
    slowest = largest = longest = 0
    for kind, name, text, verdict in hostile():
        driver = Driver(arguments)
        message, figures = driver.compile(kind, text)
        accepted += message is None
        if verdict != "any":
            count.check((message is None) == (verdict == "ok"), f"{name}: {message}")
        else:
            count.check(True, name)
        if message is None:
            longest = max(longest, int(driver.ask("bench 1 60")[-1]))
        usage = figures or list(map(int, driver.ask("usage")[1:]))
        slowest = max(slowest, usage[1])
        largest = max(largest, usage[2] - measured[2])
        if limits:
            count.check(usage[1] <= CPU_US_MAX, f"{name}: {usage[1]} us")
            count.check(usage[2] - measured[2] <= MEMORY_KB_MAX, f"{name}: {usage[2]} kB")
        driver.close()
    print(f"hostile: {len(hostile())} ({accepted} accepted), slowest {slowest / 1000:.1f} ms, "
          f"largest {largest} kB, longest step {longest / 1e6:.1f} ms")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("driver")
    parser.add_argument("--schemas", type=int, default=320)
    parser.add_argument("--strings", type=int, default=1000)
    parser.add_argument("--outputs", type=int, default=20)
    parser.add_argument("--limits", action="store_true")
    parser.add_argument("--vocabulary")
    options = parser.parse_args()
    arguments = [options.driver] + ([options.vocabulary] if options.vocabulary else [])
    found = schemas(options.schemas)
    count = Count()
    driver = Driver(arguments)
    test_strings(driver, found, options.strings, count)
    test_numbers(driver, found, options.strings, count)
    test_outputs(driver, found, options.outputs, count)
    driver.close()
    test_hostile(arguments, options.limits, count)
    print(f"{count.passed} passed, {count.failed} failed")
    return 1 if count.failed else 0


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
    from hostile import hostile
    from oracle import Oracle, judge_number
    from schemas import Texts, number_text, schemas
    sys.exit(main())
