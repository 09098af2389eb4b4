# SPDX-License-Identifier: Apache-2.0
"""A running `skein serve`: starts it on a free port, asks it, measures it, ends it.

Standard library only: load.py uses it too. Kills nothing but its own child.
"""

import contextlib
import http.client
import json
import os
import pathlib
import re
import signal
import subprocess
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
# How many times slower than a plain build the binary under test may be (sanitizers).
SLOWNESS = float(os.environ.get("SKEIN_E2E_SLOWNESS", "1"))
READY_SECONDS = 30
SANITIZER_REPORT = re.compile(r"ERROR: \w+Sanitizer|WARNING: ThreadSanitizer|runtime error:")


def default_binary():
    return os.environ.get("SKEIN_BINARY") or str(ROOT / "build" / "skein")


def wait_until(condition, seconds, pause=0.005):
    """Polls until the condition holds; returns the seconds that took, or None. A build that is
    slower gets more time."""
    started = time.monotonic()
    while True:
        if condition():
            return time.monotonic() - started
        if time.monotonic() - started > seconds * SLOWNESS:
            return None
        time.sleep(pause)


class Reply:
    def __init__(self, response):
        self.status = response.status
        self.headers = {name.lower(): value for name, value in response.getheaders()}
        self.body = response.read()

    def json(self):
        return json.loads(self.body)


def skein_environment(extra=None):
    """This process's environment without anything that would configure Skein."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("SKEIN_")}
    return {**clean, **(extra or {})}


class ServerProcess:
    def __init__(self, *options, environment=None, binary=None):
        self.key = None
        self._directory = tempfile.TemporaryDirectory(prefix="skein-e2e-")
        self._output = pathlib.Path(self._directory.name) / "output"
        self._log = pathlib.Path(self._directory.name) / "log"
        with open(self._output, "wb") as output, open(self._log, "wb") as log:
            self.process = subprocess.Popen(
                [binary or default_binary(), "serve", "--port", "0", *options],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=log,
                env=skein_environment(environment),
            )
        try:
            self.port = self._wait_ready()
        except BaseException:
            self.kill()
            raise

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    def output(self):
        return self._output.read_text(errors="replace")

    def log(self):
        return self._log.read_text(errors="replace")

    def _announced_port(self):
        match = re.search(r"https?://[^\s/]+:(\d+)", self.output())
        return int(match[1]) if match else None

    def _wait_ready(self):
        def answers():
            if self.process.poll() is not None:
                raise RuntimeError(f"exit {self.process.returncode} at start:\n{self.log()}")
            self.port = self._announced_port()
            if self.port is None:
                return False
            with contextlib.suppress(OSError):
                return self.request("GET", "/readyz").status == 200
            return False

        if wait_until(answers, READY_SECONDS, 0.02) is None:
            raise RuntimeError(f"never got ready:\n{self.output()}\n{self.log()}")
        return self.port

    def connect(self, timeout=30.0):
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout * SLOWNESS)

    def _send(self, connection, method, path, body, headers):
        headers = dict(headers or {})
        if self.key is not None:
            headers.setdefault("Authorization", f"Bearer {self.key}")
        if body is not None and not isinstance(body, bytes):
            body = json.dumps(body).encode()
        if body is not None:
            headers.setdefault("Content-Type", "application/json")
        connection.request(method, path, body, headers)
        return connection.getresponse()

    def request(self, method, path, body=None, headers=None, timeout=30.0):
        """One request on a connection of its own; `body` is bytes, or anything JSON can say."""
        connection = self.connect(timeout)
        try:
            return Reply(self._send(connection, method, path, body, headers))
        finally:
            connection.close()

    def get(self, path, **options):
        return self.request("GET", path, **options)

    def post(self, path, body, **options):
        return self.request("POST", path, body, **options)

    @contextlib.contextmanager
    def stream(self, path, body, headers=None, timeout=30.0):
        """Sends a request with stream: true and gives an EventStream; leaving hangs up."""
        connection = self.connect(timeout)
        try:
            response = self._send(connection, "POST", path, {**body, "stream": True}, headers)
            yield EventStream(response)
        finally:
            connection.close()

    def metrics(self):
        """All samples of /metrics without labels, and those with labels by their whole name."""
        samples = {}
        for line in self.get("/metrics").body.decode().splitlines():
            if line and not line.startswith("#"):
                name, value = line.rsplit(" ", 1)
                samples[name] = float(value)
        return samples

    def slots_used(self):
        return self.metrics()["skein_slots_used"]

    def wait_slots_free(self, seconds):
        """Returns the seconds until no slot is used and nothing waits, or None."""

        def free():
            metrics = self.metrics()
            return metrics["skein_slots_used"] == 0 and metrics["skein_requests_waiting"] == 0

        return wait_until(free, seconds)

    def rss_kib(self):
        with open(f"/proc/{self.process.pid}/status", encoding="ascii") as status:
            return int(re.search(r"VmRSS:\s+(\d+) kB", status.read())[1])

    def cpu_seconds(self):
        with open(f"/proc/{self.process.pid}/stat", encoding="ascii") as stat:
            fields = stat.read().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def open_sockets(self):
        count = 0
        for entry in os.scandir(f"/proc/{self.process.pid}/fd"):
            with contextlib.suppress(OSError):
                count += os.readlink(entry.path).startswith("socket:")
        return count

    def signal(self, number=signal.SIGTERM):
        self.process.send_signal(number)

    def wait(self, seconds=10.0):
        """Waits for the end and returns the exit status."""
        return self.process.wait(seconds * SLOWNESS)

    def kill(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    def close(self):
        """Ends the server as an operator would; complains unless it ends well and in time."""
        try:
            if self.process.poll() is None:
                self.signal()
                status = self.wait(40)
                if status != 0:
                    raise RuntimeError(f"exit status {status} after SIGTERM:\n{self.log()}")
            report = SANITIZER_REPORT.search(self.log())
            if report:
                raise RuntimeError(f"sanitizer report:\n{self.log()[report.start():][:8000]}")
        finally:
            self.kill()
            self._directory.cleanup()


class EventStream:
    """Server-sent events of one response."""

    def __init__(self, response):
        self.response = response
        self.status = response.status
        self.headers = {name.lower(): value for name, value in response.getheaders()}
        self.comments = 0
        self.done = False

    def data(self):
        """Yields the data of each event up to the end of the body, "[DONE]" included."""
        while True:
            line = self.response.readline()
            if not line:
                return
            line = line.rstrip(b"\n")
            if line.startswith(b":"):
                self.comments += 1
                continue
            if not line:
                continue
            if not line.startswith(b"data: "):
                raise AssertionError(f"not a line of an event stream: {line!r}")
            yield line[len(b"data: ") :].decode()

    def events(self):
        """Yields the JSON of each event; `done` tells afterwards whether [DONE] ended them."""
        for data in self.data():
            if data == "[DONE]":
                self.done = True
            elif self.done:
                raise AssertionError(f"an event after [DONE]: {data}")
            else:
                yield json.loads(data)
