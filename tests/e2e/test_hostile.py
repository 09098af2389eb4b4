# SPDX-License-Identifier: Apache-2.0
"""At stake: no input takes the server down, makes it spin, or gets past its checks.

Thirty numbered kinds of hostile input, each with the one expected answer; the name of a test
begins with the number. What the server answers only at a deadline waits in the background.
"""

import json
import statistics
import threading
import time

import pytest

from engine_stall import engine_thread, stopped_thread
from payloads import ADDITION, ADDITION_ANSWER, ADDITION_PROMPT, assert_error, chat, endless
from server_process import SLOWNESS, wait_until
from wire import Wire, request_bytes

pytestmark = pytest.mark.short

COMPLETIONS, CHAT = "/v1/completions", "/v1/chat/completions"
GET_LIVE = request_bytes("GET", "/livez")
HEADER_SECONDS, BODY_SECONDS = 10, 30
BODY_CAP = 4 << 20
STREAM_BODY = b'{"prompt":"x","ignore_eos":true,"max_tokens":65536,"stream":true}'
STREAM_REQUEST = request_bytes("POST", COMPLETIONS, STREAM_BODY)
HELD_BYTES_MAX = 67000  # Of a stream that nobody reads: our ring, and the sockets' buffers.


@pytest.fixture
def wire(server):
    with Wire(server.port) as connection:
        yield connection


@pytest.fixture(autouse=True)
def server_survives(server):
    """After whatever a test did, the server answers at once and is still the same process."""
    yield
    assert server.process.poll() is None
    assert server.get("/livez").status == 200


def assert_kept(wire):
    """The connection can be used for another request."""
    wire.send(GET_LIVE)
    reply = wire.reply()
    assert reply is not None and reply.status == 200


def assert_closed(wire, seconds=2.0):
    assert wire.closed_within(seconds * SLOWNESS) is not None


def assert_refused(wire, data, status, kept):
    """Sends bytes; the answer has that status, and the connection is kept or closed."""
    wire.send(data)
    reply = wire.reply()
    assert reply is not None, "closed without an answer"
    assert reply.status == status
    if kept:
        assert_kept(wire)
    else:
        assert_closed(wire)
    return reply


def assert_refused_or_closed(wire, data, status):
    """For what libmicrohttpd refuses itself: some sizes leave it no room for an answer."""
    wire.send(data)
    reply = wire.reply()
    assert reply is None or reply.status == status
    assert_closed(wire)


def json_request(body, path=COMPLETIONS, headers=()):
    return request_bytes("POST", path, body, headers)


def assert_json_refused(wire, body, path=COMPLETIONS):
    """A body that is refused as 400 in OpenAI's shape, on a connection that stays."""
    return assert_error(assert_refused(wire, json_request(body, path), 400, kept=True), 400)


# 1-7: keys, routes, methods, types, sizes.


@pytest.mark.parametrize("line", [(), ("Authorization: Bearer wrong",), ("Authorization: x",)])
def test_01_wrong_or_missing_key_is_401(locked_server, line):
    with Wire(locked_server.port) as wire:
        wire.send(json_request(b'{"prompt":"x"}', headers=line))
        reply = wire.reply()
        assert_error(reply, 401, code="invalid_api_key")
        assert reply.headers["www-authenticate"].startswith("Bearer")
        assert_kept(wire)


def test_02_unknown_path_with_body_is_404_and_kept(wire):
    assert_error(assert_refused(wire, json_request(b"{}", "/v1/nothing"), 404, kept=True), 404)


def test_03_put_is_405(wire):
    reply = assert_refused(wire, request_bytes("PUT", COMPLETIONS, b"{}"), 405, kept=True)
    assert "POST" in reply.headers["allow"]


def test_03_get_of_a_post_route_is_405(wire):
    reply = assert_refused(wire, request_bytes("GET", CHAT), 405, kept=True)
    assert "POST" in reply.headers["allow"]


def test_03_options_is_204_with_allow(wire):
    reply = assert_refused(wire, request_bytes("OPTIONS", CHAT), 204, kept=True)
    assert "POST" in reply.headers["allow"]


def test_03_head_is_200_without_body(wire):
    wire.send(request_bytes("HEAD", "/livez"))
    assert wire.reply(head_only=True).status == 200
    assert_kept(wire)


def test_04_text_plain_is_415(wire):
    data = (
        f"POST {COMPLETIONS} HTTP/1.1\r\nHost: localhost\r\nContent-Type: text/plain\r\n"
        'Content-Length: 14\r\n\r\n{"prompt":"x"}'
    )
    assert_error(assert_refused(wire, data, 415, kept=True), 415)


def body_head(length, *lines):
    lines = "".join(f"{line}\r\n" for line in lines)
    return (
        f"POST {COMPLETIONS} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        f"Content-Length: {length}\r\n{lines}\r\n"
    )


@pytest.mark.parametrize("lines", [(), ("Expect: 100-continue",)])
@pytest.mark.parametrize("length", [BODY_CAP + 1, 1 << 40])
def test_05_body_over_the_cap_is_413(wire, lines, length):
    assert_error(assert_refused(wire, body_head(length, *lines), 413, kept=False), 413)


def test_05_body_at_the_cap_is_read(server):
    body = b'{"prompt":"x","max_tokens":1,"user":"' + b"a" * (BODY_CAP - 39) + b'"}'
    assert len(body) == BODY_CAP
    assert server.post(COMPLETIONS, body).status == 200


def test_05_expect_continue_is_asked_to_go_on(wire):
    body = b'{"prompt":"x","max_tokens":1}'
    wire.send(body_head(len(body), "Expect: 100-continue"))
    assert wire.receive().startswith(b"HTTP/1.1 100")
    wire.send(body)
    assert wire.reply().status == 200


def test_06_unknown_expectation_is_417(wire):
    wire.send(body_head(2, "Expect: a-miracle") + "{}")
    assert_error(wire.reply(), 417)


def chunked(body, *lines):
    lines = "".join(f"{line}\r\n" for line in lines)
    head = (
        f"POST {COMPLETIONS} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        f"{lines}\r\n"
    )
    return head.encode() + body


def test_07_chunked_upload_is_411(wire):
    data = chunked(b'e\r\n{"prompt":"x"}\r\n0\r\n\r\n', "Transfer-Encoding: chunked")
    assert_error(assert_refused(wire, data, 411, kept=False), 411)


# 8-15: framing.


@pytest.mark.parametrize("kilobytes", [33, 64])
def test_08_chunk_extension_flood_is_411_without_spinning(server, kilobytes):
    used = server.cpu_seconds()
    with Wire(server.port) as wire:
        flood = b"5;" + b"a" * (kilobytes * 1000)
        wire.send(chunked(flood, "Transfer-Encoding: chunked"))
        reply = wire.reply()
        assert reply is None or reply.status == 411
        time.sleep(1)
    assert server.cpu_seconds() - used < 0.3 * SLOWNESS


def test_09_content_length_and_transfer_encoding_is_400(wire):
    data = chunked(b"0\r\n\r\n", "Content-Length: 5", "Transfer-Encoding: chunked")
    assert_refused(wire, data, 400, kept=False)


@pytest.mark.parametrize("coding", ["gzip", "gzip, chunked", "identity", "xchunked"])
def test_09_other_transfer_encoding_is_411(wire, coding):
    assert_refused(wire, chunked(b"", f"Transfer-Encoding: {coding}"), 411, kept=False)


@pytest.mark.parametrize("second", ["2", "3"])
def test_10_two_content_lengths_are_400(wire, second):
    data = body_head(2, f"Content-Length: {second}") + "{}"
    assert_refused(wire, data, 400, kept=False)


@pytest.mark.parametrize("value", ["-1", "+2", "0x2", "2, 2", "2 2", "", str(2**64 - 1), "9" * 30])
def test_10_content_length_that_is_no_number_is_400_or_413(wire, value):
    wire.send(body_head(value) + "{}")
    reply = wire.reply()
    assert reply is not None and reply.status in (400, 413)
    assert_closed(wire)


def test_11_space_before_colon_is_one_400(wire):
    smuggled = GET_LIVE.decode()
    data = (
        f"POST {COMPLETIONS} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        f"Content-Length : {len(smuggled)}\r\n\r\n{smuggled}"
    )
    wire.send(data)
    assert wire.reply().status == 400
    assert wire.reply() is None, "the smuggled request was answered"


@pytest.mark.parametrize("line", ["X A: b", "X-A\x01: b", "X-A: b\x01", "no colon at all"])
def test_11_malformed_header_is_400(wire, line):
    wire.send(request_bytes("GET", "/livez", headers=(line,)))
    reply = wire.reply()
    assert reply is None or reply.status == 400
    assert_closed(wire)


def test_11_folded_header_smuggles_nothing(wire):
    """libmicrohttpd joins the lines before anybody sees them; it must stay one request."""
    wire.send(request_bytes("GET", "/livez", headers=("X-A: b\r\n GET /v1/models HTTP/1.1",)))
    reply = wire.reply()
    assert reply is None or reply.status == 400 or reply.body == b'{"status":"ok"}'
    assert wire.closed_within(0.5) is None or reply is None or reply.status == 400
    assert wire.buffer == b"", "a second answer came"


def test_12_no_host_is_400(wire):
    assert_refused(wire, request_bytes("GET", "/livez", host=None), 400, kept=False)


def test_12_two_hosts_are_400(wire):
    data = request_bytes("GET", "/livez", headers=("Host: localhost",))
    assert_refused(wire, data, 400, kept=False)


def test_12_foreign_host_is_421(wire):
    wire.send(request_bytes("GET", "/v1/models", host="evil.example"))
    assert_error(wire.reply(), 421)


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "[::1]", "localhost:{port}"])
def test_12_own_host_is_accepted(server, wire, host):
    wire.send(request_bytes("GET", "/livez", host=host.format(port=server.port)))
    assert wire.reply().status == 200


def test_12_empty_header_name_is_the_known_gap(wire):
    """libmicrohttpd ends the header block there, and nothing outside it can tell: what follows is
    read as another request. So a proxy that others share must open one connection per request."""
    wire.send(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n: v\r\n" + GET_LIVE)
    reply = wire.reply()
    assert reply is None or reply.status in (200, 400)


@pytest.mark.parametrize("version", ["HTTP/1.2", "HTTP/2.0", "HTTP/9.9"])
def test_13_other_versions_are_505(wire, version):
    assert_refused(wire, request_bytes("GET", "/livez", version=version), 505, kept=False)


def test_13_preface_of_http2_is_505(wire):
    assert_refused(wire, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505, kept=False)


def test_13_http10_is_answered_and_closed(wire):
    wire.send(request_bytes("GET", "/livez", version="HTTP/1.0"))
    assert wire.reply().status == 200
    assert_closed(wire)


def test_14_header_of_20_kb_is_431(wire):
    data = request_bytes("GET", "/livez", headers=("X-Large: " + "a" * 20000,))
    assert_refused_or_closed(wire, data, 431)


def test_14_too_many_headers_are_431(wire):
    lines = tuple(f"X-Header-{index}: {'v' * 60}" for index in range(200))
    assert_refused_or_closed(wire, request_bytes("GET", "/livez", headers=lines), 431)


def test_15_path_of_20_kb_is_414(wire):
    assert_refused_or_closed(wire, request_bytes("GET", "/" + "a" * 20000), 414)


# 16, 17, 30: what ends at a deadline. Threads wait while other tests run.


class Background:
    """Runs probes in threads; each returns the seconds until the server closed, or None."""

    def __init__(self):
        self.results = {}
        self.threads = {}

    def start(self, name, probe, *arguments):
        def run():
            self.results[name] = probe(*arguments)

        self.threads[name] = threading.Thread(target=run, daemon=True)
        self.threads[name].start()

    def result(self, name):
        self.threads[name].join(BODY_SECONDS + 15)
        return self.results.get(name)


def drip(port, head, drop, pause, limit):
    """Sends a head, then one drop at a time; returns the seconds until the server closed."""
    started = time.monotonic()
    with Wire(port, timeout=pause) as wire:
        wire.send(head)
        while time.monotonic() - started < limit:
            try:
                if not wire.receive():
                    return time.monotonic() - started
            except TimeoutError:
                pass
            if not wire.send(drop):
                return time.monotonic() - started
    return None


def say_once(port, data, limit):
    with Wire(port) as wire:
        wire.send(data)
        return wire.closed_within(limit)


GARBAGE = {
    "letters": b"this is no HTTP\n",
    "NUL lines": b"\0\0\0\0\n\0\0\n",
    "TLS hello": bytes.fromhex("16030100c8010000c40303") + bytes(range(64)),
    "random bytes": bytes((index * 197 + 91) % 256 for index in range(4096)),
    "half a line": b"GET / HT",
    "nothing": b"",
}


@pytest.fixture(scope="session", autouse=True)
def background(server):
    waiting = Background()
    waiting.start(
        "header", drip, server.port, b"GET /livez HTTP/1.1\r\nX-Drip: ", b"a", 0.8,
        HEADER_SECONDS + 10,
    )
    waiting.start(
        "body", drip, server.port, body_head(100000).encode(), b" ", 0.8, BODY_SECONDS + 10
    )
    for name, data in GARBAGE.items():
        waiting.start(name, say_once, server.port, data, HEADER_SECONDS + 10)
    yield waiting
    for thread in waiting.threads.values():
        thread.join(BODY_SECONDS + 15)


@pytest.mark.late
def test_16_dripping_header_is_closed_at_its_deadline(background):
    assert HEADER_SECONDS - 1 < background.result("header") < HEADER_SECONDS + 3


@pytest.mark.late
def test_17_dripping_body_is_closed_at_its_deadline(background):
    assert BODY_SECONDS - 1 < background.result("body") < BODY_SECONDS + 3


@pytest.mark.late
@pytest.mark.parametrize("name", GARBAGE)
def test_30_garbage_is_closed_by_the_header_deadline(background, name):
    seconds = background.result(name)
    assert seconds is not None and seconds < HEADER_SECONDS + 3


# 18-24: JSON.


@pytest.mark.parametrize(
    "body",
    [
        b" ",
        b"{",
        b'{"prompt":"x"',
        b'{"prompt":"x"}}',
        b'{"prompt":"x"} {}',
        b'{"prompt":"x"}x',
        b"[]",
        b'[{"prompt":"x"}]',
        b'"prompt"',
        b"null",
        b"7",
        b"{'prompt':'x'}",
        b'{"prompt":"x",}',
        b'{"prompt":x}',
        b"\xef\xbb\xbf{}",
    ],
)
def test_18_what_is_no_json_object_is_400(wire, body):
    assert_json_refused(wire, body)


def test_18_empty_body_is_400(wire):
    data = (
        f"POST {COMPLETIONS} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        "Content-Length: 0\r\n\r\n"
    )
    assert_error(assert_refused(wire, data, 400, kept=True), 400)


@pytest.mark.parametrize(("opening", "closing"), [(b"[", b"]"), (b'{"a":', b"}")])
@pytest.mark.parametrize("depth", [64, 5000])
def test_19_deep_nesting_is_400(wire, opening, closing, depth):
    nested = opening * depth + b"1" + closing * depth
    assert_json_refused(wire, b'{"prompt":"x","user":' + nested + b"}")


def test_19_nesting_within_the_limit_is_accepted(server):
    body = b'{"prompt":"x","max_tokens":1,"metadata":' + b"[" * 63 + b"]" * 63 + b"}"
    assert server.post(COMPLETIONS, body).status == 200


def test_19_brackets_in_a_string_do_not_nest(server):
    assert server.post("/tokenize", {"prompt": "[" * 5000}).status == 200


def test_20_more_than_100000_items_are_400(server):
    assert_error(server.post("/detokenize", {"tokens": [1] * 100001}), 400)


def test_20_90000_items_are_accepted(server):
    assert server.post("/detokenize", {"tokens": [98] * 90000}).json()["prompt"] == "a" * 90000


@pytest.mark.parametrize(
    "text",
    [b"\xff", b"\xc3", b"\xc0\xaf", b"\xe0\x80\xaf", b"\xed\xa0\x80", b"\xf4\x90\x80\x80"],
    ids=["never", "cut", "overlong2", "overlong3", "surrogate", "beyond"],
)
def test_21_invalid_utf8_is_400(wire, text):
    assert_json_refused(wire, b'{"prompt":"' + text + b'"}')


@pytest.mark.parametrize(
    "text",
    [b"\0", b"\\u0000", b"\\uZZZZ", b"\\u12", b"\\ud800", b"\\udc00\\ud800", b"\\x41", b"a\nb"],
)
def test_22_bad_characters_are_400(wire, text):
    assert_json_refused(wire, b'{"prompt":"' + text + b'"}')


def test_22_surrogate_pair_is_accepted(server):
    reply = server.post("/tokenize", b'{"prompt":"\\ud83e\\udebf"}')
    assert reply.status == 200 and reply.json()["count"] == 4


@pytest.mark.parametrize(
    "body",
    [
        b'{"prompt":"x","prompt":"y"}',
        b'{"prompt":"x","user":"a","user":"a"}',
        b'{"prompt":"x","metadata":{"a":1,"a":2}}',
    ],
)
def test_23_duplicate_key_is_400(wire, body):
    assert_json_refused(wire, body)


@pytest.mark.parametrize("value", ["1e400", "-1", "1.5", "1e20", '"5"', "true", "[]", "{}"])
def test_24_bad_max_tokens_is_400(wire, value):
    error = assert_json_refused(wire, b'{"prompt":"x","max_tokens":' + value.encode() + b"}")
    assert error["param"] in ("max_tokens", None)


@pytest.mark.parametrize("value", ["1e999", "-1e999", "NaN", "Infinity", "2.0001", '"1"'])
def test_24_bad_temperature_is_400(wire, value):
    assert_json_refused(wire, b'{"prompt":"x","temperature":' + value.encode() + b"}")


def test_24_null_is_absent(server):
    body = {"prompt": ADDITION_PROMPT, "max_tokens": None, "temperature": None}
    assert server.post(COMPLETIONS, body).json()["choices"][0]["text"] == " " + ADDITION_ANSWER


# 25-29: time, order, load.


def test_25_three_pipelined_requests_are_answered_in_order(wire):
    ask = b'{"prompt":"User: Echo: %s\\n\\nAssistant:","stream":true}'
    wire.send(GET_LIVE + json_request(ask % b"first") + request_bytes("GET", "/v1/models"))
    replies = [wire.reply() for _ in range(3)]
    assert [reply.status for reply in replies] == [200, 200, 200]
    assert b"data: [DONE]" in replies[1].body
    assert b'"object":"list"' in replies[2].body.replace(b" ", b"")


def test_25_pipelined_streams_do_not_mix(wire):
    words = [b"alpha", b"beta", b"gamma"]
    ask = b'{"messages":[{"role":"user","content":"Echo: %s"}]}'
    wire.send(b"".join(json_request(ask % word, CHAT) for word in words))
    assert [word in wire.reply().body for word in words] == [True] * 3


def test_26_full_queue_is_503_and_kept(start_server):
    full = start_server("--slots", "1", "--queue", "1")
    with full.stream(COMPLETIONS, endless()) as running:
        next(running.data())
        with Wire(full.port) as queued, Wire(full.port) as wire:
            queued.send(json_request(json.dumps(endless()).encode()))
            assert wait_until(lambda: full.metrics()["skein_requests_waiting"] == 1, 5) is not None
            wire.send(json_request(b'{"prompt":"x"}'))
            reply = wire.reply()
            assert_error(reply, 503)
            assert int(reply.headers["retry-after"]) >= 1
            assert_kept(wire)
    assert full.wait_slots_free(5) is not None


LEAVINGS = {"close": Wire.close, "reset": Wire.reset, "half-close": Wire.half_close}


def leave(server, data, wait_seconds, leaving):
    """Starts a stream, leaves it after a while, returns the seconds until its slot was free."""
    with Wire(server.port) as wire:
        wire.send(data)
        assert wait_until(lambda: server.slots_used() == 1, 5) is not None
        time.sleep(wait_seconds)
        assert server.slots_used() == 1, "it ended before the client left"
        LEAVINGS[leaving](wire)
        return server.wait_slots_free(5)


@pytest.mark.parametrize("leaving", LEAVINGS)
def test_27_client_gone_in_mid_stream_frees_its_slot(start_server, leaving):
    own = start_server()
    seconds = [leave(own, STREAM_REQUEST, 0.1, leaving) for _ in range(9)]
    assert None not in seconds
    assert statistics.median(seconds) < 0.05 * SLOWNESS
    assert max(seconds) < 0.5 * SLOWNESS


@pytest.mark.parametrize("leaving", LEAVINGS)
def test_27_client_gone_in_prefill_frees_its_slot(start_server, leaving):
    """A step already begun ends first."""
    own = start_server()
    is_plain = SLOWNESS == 1
    words = 250000 if is_plain else 10000
    data = json_request(b'{"prompt":"' + b"xyz " * words + b'","stream":true}')
    seconds = [leave(own, data, 0.1, leaving) for _ in range(5 if is_plain else 1)]
    assert None not in seconds
    if is_plain:
        assert statistics.median(seconds) < 0.15
        assert max(seconds) < 0.5


def test_28_engine_stall_is_504_and_the_connection_usable(start_server):
    own = start_server("--queue-timeout", "1s")
    try:
        with stopped_thread(engine_thread(own.process.pid)), Wire(own.port) as wire:
            wire.send(json_request(b'{"prompt":"x"}'))
            reply = wire.reply()
            assert_error(reply, 504)
            assert_kept(wire)
    except PermissionError:
        pytest.skip("one thread cannot be stopped here: ptrace is not allowed")
    assert own.wait_slots_free(5) is not None
    reply = own.post(CHAT, chat(ADDITION))
    assert reply.json()["choices"][0]["message"]["content"] == ADDITION_ANSWER


def test_29_client_that_never_reads_is_bounded_then_cut(start_server):
    own = start_server("--client-stall", "2s")
    sockets = own.open_sockets()
    read = own.post(COMPLETIONS, {**json.loads(STREAM_BODY), "max_tokens": 600})
    token_bytes = len(read.body) / 600
    before = own.metrics()["skein_generated_tokens_total"]
    with Wire(own.port, receive_buffer=2048) as wire:
        wire.send(STREAM_REQUEST)
        assert wait_until(lambda: own.slots_used() == 1, 5) is not None
        seconds = own.wait_slots_free(15)
        assert seconds is not None and 1 < seconds
        held_tokens = own.metrics()["skein_generated_tokens_total"] - before
        assert held_tokens * token_bytes < HELD_BYTES_MAX
        assert wait_until(lambda: own.open_sockets() <= sockets, 5) is not None


def test_29_slow_client_that_reads_gets_everything(start_server):
    """A pause of the reader stops the sequence, not the stream: nothing is lost in the middle."""
    own = start_server()
    count = int(3000 / SLOWNESS)
    body = {"prompt": "x", "ignore_eos": True, "max_tokens": count, "seed": 1}
    whole = own.post(COMPLETIONS, body, timeout=60).json()["choices"][0]["text"]
    with own.stream(COMPLETIONS, body, timeout=60) as stream:
        text = ""
        for index, event in enumerate(stream.events()):
            text += event["choices"][0]["text"]
            if index % (count // 6) == 50:
                time.sleep(0.3)
        assert stream.done
    assert text == whole


# Beyond the thirty.


def disconnect_thousand(own, data):
    """A thousand clients connect, send the same and leave at once."""
    wires = [Wire(own.port) for _ in range(1000)]
    for wire in wires:
        wire.send(data)
    for wire in wires:
        wire.close()


@pytest.mark.parametrize("data", [STREAM_REQUEST, b""], ids=["stream", "nothing"])
def test_thousand_disconnects_at_once_leave_nothing(start_server, data):
    own = start_server()
    sockets = own.open_sockets()
    disconnect_thousand(own, data)
    assert own.wait_slots_free(10) is not None
    assert wait_until(lambda: own.open_sockets() <= sockets, 5) is not None


@pytest.mark.long
@pytest.mark.parametrize("data", [b"GET /liv", body_head(1000)], ids=["header", "body"])
def test_thousand_halves_are_gone_by_their_deadline(start_server, data):
    own = start_server()
    sockets = own.open_sockets()
    disconnect_thousand(own, data)
    assert wait_until(lambda: own.open_sockets() <= sockets, BODY_SECONDS + 5) is not None
