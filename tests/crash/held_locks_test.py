#!/usr/bin/python3
"""What is looked at from outside at each stop of beside_sm.py can fail: locks that are held in the wrong order, or waited for."""

import fcntl
import os
import shutil
import struct
import subprocess
import sys
import tempfile
import threading
import time
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support", "py"))

import held_locks  # noqa: E402
import oracles  # noqa: E402
import sm_locks  # noqa: E402

LIMIT = 60  # seconds
F_OFD_SETLK = 37
WHOLE_FILE = struct.pack(sm_locks.FLOCK, fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
WAITER = f"""
import fcntl, sys
with open(sys.argv[1], "w") as file:
    fcntl.fcntl(file, {F_OFD_SETLK + 1}, {WHOLE_FILE!r})
"""


class HeldLocks(unittest.TestCase):
    def setUp(self):
        self.locks = tempfile.mkdtemp(prefix="coppice-locks-")
        self.addCleanup(shutil.rmtree, self.locks)

    def lock(self, *names):
        """As the program does it, in this process."""
        for space, name in names:
            os.makedirs(os.path.join(self.locks, space), exist_ok=True)
            file = open(os.path.join(self.locks, space, name), "w", encoding="ascii")
            self.addCleanup(file.close)
            fcntl.fcntl(file, F_OFD_SETLK, WHOLE_FILE)

    def held(self):
        return held_locks.require_order(os.getpid(), self.locks, "sr")

    def test_in_order(self):
        locks = [("sr", "gc_active"), ("sr", "running"), ("sr", "sr"), ("a", "vdi"), ("b", "vdi")]
        for end in range(len(locks) + 1):
            self.lock(*locks[max(0, end - 1) : end])
            self.assertEqual(self.held(), set(locks[:end]))

    def test_one_leaf_is_guarded(self):
        self.lock(("sr", "gc_active"), ("sr", "running"), ("a", "vdi"))
        self.assertEqual(len(self.held()), 3)

    def test_what_is_open_but_not_locked(self):
        os.makedirs(os.path.join(self.locks, "a"))
        with open(os.path.join(self.locks, "a", "vdi"), "w", encoding="ascii"):
            self.assertEqual(self.held(), set())

    def test_out_of_order(self):
        for names in ([("a", "vdi")], [("sr", "gc_active"), ("a", "vdi")], [("sr", "sr")],
                      [("sr", "gc_active"), ("sr", "running"), ("a", "vdi"), ("b", "vdi")]):
            with self.subTest(names):
                self.lock(*names)
                with self.assertRaises(oracles.Failure):
                    self.held()
                self.doCleanups()
                self.setUp()

    def test_waited_for(self):
        os.makedirs(os.path.join(self.locks, "sr"))
        path = os.path.join(self.locks, "sr", "running")  # may be held alone
        with open(path, "w", encoding="ascii") as file:
            fcntl.lockf(file, fcntl.LOCK_EX)
            waiter = subprocess.Popen([sys.executable, "-c", WAITER, path])
            deadline, pause = time.monotonic() + LIMIT, threading.Event()
            while not held_locks.waits_in_kernel(self.locks) and time.monotonic() < deadline:
                pause.wait(0.01)
            with self.assertRaisesRegex(oracles.Failure, "waits for a lock"):
                self.held()
        self.assertEqual(waiter.wait(timeout=LIMIT), 0)


if __name__ == "__main__":
    unittest.main()
