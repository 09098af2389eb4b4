# SPDX-License-Identifier: Apache-2.0
"""Fixtures of the end-to-end tests: one server for all, or one of your own.

SKEIN_BINARY names the binary; without it, build/skein. SKEIN_E2E_SLOWNESS stretches the times that
are asserted, for builds with sanitizers. Marks: `short` also runs against those builds, `long` only
with ./test.sh --long, `late` waits for deadlines of the server and runs last.
"""

import os

import pytest

from server_process import ServerProcess, default_binary

KEY = "a-key-of-the-tests-0123456789"


def pytest_configure(config):
    config.addinivalue_line("markers", "short: also runs against the builds with sanitizers")
    config.addinivalue_line("markers", "long: needs minutes or tools that are not on every machine")
    config.addinivalue_line("markers", "late: collects what a background thread waited for")
    if not os.access(default_binary(), os.X_OK):
        pytest.exit(f"{default_binary()} is not there: build first", returncode=2)


def pytest_collection_modifyitems(items):
    """Moves what waits in the background to the end, so that it waits while others run."""
    items.sort(key=lambda item: item.get_closest_marker("late") is not None)


@pytest.fixture(scope="session")
def server():
    """The server that most tests share. Leave no generation running on it."""
    shared = ServerProcess()
    yield shared
    shared.close()


@pytest.fixture(scope="session")
def locked_server():
    """A server that wants a key; `key` holds it."""
    locked = ServerProcess(environment={"SKEIN_API_KEY": KEY})
    locked.key = KEY
    yield locked
    locked.close()


@pytest.fixture
def start_server():
    """Starts servers with options of the test's own; ends them, and checks that they end well."""
    servers = []

    def start(*options, **keywords):
        servers.append(ServerProcess(*options, **keywords))
        return servers[-1]

    yield start
    for each in servers:
        each.close()
