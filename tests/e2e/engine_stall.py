# SPDX-License-Identifier: Apache-2.0
"""Stops one thread of a running server, as a hung device would, and lets it go on.

A signal would stop the whole process; ptrace stops one thread. Linux on x86-64 or arm64.
"""

import contextlib
import ctypes
import os
import pathlib
import time

PTRACE_ATTACH, PTRACE_DETACH = 16, 17
WAIT_FOR_ANY_THREAD = 0x40000000  # __WALL

_libc = ctypes.CDLL(None, use_errno=True)
_libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
_libc.ptrace.restype = ctypes.c_long


def _cpu_ticks(pid):
    """CPU time of every thread but the first, by thread id."""
    ticks = {}
    for task in pathlib.Path(f"/proc/{pid}/task").iterdir():
        if int(task.name) != pid:
            fields = (task / "stat").read_text().rsplit(")", 1)[1].split()
            ticks[int(task.name)] = int(fields[11]) + int(fields[12])
    return ticks


def busiest_thread(pid, seconds):
    """The thread that works most right now: the engine's, or one that its steps wait for."""
    before = _cpu_ticks(pid)
    time.sleep(seconds)
    after = _cpu_ticks(pid)
    return max(after, key=lambda thread: after[thread] - before.get(thread, 0))


@contextlib.contextmanager
def stopped_thread(thread):
    """The thread stands still inside the block. PermissionError: tracing is not allowed here."""
    if _libc.ptrace(PTRACE_ATTACH, thread, None, None) != 0:
        raise PermissionError(ctypes.get_errno(), "ptrace")
    os.waitpid(thread, WAIT_FOR_ANY_THREAD)
    try:
        yield
    finally:
        _libc.ptrace(PTRACE_DETACH, thread, None, None)
