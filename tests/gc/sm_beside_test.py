#!/usr/bin/python3
"""The program beside processes that lock and ask as sm does. Needs a build with COPPICE_FAULTS (else skipped, 77)."""

import fcntl
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import unittest
import uuid

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "support", "py"))

import crash_case  # noqa: E402
import oracles  # noqa: E402
import seeded_runner  # noqa: E402
from image_maker import MIB  # noqa: E402
from sr_maker import SrMaker  # noqa: E402


class Beside(unittest.TestCase):
    def setUp(self):
        self.scratch = tempfile.mkdtemp(prefix="coppice-beside-")
        self.addCleanup(shutil.rmtree, self.scratch)
        self.uuid = str(uuid.uuid4())
        self.sr = os.path.join(self.scratch, self.uuid)
        self.root = os.path.join(self.scratch, "root")
        maker = SrMaker(self.sr, random.Random(7), snapshots=False)
        self.leaves = [maker.chain((kind, True, MIB), (kind, False)).name.rsplit(".", 1)[0] for kind in ("vhd", "qcow2")]
        maker.build()
        os.makedirs(os.path.join(self.root, "var/lock/sm"))

    def lock(self, space, name):
        """As sm takes it; kept until the test ends."""
        directory = os.path.join(self.root, "var/lock/sm", space)
        os.makedirs(directory, exist_ok=True)
        file = open(os.path.join(directory, name), "w+", encoding="ascii")
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        self.addCleanup(file.close)

    def run_once(self):
        command = [oracles.binary(), "run", self.sr, "--once", "--json", "--state-dir", f"{self.scratch}/state",
                   "--run-dir", f"{self.scratch}/run", "--xapi", "none"]
        done = subprocess.run(command, env={**os.environ, "COPPICE_TEST_SM_ROOT": self.root}, capture_output=True,
                              text=True, timeout=120, check=False)
        return done, json.loads(done.stdout)

    def test_gives_way_to_the_collector_of_sm(self):
        self.lock(self.uuid, "gc_active")
        before = sorted(os.listdir(self.sr))
        done, answer = self.run_once()
        self.assertNotEqual(done.returncode, 0)
        self.assertIn(f"pid {os.getpid()}", json.dumps(answer))
        self.assertEqual(sorted(os.listdir(self.sr)), before)

    def test_comes_back_later_while_the_sr_is_attached(self):
        self.lock(self.uuid, "running")
        self.assertIn("sm-operation", json.dumps(self.run_once()[1]))

    def test_leaves_a_disk_that_is_just_attached_and_goes_on_with_others(self):
        self.lock(self.leaves[0], "vdi")
        _, answer = self.run_once()
        self.assertEqual(len(answer["done"]), 1)
        self.assertEqual(len(answer["failed"]), 1)
        self.assertIn(f"pid {os.getpid()}", json.dumps(answer["failed"]))
        self.assertEqual([name for name in os.listdir(self.sr) if "_" in name], [])

    def test_ends_when_asked_and_gives_everything_back(self):
        flags = os.path.join(self.root, "var/run/sm/ipc", self.uuid)
        os.makedirs(flags)
        with open(os.path.join(flags, "abort"), "w", encoding="ascii") as flag:
            flag.write(f"{os.getpid()}\n")
        _, answer = self.run_once()
        self.assertEqual(answer["error"]["code"], "retry-later")
        self.assertEqual(answer["done"], [])
        self.assertTrue(os.path.exists(os.path.join(flags, "abort")), "whoever asks clears it")
        for name in ("gc_active", "running", "sr"):
            self.lock(self.uuid, name)

    def test_leaves_no_run_file(self):
        stale = os.path.join(self.root, "run/nonpersistent/sm", self.uuid)
        os.makedirs(stale)
        with open(os.path.join(stale, f"gc_running_{self.leaves[0]}"), "w", encoding="ascii"):
            pass
        _, answer = self.run_once()
        self.assertEqual(len(answer["done"]), 2)
        self.assertEqual(os.listdir(stale), [])


if __name__ == "__main__":
    crash_case.require_faulty_build(seeded_runner.scratch_root())
    unittest.main()
