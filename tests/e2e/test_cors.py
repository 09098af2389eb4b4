# SPDX-License-Identifier: Apache-2.0
"""At stake: a web page of another site uses the API only when the operator named its origin.

Shown with the requests that a browser sends: the question before, the call, and its answer.
"""

import pytest

from payloads import ADDITION, chat

PAGE = "https://chat.example:8443"
STRANGER = "https://chat.example"
WANTED = "authorization, content-type, x-stainless-os, x-stainless-package-version, " * 4 + "x-last"


@pytest.fixture
def opened(start_server):
    return start_server("--cors-origin", f"http://localhost:3000, {PAGE}")


def ask_before(server, origin, path="/v1/chat/completions"):
    return server.request(
        "OPTIONS",
        path,
        headers={
            "Origin": origin,
            "Access-Control-Request-Method": "POST",
            "Access-Control-Request-Headers": WANTED,
        },
    )


def cors_headers(reply):
    return {name for name in reply.headers if name.startswith("access-control-")}


def test_no_page_is_let_in_by_default(server):
    assert cors_headers(ask_before(server, PAGE)) == set()
    reply = server.post("/v1/chat/completions", chat(ADDITION), headers={"Origin": PAGE})
    assert reply.status == 200
    assert cors_headers(reply) == set()
    assert "vary" not in reply.headers


def test_listed_page_may_send_what_it_asks_for(opened):
    reply = ask_before(opened, PAGE)
    assert reply.status == 204
    assert reply.headers["access-control-allow-origin"] == PAGE
    assert reply.headers["access-control-allow-headers"] == WANTED
    assert "POST" in reply.headers["access-control-allow-methods"]
    assert reply.headers["vary"] == "Origin"
    assert "access-control-allow-credentials" not in reply.headers


def test_listed_page_reads_answers_streams_and_errors(opened):
    with opened.stream("/v1/chat/completions", chat(ADDITION), {"Origin": PAGE}) as stream:
        assert stream.headers["access-control-allow-origin"] == PAGE
        assert "X-Request-Id" in stream.headers["access-control-expose-headers"]
        list(stream.events())
    for path, status in (("/v1/chat/completions", 400), ("/nowhere", 404)):
        reply = opened.post(path, {}, headers={"Origin": PAGE})
        assert reply.status == status
        assert reply.headers["access-control-allow-origin"] == PAGE


def test_other_pages_get_nothing(opened):
    assert cors_headers(ask_before(opened, STRANGER)) == set()
    reply = opened.get("/v1/models", headers={"Origin": STRANGER})
    assert cors_headers(reply) == set()
    assert reply.headers["vary"] == "Origin"


def test_star_lets_every_page_in_without_credentials(start_server):
    public = start_server("--cors-origin", "*")
    reply = ask_before(public, STRANGER)
    assert reply.headers["access-control-allow-origin"] == "*"
    assert "access-control-allow-credentials" not in reply.headers
    assert "vary" not in reply.headers


def test_question_before_needs_no_key(locked_server):
    assert ask_before(locked_server, PAGE).status == 204
