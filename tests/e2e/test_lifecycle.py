# SPDX-License-Identifier: Apache-2.0
"""At stake: starting tells what is wrong, ending loses nothing that was promised.

Shown with signals, exit codes and the small commands of the binary.
"""

import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import threading
import time

import pytest

from payloads import ADDITION, ADDITION_ANSWER, ADDITION_PROMPT, assert_error, chat, endless
from server_process import (
    ROOT,
    SLOWNESS,
    ServerProcess,
    default_binary,
    skein_environment,
    wait_until,
)
from wire import Wire, request_bytes

COMPLETIONS = "/v1/completions"
GOSLING = ROOT / "models" / "gosling" / "gosling.safetensors"
GOSLING_VOCABULARY = ROOT / "models" / "gosling" / "gosling_vocab.txt"
DEAD = 10 * SLOWNESS


def skein(*arguments, environment=None, given=None):
    """Runs the binary to its end."""
    return subprocess.run(
        [default_binary(), *map(str, arguments)],
        env=skein_environment(environment),
        input=given,
        capture_output=True,
        text=True,
        timeout=30 * SLOWNESS,
        check=False,
    )


def tokens_in(seconds, server):
    """How many tokens one stream gets in that time on this machine."""
    body = {"prompt": ADDITION_PROMPT, "ignore_eos": True, "max_tokens": 400}
    started = time.monotonic()
    assert server.post(COMPLETIONS, body).status == 200
    rate = 400 / (time.monotonic() - started)
    return min(60000, max(50, int(rate * seconds)))


# Signals and the drain.


@pytest.mark.short
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signal_ends_an_idle_server_with_0(start_server, number):
    own = start_server()
    own.signal(number)
    assert own.wait(5) == 0


@pytest.mark.short
@pytest.mark.parametrize("path", [COMPLETIONS, "/v1/chat/completions"])
def test_running_stream_finishes_after_sigterm(start_server, path):
    own = start_server()
    count = tokens_in(2, own)
    body = {**chat(ADDITION), "prompt": ADDITION_PROMPT, "stop": None}
    with own.stream(path, {**body, "ignore_eos": True, "max_tokens": count}) as stream:
        events = stream.events()
        next(events)
        own.signal()
        rest = list(events)
        assert stream.done
        assert rest[-1]["choices"][0]["finish_reason"] in ("length", "stop")
    assert own.wait(10) == 0


def test_plain_request_finishes_after_sigterm(start_server):
    own = start_server()
    count = tokens_in(2, own)
    replies = []

    def ask():
        body = {"prompt": ADDITION_PROMPT, "ignore_eos": True, "max_tokens": count}
        replies.append(own.post(COMPLETIONS, body))

    thread = threading.Thread(target=ask)
    thread.start()
    assert wait_until(lambda: own.slots_used() == 1, 5) is not None
    own.signal()
    thread.join()
    assert replies[0].status == 200
    assert replies[0].json()["usage"]["completion_tokens"] == count
    assert own.wait(10) == 0


def test_new_connections_are_refused_while_draining(start_server):
    own = start_server()
    with own.stream(COMPLETIONS, endless()) as stream:
        next(stream.data())
        own.signal()

        def refused():
            with socket.socket() as probe:
                return probe.connect_ex(("127.0.0.1", own.port)) != 0

        assert wait_until(refused, 2) is not None
        assert own.process.poll() is None
    assert own.wait(10) == 0


def test_kept_connection_gets_503_and_is_closed_while_draining(start_server):
    own = start_server()
    with own.stream(COMPLETIONS, endless()) as stream, Wire(own.port) as kept:
        next(stream.data())
        kept.send(request_bytes("GET", "/livez"))
        assert kept.reply().status == 200
        own.signal()
        time.sleep(0.2)
        if kept.send(request_bytes("POST", COMPLETIONS, b'{"prompt":"x"}')):
            reply = kept.reply()
            if reply is not None:
                assert_error(reply, 503)
                assert int(reply.headers["retry-after"]) >= 1
        assert kept.closed_within(2) is not None
    assert own.wait(10) == 0


def test_readyz_is_404_during_the_drain_delay(start_server):
    own = start_server("--drain-delay", "2s")
    own.signal()
    assert wait_until(lambda: own.get("/readyz").status == 404, 1) is not None
    assert own.get("/livez").status == 200
    assert own.wait(10) == 0


def test_drain_timeout_cuts_what_still_runs(start_server):
    own = start_server("--drain-timeout", "1s")
    with own.stream(COMPLETIONS, endless(), timeout=60) as stream:
        next(stream.data())
        started = time.monotonic()
        own.signal()
        assert own.wait(10) == 0
        assert 0.8 < time.monotonic() - started < 4 * SLOWNESS


def test_second_signal_ends_it_now(start_server):
    own = start_server()
    with own.stream(COMPLETIONS, endless(), timeout=60) as stream:
        next(stream.data())
        own.signal()
        time.sleep(0.3)
        assert own.process.poll() is None
        started = time.monotonic()
        own.signal()
        own.wait(3)
        assert time.monotonic() - started < 1 * SLOWNESS


def test_hangup_and_broken_pipe_do_not_end_it(start_server):
    own = start_server()
    own.signal(signal.SIGPIPE)
    time.sleep(0.1)
    assert own.get("/livez").status == 200


# What start-up refuses, and with which exit code.


def test_taken_port_is_said_and_exits_1():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        ended = skein("serve", "--port", port)
    assert ended.returncode == 1
    assert str(port) in ended.stderr


@pytest.mark.short
@pytest.mark.parametrize(
    "arguments",
    [
        ["serve", "--port", "70000"],
        ["serve", "--port", "http"],
        ["serve", "--slots", "-1"],
        ["serve", "--no-such-option"],
        ["serve", "--device", "abacus"],
        ["serve", "--model"],
        ["serve", "stray"],
        ["fly"],
        [],
    ],
)
def test_bad_usage_exits_2(arguments):
    ended = skein(*arguments)
    assert ended.returncode == 2
    assert ended.stderr


def test_all_mistakes_are_reported_at_once(tmp_path):
    file = tmp_path / "skein.ini"
    file.write_text("slots = 0x\nno_such_key = 1\n")
    environment = {"SKEIN_QUEUE": "many"}
    ended = skein("serve", "--port", "70000", "--config", file, environment=environment)
    assert ended.returncode == 2
    for word in ("port", "slots", "no_such_key", "SKEIN_QUEUE"):
        assert word in ended.stderr


@pytest.mark.parametrize("option", ["--model", "--vocab", "--config", "--api-key-file"])
def test_path_that_does_not_exist_exits_2(option, tmp_path):
    path = tmp_path / "nothing-here"
    ended = skein("serve", option, path)
    assert ended.returncode == 2
    assert str(path) in ended.stderr


def corrupt_models():
    whole = GOSLING.read_bytes()
    length = int.from_bytes(whole[:8], "little")
    return {
        "empty": b"",
        "text": b"this is not a model\n" * 100,
        "cut": whole[: len(whole) // 2],
        "huge header": (1 << 60).to_bytes(8, "little") + whole[8:],
        "no JSON": whole[:8] + b"x" * length + whole[8 + length :],
        "header only": whole[: 8 + length],
    }


@pytest.mark.short
@pytest.mark.parametrize("kind", ["empty", "text", "cut", "huge header", "no JSON", "header only"])
def test_corrupt_model_exits_3(kind, tmp_path):
    path = tmp_path / "model.safetensors"
    path.write_bytes(corrupt_models()[kind])
    ended = skein("serve", "--port", "0", "--model", path, "--vocab", GOSLING_VOCABULARY)
    assert ended.returncode == 3
    assert ended.stderr


@pytest.mark.parametrize("text", ["", "nonsense\n", "1 'a' 2\n", "1 'a' 1\n1 'b' 1\n"])
def test_corrupt_vocabulary_exits_3(text, tmp_path):
    path = tmp_path / "vocabulary.txt"
    path.write_text(text)
    ended = skein("serve", "--port", "0", "--model", GOSLING, "--vocab", path)
    assert ended.returncode == 3


def test_missing_cuda_device_exits_4():
    ended = skein("serve", "--port", "0", "--device", "cuda")
    if ended.returncode == 0:
        pytest.skip("there is a device here")
    assert ended.returncode == 4
    assert "cuda" in ended.stderr.lower()


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1"])
def test_address_that_others_reach_needs_a_key(host):
    ended = skein("serve", "--port", "0", "--host", host)
    assert ended.returncode == 2
    assert "--api-key" in ended.stderr and "--insecure" in ended.stderr


@pytest.mark.parametrize("options", [["--api-key", "secret-1234"], ["--insecure"]])
def test_address_that_others_reach_opens_with_a_key_or_insecure(start_server, options):
    own = start_server("--host", "0.0.0.0", *options)
    assert own.get("/livez", headers={"Host": "any.example"}).status == 200


# Options come from three places.


def test_environment_and_file_configure(start_server, tmp_path):
    file = tmp_path / "skein.ini"
    file.write_text("slots = 3\nmodel-name = from-the-file\n")
    own = start_server("--config", str(file), environment={"SKEIN_MODEL_NAME": "from-outside"})
    assert own.metrics()["skein_slots"] == 3
    assert own.get("/v1/models").json()["data"][0]["id"] == "from-outside"


def test_shipped_configuration_file_is_valid(start_server):
    own = start_server("--config", str(ROOT / "config" / "skein.ini"))
    assert own.get("/readyz").status == 200


def test_model_file_is_served_under_its_name(start_server):
    own = start_server("--model", str(GOSLING), "--vocab", str(GOSLING_VOCABULARY))
    assert own.get("/v1/models").json()["data"][0]["id"] == "gosling"
    reply = own.post(COMPLETIONS, {"prompt": ADDITION_PROMPT, "temperature": 0, "top_p": 1})
    assert reply.json()["choices"][0]["text"] == " " + ADDITION_ANSWER


def test_start_prints_address_device_and_a_line_that_works(start_server):
    own = start_server()
    output = own.output()
    assert own.url in output
    assert "cpu" in output
    assert "64" in output
    line = re.search(r"^(?:try: )?(curl .*)$", output, re.MULTILINE)[1]
    if shutil.which("curl") is None:
        pytest.skip("no curl here")
    asked = subprocess.run(
        ["sh", "-c", line], capture_output=True, text=True, timeout=30, check=True
    )
    assert f'"{ADDITION_ANSWER}"' in asked.stdout


# The small commands.


@pytest.mark.short
def test_run_answers():
    ended = skein("run", ADDITION)
    assert ended.returncode == 0
    assert ended.stdout.strip() == ADDITION_ANSWER


def test_run_continues_a_raw_prompt():
    ended = skein("run", "--raw", ADDITION_PROMPT)
    assert (ended.returncode, ended.stdout) == (0, f" {ADDITION_ANSWER}\n")


def test_run_reads_standard_input():
    assert skein("run", "-", given=ADDITION).stdout.strip() == ADDITION_ANSWER


@pytest.mark.parametrize("text", [ADDITION_PROMPT, "Grüße 🪿"])
def test_tokenize_and_back(server, text):
    ids = skein("tokenize", text)
    assert ids.returncode == 0
    tokens = [int(word) for word in ids.stdout.split()]
    assert tokens == server.post("/tokenize", {"prompt": text}).json()["tokens"]
    assert skein("tokenize", "--decode", ids.stdout).stdout == text + "\n"


def test_version_is_printed():
    ended = skein("--version")
    assert ended.returncode == 0
    assert re.fullmatch(r"skein \d+\.\d+\.\d+\n", ended.stdout)


@pytest.mark.parametrize("arguments", [["--help"], ["serve", "--help"], ["run", "--help"]])
def test_help_exits_0(arguments):
    ended = skein(*arguments)
    assert ended.returncode == 0
    assert "usage" in ended.stdout


def test_health_command_tells_ready_from_not(server):
    environment = {"SKEIN_PORT": str(server.port)}
    assert skein("health", environment=environment).returncode == 0
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        environment = {"SKEIN_PORT": str(nobody.getsockname()[1])}
        assert skein("health", environment=environment).returncode == 1


def test_two_servers_do_not_share_a_port():
    first = ServerProcess()
    try:
        assert skein("serve", "--port", first.port).returncode == 1
        assert first.get("/livez").status == 200
    finally:
        first.close()


# The two commands of the tree.


def stub(folder, name, script):
    path = folder / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


def install_packages(folder, package_list):
    script = f". {ROOT}/packages.sh; packages_install ${package_list}"
    return subprocess.run(
        ["sh", "-c", script],
        env={**os.environ, "PATH": f"{folder}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


@pytest.mark.skipif(shutil.which("dpkg-query") is None, reason="not a Debian machine")
def test_second_start_installs_nothing(tmp_path):
    for name in ("apt-get", "sudo"):
        stub(tmp_path, name, f"touch {tmp_path}/called; exit 1")
    ended = install_packages(tmp_path, "build_packages")
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")
    assert not (tmp_path / "called").exists()


@pytest.mark.skipif(shutil.which("dpkg-query") is None, reason="not a Debian machine")
def test_user_without_rights_is_told_the_one_line(tmp_path):
    stub(tmp_path, "dpkg-query", "exit 1")
    stub(tmp_path, "id", "echo 1000")
    stub(tmp_path, "sudo", "exit 1")
    stub(tmp_path, "apt-get", f"touch {tmp_path}/called")
    ended = install_packages(tmp_path, "build_packages")
    assert ended.returncode == 1
    assert re.search(r"^ +sudo apt-get install -y .*libmicrohttpd-dev", ended.stderr, re.MULTILINE)
    assert not (tmp_path / "called").exists()


def test_scripts_name_no_path_of_a_machine():
    for name in ("run.sh", "test.sh", "packages.sh", ".ci/run"):
        text = (ROOT / name).read_text()
        assert not re.search(r"/(root|home|work)/", text), name
        assert pathlib.Path(ROOT / name).stat().st_mode & 0o111 or name == "packages.sh"
