# SPDX-License-Identifier: Apache-2.0
"""At stake: whatever /openapi.json allows or forbids, the server answers as that document says.

schemathesis reads the document, asks in every way it can think of, valid and not, and judges: no
5xx, no status that is not documented. The seed is fixed: each run asks the same.
"""

import importlib.util
import json
import subprocess
import sys

import pytest

from server_process import SLOWNESS, skein_environment

SEED = "5"
REQUEST_SECONDS = "30"
CHECKS = ["not_a_server_error", "status_code_conformance"]

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("schemathesis") is None, reason="schemathesis is not installed"
)


def run_schemathesis(url, report, phases, examples, seconds):
    """Runs the command in the folder of the report; returns the ended process with its output."""
    command = [sys.executable, "-m", "schemathesis.cli", "run", f"{url}/openapi.json"]
    command += [f"--seed={SEED}", f"--checks={','.join(CHECKS)}", f"--phases={phases}"]
    # One worker: with two, hypothesis was seen to end in a SystemError of ast.parse (CPython 3.11).
    command += [f"--max-examples={examples}", f"--request-timeout={REQUEST_SECONDS}", "--workers=1"]
    command += ["--generation-database=none", "--suppress-health-check=all"]
    command += ["--continue-on-failure", "--no-color"]
    command += ["--report=ndjson", f"--report-ndjson-path={report}"]
    return subprocess.run(
        command,
        cwd=report.parent,
        env=skein_environment({"NO_PROXY": "*"}),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=seconds * SLOWNESS,
        check=False,
    )


def read_scenarios(report):
    """What was asked and judged, one record for each operation in each phase."""
    with open(report, encoding="utf-8") as lines:
        events = [json.loads(line) for line in lines]
    ended = [event["ScenarioFinished"] for event in events if "ScenarioFinished" in event]
    return [each["recorder"] for each in ended]


def count_cases(scenarios):
    """How many requests got an answer."""
    exchanges = [each for item in scenarios for each in item.get("interactions", {}).values()]
    return sum(each.get("response") is not None for each in exchanges)


def operations_of(server):
    """All but the document itself, which schemathesis reads at the start and never judges."""
    paths = server.get("/openapi.json").json()["paths"]
    labels = {f"{method.upper()} {path}" for path, methods in paths.items() for method in methods}
    return labels - {"GET /openapi.json"}


def check_server(server, report, wanted, **limits):
    """All checks passed, every operation was asked, and no fewer cases than wanted."""
    ended = run_schemathesis(server.url, report, **limits)
    assert ended.returncode == 0, ended.stdout[-8000:]
    scenarios = read_scenarios(report)
    assert {each["label"] for each in scenarios} == operations_of(server)
    assert count_cases(scenarios) >= wanted, ended.stdout[-2000:]
    assert server.get("/readyz").status == 200


def test_random_requests_are_answered_as_documented(server, tmp_path):
    check_server(server, tmp_path / "report", 500, phases="fuzzing", examples=28, seconds=150)


@pytest.mark.long
def test_every_corner_of_the_document_is_answered_as_documented(server, tmp_path):
    report = tmp_path / "report"
    check_server(server, report, 5000, phases="coverage,fuzzing", examples=64, seconds=400)
