# SPDX-License-Identifier: Apache-2.0
"""Stops one thread of a running server, as a hung device would, and lets it go on.

A signal would stop the whole process; ptrace stops one thread. Linux on x86-64 or arm64.
"""

import contextlib
import ctypes
import os
import pathlib

PTRACE_ATTACH, PTRACE_DETACH = 16, 17
WAIT_FOR_ANY_THREAD = 0x40000000  # __WALL

_libc = ctypes.CDLL(None, use_errno=True)
_libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
_libc.ptrace.restype = ctypes.c_long


def engine_thread(pid):
    """The thread that runs the steps; engine/engine.c names it."""
    for task in pathlib.Path(f"/proc/{pid}/task").iterdir():
        if (task / "comm").read_text().strip() == "skein-engine":
            return int(task.name)
    raise LookupError("no thread is called skein-engine")


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
