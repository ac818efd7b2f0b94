"""Threads of another process that stop, as one does that hangs in the kernel."""

import contextlib
import ctypes
import os

PTRACE_CONT, PTRACE_SEIZE, PTRACE_INTERRUPT, PTRACE_O_TRACEEXIT, WALL = 7, 0x4206, 0x4207, 0x40, 0x40000000


def ptrace(request, tid, data=0):
    libc = ctypes.CDLL(None, use_errno=True)
    libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
    if libc.ptrace(request, tid, None, data) != 0:
        raise OSError(ctypes.get_errno(), "ptrace")


def stop_thread(tid):
    """Until the process ends, and once more right before its own end. The caller's thread becomes its tracer, and has to wait for that."""
    ptrace(PTRACE_SEIZE, tid, PTRACE_O_TRACEEXIT)
    ptrace(PTRACE_INTERRUPT, tid)
    os.waitpid(tid, WALL)


def wait_dead(threads):
    """A process is not gone before the tracer of its threads has been told of their ends."""
    for tid in threads:
        with contextlib.suppress(ChildProcessError):  # told before
            while os.WIFSTOPPED(os.waitpid(tid, WALL)[1]):
                ptrace(PTRACE_CONT, tid)
