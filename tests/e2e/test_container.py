# SPDX-License-Identifier: Apache-2.0
"""At stake: the image builds from this tree and serves without rights and without a disk.

Shown with buildah and podman, where both are installed and may be used; the base image is made
with debootstrap from this machine's own package sources, so no registry of images is asked.
"""

import http.client
import json
import os
import shutil
import socket
import subprocess
import time

import pytest

from payloads import ADDITION, ADDITION_ANSWER, chat
from server_process import ROOT, wait_until

TOOLS = ("buildah", "podman", "debootstrap", "runc")
BASE, IMAGE, NAME = "localhost/skein-test-base", "localhost/skein-test:cpu", "skein-test"
KEY = "key-of-the-container"
BUILD_SECONDS = 900
HARDENED = [
    "--cgroup-manager=cgroupfs",
    "--runtime=runc",
    "run",
    "--detach",
    f"--name={NAME}",
    "--network=host",
    "--read-only",
    "--read-only-tmpfs=false",
    "--cap-drop=all",
    "--security-opt=no-new-privileges",
    "--ulimit=nofile=20000:20000",
    "--ulimit=nproc=30000:30000",
]

pytestmark = pytest.mark.long


def run(*command, seconds=120, **options):
    return subprocess.run(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=seconds,
        check=False,
        env={**os.environ, "BUILDAH_ISOLATION": "chroot"},
        **options,
    )


def make_base(folder):
    """Imports a minimal Debian as the base image, with this machine's own package sources."""
    root = folder / "root"
    made = run("debootstrap", "--variant=minbase", "bookworm", str(root), seconds=BUILD_SECONDS)
    if made.returncode != 0:
        return made
    shutil.rmtree(root / "etc" / "apt")
    shutil.copytree("/etc/apt", root / "etc" / "apt", symlinks=True)
    archive = folder / "base.tar"
    run("tar", "-C", str(root), "-cf", str(archive), ".", seconds=BUILD_SECONDS)
    shutil.rmtree(root)
    return run("podman", "import", str(archive), BASE, seconds=BUILD_SECONDS)


@pytest.fixture(scope="module")
def image(tmp_path_factory):
    missing = [tool for tool in TOOLS if shutil.which(tool) is None]
    if missing:
        pytest.skip(f"not installed: {', '.join(missing)}")
    if os.geteuid() != 0:
        pytest.skip("debootstrap needs root")
    if run("podman", "image", "exists", BASE).returncode != 0:
        made = make_base(tmp_path_factory.mktemp("base"))
        if made.returncode != 0:
            pytest.skip(f"no base image can be made here: {made.stdout[-400:]}")
    built = run(
        "buildah",
        "build",
        f"--build-arg=BASE={BASE}",
        "--build-arg=WORLD_VOCABULARY=no",
        "--network=host",
        "--format=docker",
        "--pull=never",
        f"--file={ROOT / 'docker' / 'Dockerfile.cpu'}",
        f"--tag={IMAGE}",
        str(ROOT),
        seconds=BUILD_SECONDS,
    )
    assert built.returncode == 0, built.stdout[-4000:]
    return IMAGE


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def ask(port, path, body=None, key=None):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    headers = {"Content-Type": "application/json"}
    if key is not None:
        headers["Authorization"] = f"Bearer {key}"
    try:
        method = "GET" if body is None else "POST"
        connection.request(method, path, None if body is None else json.dumps(body), headers)
        reply = connection.getresponse()
        return reply.status, reply.read()
    finally:
        connection.close()


def is_ready(port):
    try:
        return ask(port, "/readyz")[0] == 200
    except OSError:
        return False


@pytest.fixture
def container(image):
    port = free_port()
    run("podman", "rm", "--force", NAME)
    started = run(
        "podman", *HARDENED, f"--env=SKEIN_API_KEY={KEY}", f"--env=SKEIN_PORT={port}", image
    )
    if started.returncode != 0:
        pytest.skip(f"podman cannot run a container here: {started.stdout[-400:]}")
    try:
        assert wait_until(lambda: is_ready(port), 60, 0.1) is not None, run("podman", "logs", NAME)
        yield port
    finally:
        run("podman", "rm", "--force", "--time=5", NAME)


def test_image_answers_hardened(container):
    status, body = ask(container, "/v1/chat/completions", chat(ADDITION), KEY)
    assert status == 200
    assert json.loads(body)["choices"][0]["message"]["content"] == ADDITION_ANSWER


def test_image_wants_its_key(container):
    assert ask(container, "/v1/models")[0] == 401


def test_image_checks_its_own_health(container):
    checked = run("podman", "exec", NAME, "/usr/bin/skein", "health")
    assert (checked.returncode, checked.stdout.strip()) == (0, "ready")


def test_image_runs_without_rights(container):
    who = run("podman", "exec", NAME, "id", "-u")
    assert who.stdout.strip() == "65532"
    assert run("podman", "exec", NAME, "touch", "/tmp/x").returncode != 0


def test_image_ends_well(container):
    started = time.monotonic()
    assert run("podman", "stop", "--time=30", NAME).returncode == 0
    assert time.monotonic() - started < 10
    state = run("podman", "inspect", "--format={{.State.ExitCode}}", NAME)
    assert state.stdout.strip() == "0"


def test_image_does_not_start_without_a_key(image):
    refused = run("podman", *[word for word in HARDENED if word != "--detach"], "--rm", image)
    assert refused.returncode == 2, refused.stdout
    assert "--api-key" in refused.stdout
