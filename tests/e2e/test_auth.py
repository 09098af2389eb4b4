# SPDX-License-Identifier: Apache-2.0
"""At stake: nothing but the probes answers without the key.

Shown on every route, without a key, with wrong ones and with the right one.
"""

import http.client

import pytest

from payloads import ADDITION, ADDITION_PROMPT, assert_error, chat

OPEN_ROUTES = [("GET", "/health"), ("GET", "/livez"), ("GET", "/readyz")]
LOCKED_ROUTES = [
    ("GET", "/v1/models"),
    ("GET", "/v1/models/gosling"),
    ("GET", "/metrics"),
    ("GET", "/version"),
    ("POST", "/v1/completions"),
    ("POST", "/v1/chat/completions"),
    ("POST", "/tokenize"),
    ("POST", "/detokenize"),
    ("POST", "/v1/responses"),
    ("POST", "/v1/tokens/count"),
    ("POST", "/apply-template"),
]
BODIES = {
    "/v1/completions": {"prompt": ADDITION_PROMPT},
    "/v1/chat/completions": chat(ADDITION),
    "/tokenize": {"prompt": "hello"},
    "/detokenize": {"tokens": [1, 2]},
    "/v1/responses": {"input": ADDITION},
    "/v1/tokens/count": {"prompt": "hello"},
    "/apply-template": chat(ADDITION),
}


def ask(server, method, path, authorization):
    headers = {} if authorization is None else {"Authorization": authorization}
    body = BODIES.get(path)
    connection = server.connect()
    try:
        saved, server.key = server.key, None
        return server.request(method, path, body, headers)
    finally:
        server.key = saved
        connection.close()


@pytest.mark.parametrize(("method", "path"), OPEN_ROUTES)
def test_probe_needs_no_key(locked_server, method, path):
    assert ask(locked_server, method, path, None).status == 200


@pytest.mark.parametrize(("method", "path"), LOCKED_ROUTES)
def test_route_refuses_without_a_key(locked_server, method, path):
    reply = ask(locked_server, method, path, None)
    assert_error(reply, 401, code="invalid_api_key")
    assert reply.headers["www-authenticate"].startswith("Bearer")


@pytest.mark.parametrize(("method", "path"), LOCKED_ROUTES)
def test_route_refuses_a_wrong_key(locked_server, method, path):
    key = locked_server.key
    wrong = [
        "Bearer wrong",
        "Bearer ",
        "Bearer",
        f"Bearer {key}x",
        f"Bearer {key[:-1]}",
        f"Bearer {key.upper()}",
        f"Basic {key}",
        key,
    ]
    for authorization in wrong:
        reply = ask(locked_server, method, path, authorization)
        assert_error(reply, 401, code="invalid_api_key")


@pytest.mark.parametrize(("method", "path"), LOCKED_ROUTES)
def test_route_answers_with_the_right_key(locked_server, method, path):
    assert ask(locked_server, method, path, f"Bearer {locked_server.key}").status == 200


def test_scheme_is_read_without_case(locked_server):
    assert ask(locked_server, "GET", "/v1/models", f"bearer {locked_server.key}").status == 200


def test_unknown_route_tells_nothing_without_a_key(locked_server):
    assert ask(locked_server, "GET", "/v1/secrets", None).status in (401, 404)


def test_key_is_asked_before_a_large_body_is_read(locked_server):
    connection = http.client.HTTPConnection("127.0.0.1", locked_server.port, timeout=10)
    connection.putrequest("POST", "/v1/completions")
    connection.putheader("Content-Type", "application/json")
    connection.putheader("Content-Length", "3000000")
    connection.putheader("Expect", "100-continue")
    connection.endheaders()
    assert connection.getresponse().status == 401
    connection.close()


def test_key_never_shows(locked_server):
    assert locked_server.key not in locked_server.log() + locked_server.output()


def test_key_comes_from_a_file(start_server, tmp_path):
    file = tmp_path / "key"
    file.write_text("from-a-file-12345\n")
    locked = start_server("--api-key-file", str(file))
    assert ask(locked, "GET", "/v1/models", None).status == 401
    assert ask(locked, "GET", "/v1/models", "Bearer from-a-file-12345").status == 200
