"""What the host's storage manager shares with its collector: locks, run files and the flag that ends it (docs/design/sm.md)."""

import contextlib
import fcntl
import os
import shutil


class SmHost:
    def __init__(self, root, sr_uuid):
        self.root, self.sr = root, sr_uuid
        self.locks = os.path.join(root, "var/lock/sm")
        self.flags = os.path.join(root, "var/run/sm/ipc", sr_uuid)
        self.run_files = os.path.join(root, "run/nonpersistent/sm", sr_uuid)
        for directory in (self.locks, self.flags, self.run_files):
            os.makedirs(directory)

    @contextlib.contextmanager
    def lock(self, space, name, *, wait=True):
        """Whether it was taken, for as long as the block lasts."""
        directory = os.path.join(self.locks, space)
        path = os.path.join(directory, name)
        while True:
            os.makedirs(directory, exist_ok=True)
            try:
                file = open(path, "w+", encoding="ascii")
            except FileNotFoundError:  # whoever removes locks has been here in between
                continue
            with file:
                try:
                    fcntl.lockf(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
                except BlockingIOError:
                    yield False
                    return
                if os.path.exists(path) and os.path.samestat(os.stat(path), os.fstat(file.fileno())):
                    yield True
                    return

    def forget(self, space):
        """The locks of a VDI that is deleted."""
        shutil.rmtree(os.path.join(self.locks, space), ignore_errors=True)

    def run_file(self, vdi):
        return os.path.join(self.run_files, f"gc_running_{vdi}")

    @contextlib.contextmanager
    def collector_ended(self):
        """Raises the flag until the collector has let go of the SR."""
        flag = os.path.join(self.flags, "abort")
        with open(flag, "w", encoding="ascii") as file:
            file.write(f"{os.getpid()}\n")
        try:
            with self.lock(self.sr, "gc_active"):
                os.unlink(flag)
                yield
        finally:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(flag)
