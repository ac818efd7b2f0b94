#!/usr/bin/python3
"""The checks of the long day can fail: a process that leaks descriptors, threads or memory is caught, and so is a journal that grows,
or a file that is left; one that only breathes is not."""

import os
import random
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import unittest
import uuid
from contextlib import closing

from watched_service import LIMIT, WatchedService

import crash_case
import leaks
import oracles
import seeded_runner
from image_maker import MIB
from sr_maker import SrMaker

KIB = 1024
SAMPLES = 15  # of a day
# A process that leaks on demand: one word and a number in each line, answered when it is done.
LEAKER = """
import os, sys, threading
kept = []
for line in sys.stdin:
    what, number = line.split()
    if what == "descriptor":
        kept += [os.open("/dev/null", os.O_RDONLY) for _ in range(int(number))]
    elif what == "memory":
        kept.append(bytearray(os.urandom(int(number))))
    elif what == "thread":
        threading.Thread(target=threading.Event().wait, daemon=True).start()
    elif what == "breathe":
        kept.append(bytearray(os.urandom(int(number))))
        kept.pop()
    print("done", flush=True)
"""


class Leaker(WatchedService):
    """What the checks see of a service, of another process."""

    def __init__(self, scratch):
        super().__init__(scratch, scratch, 1)
        self.process = subprocess.Popen([sys.executable, "-c", LEAKER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def leak(self, what, number=1):
        self.process.stdin.write(f"{what} {number}\n")
        self.process.stdin.flush()
        self.process.stdout.readline()

    def status(self):
        return {"state": "idle"}

    def wait_until(self, condition, what):
        """Not for as long as one waits for a service: nothing changes here by itself."""
        for _ in range(200):
            if condition():
                return
        raise oracles.Failure(f"{what}: did not come true")

    def close(self):
        self.process.stdin.close()
        self.process.wait(timeout=LIMIT)
        self.process.stdout.close()
        self.log.close()


class Processes(unittest.TestCase):
    def setUp(self):
        self.scratch = tempfile.mkdtemp(prefix="coppice-leaks-", dir=seeded_runner.scratch_root())
        self.addCleanup(shutil.rmtree, self.scratch)
        self.leaker = Leaker(self.scratch)
        self.addCleanup(self.leaker.close)
        self.leaker.leak("breathe", MIB)
        self.samples = leaks.Samples(self.leaker)

    def day(self, what, number):
        for _ in range(SAMPLES):
            self.leaker.leak(what, number)
            self.samples.take()

    def test_one_that_leaks_nothing(self):
        self.day("breathe", 64 * KIB)
        self.assertIn("MiB", self.samples.verdict())

    def test_a_descriptor(self):
        self.samples.take()
        self.leaker.leak("descriptor")
        with self.assertRaisesRegex(oracles.Failure, "/dev/null"):
            self.samples.take()

    def test_a_thread(self):
        self.samples.take()
        self.leaker.leak("thread")
        with self.assertRaisesRegex(oracles.Failure, "threads"):
            self.samples.take()

    def test_much_memory_now_and_then(self):
        for hour in range(SAMPLES):
            self.leaker.leak("memory" if hour % 3 else "breathe", 256 * KIB)
            self.samples.take()
        with self.assertRaisesRegex(oracles.Failure, "memory grows"):
            self.samples.verdict()

    def test_a_little_memory_all_the_time(self):
        self.day("memory", 32 * KIB)
        with self.assertRaisesRegex(oracles.Failure, "with every sample"):
            self.samples.verdict()

    def test_too_few_samples_say_nothing(self):
        self.samples.take()
        with self.assertRaisesRegex(oracles.Failure, "trend"):
            self.samples.verdict()


class Left(unittest.TestCase):
    """What a service leaves behind: rows of its journal, and files."""

    ACTIONS = 3
    LEAKS = {  # SQL that adds a row, and how often it takes to be too much
        "event": ("INSERT INTO event (time, severity, vdi, text) VALUES (0, 'notice', '', '')", 4 * ACTIONS + 101),
        "pending_edit": ("INSERT INTO pending_edit (image, device, inode, edit, before) VALUES ('', 0, 0, x'', x'')", 1),
        "unfinished": ("INSERT INTO operation (kind, vdi, into_vdi, direction, step, state, cursor, copied_bytes, shared_bytes, started)"
                       " VALUES ('coalesce', '', '', 'down', '', 'running', 0, 0, 0, 0)", 1),
        "present": ("INSERT INTO node_version (vdi, format, parent, hidden, virtual_size, seen)"
                    " SELECT 'another', format, parent, hidden, virtual_size, seen FROM node_version LIMIT 1", 1),
    }

    def setUp(self):
        self.scratch = tempfile.mkdtemp(prefix="coppice-leaks-", dir=seeded_runner.scratch_root())
        self.addCleanup(shutil.rmtree, self.scratch)
        self.sr = os.path.join(self.scratch, str(uuid.uuid4()))
        maker = SrMaker(self.sr, random.Random(4), snapshots=False)
        for kind in ("vhd", "qcow2"):
            maker.chain((kind, True, MIB), (kind, False))
        maker.build()
        self.run_files = os.path.join(self.scratch, "run_files")
        os.mkdir(self.run_files)
        ours = crash_case.CrashSr(self.sr, self.scratch, {})
        for _ in range(2):  # the last look sees what is left
            self.assertEqual(ours.run("run", "--once"), 0)
        self.state = os.path.join(self.scratch, "state")
        self.images = sum(name.endswith(("vhd", "qcow2")) for name in os.listdir(self.sr))
        self.found()  # who only reads leaves files that SQLite shares, as there are while a service runs
        self.files = leaks.service_files(self.scratch)

    def require_bounded(self, found):
        leaks.require_bounded_rows(found, self.images, self.ACTIONS, 0)

    def found(self):
        """Only a service has verdicts."""
        return {**leaks.rows(self.state), "verdict": self.images}

    def test_nothing(self):
        self.require_bounded(self.found())
        leaks.require_no_leftovers(self.scratch, self.sr, self.files, self.run_files)

    def test_rows(self):
        for table, (statement, times) in self.LEAKS.items():
            with self.subTest(table), closing(sqlite3.connect(self.journal())) as journal:
                for _ in range(times):
                    journal.execute(statement)
                journal.commit()
                with self.assertRaisesRegex(oracles.Failure, f"rows of {table}"):
                    self.require_bounded(self.found())
                journal.execute("DELETE FROM event")
                journal.execute("DELETE FROM pending_edit")
                journal.execute("DELETE FROM operation WHERE ended IS NULL")
                journal.execute("DELETE FROM node_version WHERE vdi = 'another'")
                journal.commit()

    def journal(self):
        return os.path.join(self.state, os.listdir(self.state)[0], "journal.db")

    def test_every_table_has_a_bound(self):
        found = self.found()
        for table in found.keys() - {"sqlite_sequence"}:
            with self.subTest(table), self.assertRaisesRegex(oracles.Failure, f"rows of {table}"):
                self.require_bounded({**found, table: 10**6})

    def test_files(self):
        for directory in (self.sr, self.run_files, os.path.join(self.scratch, "run")):
            path = os.path.join(directory, "left")
            with self.subTest(directory), open(path, "w", encoding="ascii"):
                with self.assertRaisesRegex(oracles.Failure, "left"):
                    leaks.require_no_leftovers(self.scratch, self.sr, self.files, self.run_files)
            os.unlink(path)


if __name__ == "__main__":
    unittest.main()
