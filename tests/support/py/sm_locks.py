"""The locks, flags and run files of the storage manager, taken and waited for as it does, and how long it had to wait.

Every wait is told on standard error, "waits for …" and "goes on", so that whoever has stopped the other side knows that it has to go on.
"""

import collections
import contextlib
import fcntl
import os
import shutil
import struct
import sys
import threading
import time

LIMIT = 60  # seconds; an abort may take that long, a handshake has no limit
THIN_LIMIT = 20  # seconds for which a thin disk's activation asks for `sr`
LOOK = 0.002  # seconds between two looks
FLOCK = "hh4xqqi4x"  # struct flock of 64-bit Linux: type, whence, start, length, pid


class Late(Exception):
    """Something has kept the storage manager waiting for too long."""


def tell(text):
    print(text, file=sys.stderr, flush=True)


class SmLocks:
    def __init__(self, root, sr_name):
        self.sr = sr_name
        self.locks = os.path.join(root, "var/lock/sm")
        self.flags = os.path.join(root, "var/run/sm/ipc", sr_name)
        self.run_files = os.path.join(root, "run/nonpersistent/sm", sr_name)
        self.longest = collections.Counter()  # "longest wait for …, ms" -> how long

    @contextlib.contextmanager
    def waiting(self, what, limit=LIMIT):
        begun = time.monotonic()
        tell(f"waits for {what}")
        yield
        waited = time.monotonic() - begun
        tell("goes on")
        name = f"longest wait for {what.split()[0]}, ms"
        self.longest[name] = max(self.longest[name], round(waited * 1000))
        if waited > limit:
            raise Late(what)

    def until(self, condition, what, limit=LIMIT):
        """Looks again and again, as the storage manager does."""
        if condition():
            return
        with self.waiting(what, limit):
            deadline, pause = time.monotonic() + limit, threading.Event()
            while not condition():
                if time.monotonic() > deadline:
                    raise Late(what)
                pause.wait(LOOK)

    def _file(self, space, name):
        directory = os.path.join(self.locks, space)
        os.makedirs(directory, exist_ok=True)
        return open(os.path.join(directory, name), "w+", encoding="ascii")

    def _try(self, file):
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    @contextlib.contextmanager
    def held(self, space, name):
        """Waits in the kernel; who watches over this process ends it when the lock never comes."""
        with self._file(space, name) as file:
            if not self._try(file):
                with self.waiting(f"{name} of {space}"):
                    fcntl.lockf(file, fcntl.LOCK_EX)
            yield

    def sr_held(self):
        return self.held(self.sr, "sr")

    def try_sr(self):
        """While a VDI is locked: the wrong way round, which goes well because it is not waited for in the kernel."""
        with self._file(self.sr, "sr") as file:
            self.until(lambda: self._try(file), "thin attachment", THIN_LIMIT)

    def forget(self, space):
        """The locks of a VDI that was deleted."""
        shutil.rmtree(os.path.join(self.locks, space), ignore_errors=True)

    def collector_works(self):
        """Looked at only: a lock that is taken, however shortly, keeps a collector from beginning."""
        with self._file(self.sr, "gc_active") as file:
            seen = fcntl.fcntl(file, fcntl.F_GETLK, struct.pack(FLOCK, fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0))
        return struct.unpack(FLOCK, seen)[0] != fcntl.F_UNLCK

    @contextlib.contextmanager
    def collector_ended(self):
        """Asked to end, until it is proven to be gone; kept out as long as the block lasts."""
        flag = os.path.join(self.flags, "abort")
        os.makedirs(self.flags, exist_ok=True)
        with open(flag, "w", encoding="ascii") as file:
            file.write(f"{os.getpid()}\n")
        with self._file(self.sr, "gc_active") as file:
            try:
                self.until(lambda: self._try(file), "collector")
            finally:
                os.unlink(flag)
            yield

    def end_merge(self, vdi):
        file = os.path.join(self.run_files, "gc_running_" + vdi)
        os.makedirs(self.run_files, exist_ok=True)
        with open(file, "w", encoding="ascii"):
            pass
        self.until(lambda: not os.path.exists(file), f"merge of {vdi}")
