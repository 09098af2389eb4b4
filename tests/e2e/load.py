# SPDX-License-Identifier: Apache-2.0
"""Load test with known answers: 200 concurrent streams, and every single text must be right.

Three rounds. The first two are identical; memory after the second may be 5 % above that after the
first. In the third, a random third of the clients ask for endless text and hang up at a random
moment: the others' answers stay right, and the slots come back within a second. Exit status 1 on
any failure. Starts its own server, or loads the one at --url (key in SKEIN_API_KEY). Standard
library only; `--help` lists the options.
"""

import argparse
import asyncio
import json
import os
import random
import sys
import time
import urllib.parse

from gosling import load_prompts
from server_process import ServerProcess, default_binary

STREAMS = 200
REQUESTS = 2000
RSS_GROWTH_MAX = 1.05
SLOTS_BACK_SECONDS = 1.0
LIMIT_SECONDS = 180
REQUEST_SECONDS = 60
CHAT, COMPLETIONS = "/v1/chat/completions", "/v1/completions"


class Failure(Exception):
    pass


class Client:
    """One kept-alive connection that streams one answer after another."""

    def __init__(self, host, port):
        self.host, self.port = host, port
        self.reader = self.writer = None

    async def _connect(self):
        if self.writer is None:
            self.reader, self.writer = await asyncio.open_connection(self.host, self.port)

    def hang_up(self):
        if self.writer is not None:
            self.writer.transport.abort()
        self.reader = self.writer = None

    async def _head(self):
        head = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        status = int(head.split(" ", 2)[1])
        if status != 200:
            raise Failure(f"status {status}")
        if "transfer-encoding: chunked" not in head.lower():
            raise Failure("the stream is not chunked")
        if "\r\nconnection: close" in head.lower():
            raise Failure("the connection is not kept")

    async def _chunks(self):
        while True:
            size = int(await self.reader.readline(), 16)
            data = await self.reader.readexactly(size + 2)
            if size == 0:
                return
            yield data[:-2]

    async def stream(self, path, body):
        """Sends a request and yields the text of each event."""
        await self._connect()
        payload = json.dumps({**body, "stream": True}).encode()
        key = os.environ.get("SKEIN_API_KEY")
        authorization = f"Authorization: Bearer {key}\r\n" if key else ""
        self.writer.write(
            f"POST {path} HTTP/1.1\r\nHost: {self.host}:{self.port}\r\n{authorization}"
            "Content-Type: application/json\r\n"
            f"Content-Length: {len(payload)}\r\n\r\n".encode() + payload
        )
        await self._head()
        buffer, done = b"", False
        async for chunk in self._chunks():
            buffer += chunk
            *events, buffer = buffer.split(b"\n\n")
            for event in events:
                if event == b"data: [DONE]":
                    done = True
                elif event.startswith(b"data: "):
                    yield text_of(json.loads(event[len(b"data: ") :]))
        if not done:
            raise Failure("the stream ended without [DONE]")


def text_of(event):
    if "error" in event:
        raise Failure(event["error"]["message"])
    choice = event["choices"][0]
    return choice["text"] if "text" in choice else choice["delta"].get("content", "")


class Round:
    """What one round asked and saw."""

    def __init__(self, name):
        self.name = name
        self.right = self.wrong = self.errors = self.hung_up = 0
        self.first_text_seconds = []
        self.seconds = 0.0
        self.last_hang_up = 0.0
        self.examples = []

    def note(self, kind, what):
        setattr(self, kind, getattr(self, kind) + 1)
        if len(self.examples) < 5:
            self.examples.append(f"{self.name}: {what}")


async def ask(client, prompt, as_chat, outcome):
    """One request whose answer is known."""
    started = time.monotonic()
    if as_chat:
        path, body, expected = CHAT, {"messages": prompt.messages}, prompt.greedy.removeprefix(" ")
    else:
        path, body, expected = COMPLETIONS, {"prompt": prompt.prompt}, prompt.greedy
    text = ""
    try:
        async with asyncio.timeout(REQUEST_SECONDS):
            async for piece in client.stream(path, {**body, "temperature": 0, "max_tokens": 512}):
                if piece and not text:
                    outcome.first_text_seconds.append(time.monotonic() - started)
                text += piece
    except (Failure, OSError, EOFError, ValueError, TimeoutError) as problem:
        outcome.note("errors", f"{type(problem).__name__} {problem}")
        client.hang_up()
        return
    if text == expected:
        outcome.right += 1
    else:
        outcome.note("wrong", f"{prompt.task}: expected {expected!r}, got {text!r}")


async def ask_and_hang_up(client, prompt, rng, outcome):
    """An endless request that is left: at once, soon, or in the middle of its text."""
    body = {"prompt": prompt.prompt, "ignore_eos": True, "max_tokens": 60000}
    pieces = 0
    patience = rng.choice([rng.uniform(0, 0.005), rng.uniform(0, 0.1), rng.uniform(0, 2)])
    try:
        async with asyncio.timeout(patience):
            async for _ in client.stream(COMPLETIONS, body):
                pieces += 1
    except TimeoutError:
        outcome.hung_up += 1
    except (Failure, OSError, EOFError, ValueError) as problem:
        outcome.note("errors", f"{type(problem).__name__} {problem} after {pieces} events")
    client.hang_up()
    outcome.last_hang_up = time.monotonic()


async def play(host, port, prompts, outcome, streams, leavers_seed=None):
    """Runs the prompts over that many connections; with a seed, a third of the requests hang up."""
    rng = random.Random(leavers_seed)
    work = [
        (index, prompt, leavers_seed is not None and rng.random() < 1 / 3)
        for index, prompt in enumerate(prompts)
    ]
    work.reverse()

    async def one_client():
        client = Client(host, port)
        while work:
            index, prompt, leaves = work.pop()
            if leaves:
                await ask_and_hang_up(client, prompt, rng, outcome)
            else:
                await ask(client, prompt, index % 2 == 0, outcome)
        client.hang_up()

    started = time.monotonic()
    await asyncio.gather(*(one_client() for _ in range(streams)))
    outcome.seconds = time.monotonic() - started


def quantile(values, share):
    return sorted(values)[min(len(values) - 1, int(share * len(values)))] if values else 0.0


class Checks:
    def __init__(self):
        self.failed = 0

    def expect(self, condition, what):
        print(f"  {'ok  ' if condition else 'FAIL'} {what}")
        self.failed += not condition


class Remote:
    """A server that somebody else started; its memory is not ours to see."""

    def __init__(self, url):
        parts = urllib.parse.urlsplit(url)
        self.port, self.host = parts.port, parts.hostname
        self.process = None

    rss_kib = None
    connect = ServerProcess.connect
    _send = ServerProcess._send
    request = ServerProcess.request
    get = ServerProcess.get
    metrics = ServerProcess.metrics
    wait_slots_free = ServerProcess.wait_slots_free
    key = os.environ.get("SKEIN_API_KEY")

    def close(self):
        pass


def play_round(server, host, name, prompts, checks, streams, leavers_seed=None):
    outcome = Round(name)
    asyncio.run(play(host, server.port, prompts, outcome, streams, leavers_seed))
    back = server.wait_slots_free(SLOTS_BACK_SECONDS + 4)
    print(
        f"{name:8} {outcome.seconds:6.1f} s  right {outcome.right}  wrong {outcome.wrong}  "
        f"errors {outcome.errors}  hung up {outcome.hung_up}  "
        f"first text p50 {quantile(outcome.first_text_seconds, 0.5) * 1000:.0f} ms "
        f"p99 {quantile(outcome.first_text_seconds, 0.99) * 1000:.0f} ms"
    )
    for example in outcome.examples:
        print(f"    {example}")
    checks.expect(outcome.wrong == 0, f"{name}: every answer is right")
    checks.expect(outcome.errors == 0, f"{name}: no error")
    checks.expect(
        outcome.right + outcome.hung_up == len(prompts), f"{name}: every request was answered"
    )
    checks.expect(
        back is not None and back <= SLOTS_BACK_SECONDS, f"{name}: all slots free within a second"
    )
    return outcome


def play_all(server, host, options, checks):
    prompts = load_prompts()
    rng = random.Random(options.seed)
    rng.shuffle(prompts)
    cycled = [prompts[index % len(prompts)] for index in range(options.requests)]
    print(f"{options.streams} streams, {options.requests} requests of {len(prompts)} known answers")
    memory = []
    for name in ("first", "second"):
        play_round(server, host, name, cycled, checks, options.streams)
        if server.rss_kib is not None:
            memory.append(server.rss_kib())
    if memory:
        growth = memory[1] / memory[0]
        print(f"memory   {memory[0]} kB after the first round, {memory[1]} kB after the second")
        checks.expect(growth <= RSS_GROWTH_MAX, f"memory grew by {(growth - 1) * 100:.1f} %")
    hanging = play_round(
        server, host, "hang up", cycled, checks, options.streams, leavers_seed=options.seed
    )
    checks.expect(hanging.hung_up >= options.requests / 4, "hang up: a third did hang up")


def parse_options():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--url", help="a running server; not given: start one")
    parser.add_argument("--binary", default=default_binary(), help="what to start")
    parser.add_argument("--requests", type=int, default=REQUESTS, help="of each round")
    parser.add_argument("--streams", type=int, default=STREAMS, help="at the same time")
    parser.add_argument("--device", default="cpu", help="that the server computes on")
    parser.add_argument("--seed", type=int, default=1, help="order of prompts, hang-ups")
    return parser.parse_args()


def main():
    options = parse_options()
    checks = Checks()
    started = time.monotonic()
    if options.url:
        server = Remote(options.url)
        play_all(server, server.host, options, checks)
    else:
        server = ServerProcess(
            "--slots", str(options.streams), "--device", options.device, binary=options.binary
        )
        try:
            play_all(server, "127.0.0.1", options, checks)
        finally:
            server.close()
    seconds = time.monotonic() - started
    checks.expect(seconds <= LIMIT_SECONDS, f"{seconds:.0f} s in all")
    sys.exit(checks.failed > 0)


if __name__ == "__main__":
    main()
