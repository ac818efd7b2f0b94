#!/usr/bin/python3
"""The service where the world is awkward: directories that never come to rest, rates like a trickle, threads that hang, wrong clocks.

Needs a build with COPPICE_FAULTS, for clocks that are told how to go, and root, to stop threads.
"""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "support", "py"))

from cli_support import hashes, make_demo  # noqa: E402
from service_support import LIMIT, ServiceTest  # noqa: E402
from stopped_thread import PTRACE_CONT, WALL, ptrace, stop_thread, wait_dead  # noqa: E402

HIDE = os.path.join(HERE, "../../docs/demo/hide_qcow2.py")
CLOCK = "COPPICE_TEST_TIME_FACTOR"
GARBAGE = "99999999-0001-4000-8000-000000000000.qcow2"
YEAR = 365 * 24 * 3600
MIB = 1 << 20


def qemu(program, *arguments):
    subprocess.run([program, *arguments], check=True, stdout=subprocess.DEVNULL)


class Hardship(ServiceTest):
    def add_garbage(self):
        outside = self.path(GARBAGE)
        qemu("qemu-img", "create", "-q", "-f", "qcow2", outside, "1M")
        qemu("/usr/bin/python3", HIDE, outside)
        os.rename(outside, os.path.join(self.sr, GARBAGE))

    def garbage_is_gone(self):
        return not os.path.exists(os.path.join(self.sr, GARBAGE))


class Unrest(Hardship):
    def test_events_without_end_do_not_keep_it_from_looking(self):
        make_demo(self.sr)
        self.service("--idle", "1d", environment={CLOCK: f"2@{int(time.time())}"})
        self.wait_status(lambda s: s["state"] == "idle", "idle")
        enough, path = threading.Event(), os.path.join(self.sr, "restless")

        def touch():
            while not enough.wait(0.02):
                with open(path, "w", encoding="ascii"):
                    pass

        restless = threading.Thread(target=touch)
        restless.start()
        try:
            self.add_garbage()
            self.wait_status(lambda s: self.garbage_is_gone(), "the garbage is gone")
        finally:
            enough.set()
            restless.join()


class Trickle(Hardship):
    """A merge that would take days: each of its batches waits for longer than any test does."""

    def setUp(self):
        super().setUp()
        self.sr = self.path("5e5e5e5e-0000-4000-8000-000000000000")  # sm has no locks of an SR without a UUID
        os.mkdir(self.sr)
        self.names = [f"{i * 8}-0000-4000-8000-000000000000" for i in "12"]
        below = None
        for place, name in enumerate(self.names):
            path = os.path.join(self.sr, name + ".qcow2")
            backing = ["-b", below + ".qcow2", "-F", "qcow2"] if below else []
            qemu("qemu-img", "create", "-q", "-f", "qcow2", *backing, path, "64M")
            qemu("qemu-io", "-c", f"write -P {place + 1} {place * 32}M 32M", path)
            below = name
        qemu("/usr/bin/python3", HIDE, os.path.join(self.sr, self.names[0] + ".qcow2"))
        self.before = hashes(self.sr)
        self.host = self.path("host")
        os.makedirs(os.path.join(self.host, "var/lock/sm"))  # there is a storage manager
        self.environment = {"COPPICE_TEST_SM_ROOT": self.host}
        self.running = self.service("--rate", "1K", watchdog=2, environment=self.environment)
        self.wait_status(lambda s: s["operation"] and self.notes(), "working")

    def notes(self):
        """What tells sm that a merge is going on."""
        found = [name for name in os.listdir(self.sr) if name.startswith("coalesce_")]
        for _, _, names in os.walk(os.path.join(self.host, "run")):
            found += [name for name in names if name.startswith("gc_running_")]
        return found

    def log_text(self):
        with open(self.path("service.log"), encoding="utf-8") as file:
            return file.read()

    def ended_orderly(self):
        return "did not come to rest" not in self.log_text()

    def bury(self, process, threads):
        if process.returncode is None:
            process.kill()
            for tid in threads:
                with contextlib.suppress(OSError):  # not stopped, or gone
                    ptrace(PTRACE_CONT, tid)
            wait_dead(threads)

    def goes_on(self):
        self.assertEqual(hashes(self.sr), self.before)
        self.service(environment=self.environment)
        self.wait_status(lambda s: s["state"] == "idle" and not s["skipped"], "done")
        self.assertEqual(hashes(self.sr), {self.names[1]: self.before[self.names[1]]})

    def test_is_no_hang(self):
        """The watchdog is fed again and again, within what it bears; and a stop is heard at once."""
        for _ in range(8):
            self.running.notify.forget()
            self.running.notify.wait_for("WATCHDOG=1")
        self.assertTrue(self.status()["operation"])
        self.assertEqual(self.running.stop(), 0)
        self.assertTrue(self.ended_orderly(), self.log_text())
        self.assertEqual(self.notes(), [])
        self.goes_on()

    def test_leaves_no_notes_when_a_hanging_thread_is_left_behind(self):
        """sm would wait for the end of the merge before it opens the chain."""
        process = self.running.process
        others = [int(tid) for tid in os.listdir(f"/proc/{process.pid}/task") if int(tid) != process.pid]
        self.addCleanup(self.bury, process, others)
        for tid in others:
            stop_thread(tid)
        self.assertEqual(len(self.notes()), 2, self.notes())
        process.send_signal(signal.SIGTERM)
        for tid in others:  # is about to end, and has all its files
            self.assertTrue(os.WIFSTOPPED(os.waitpid(tid, WALL)[1]))
        self.assertEqual(len(self.notes()), 2, "a thread that may still write is left when sm is let in")
        for tid in others:
            ptrace(PTRACE_CONT, tid)
        wait_dead(others)
        self.assertEqual(process.wait(timeout=LIMIT), 0)
        deadline, pause = time.monotonic() + LIMIT, threading.Event()
        while self.notes() and time.monotonic() < deadline:
            pause.wait(0.001)
        self.assertEqual(self.notes(), [])
        self.assertFalse(self.ended_orderly(), "the case is another one")
        self.goes_on()


class WrongClock(Hardship):
    def test_a_journal_from_the_future(self):
        """Ten years are lived through in advance; then the clock is set right."""
        make_demo(self.sr)
        before = hashes(self.sr)
        ahead = self.service(environment={CLOCK: f"2@{int(time.time()) - 10 * YEAR}"})
        self.wait_status(lambda s: s["state"] == "idle", "idle")
        self.assertGreater(self.history()["operations"][0]["started"], time.strftime("%Y-%m-%d", time.gmtime(time.time() + 9 * YEAR)))
        self.assertEqual(ahead.stop(), 0)
        self.service("--idle", "1d")
        self.wait_status(lambda s: s["state"] == "idle", "idle")
        self.add_garbage()
        self.wait_status(lambda s: self.garbage_is_gone(), "the garbage is gone")
        for verb in ("history", "metrics", "tree", "plan"):
            self.json(verb, self.sr)
        self.json("explain", self.sr, next(iter(before)))
        after = hashes(self.sr)
        self.assertEqual({uuid: after.get(uuid) for uuid in before}, before)


if __name__ == "__main__":
    unittest.main()
