#!/usr/bin/python3
"""A service at rest does nothing at all: hours pass without a system call that moves a byte, and without a wake-up.

Needs a build with COPPICE_FAULTS, for hours that pass quickly.
"""

import os
import random
import shutil
import tempfile
import unittest
import uuid

from watched_service import WatchedService

import crash_case
import seeded_runner
from image_maker import MIB
from sr_maker import SrMaker

FACTOR = 5_000
HOUR = 3600


class Rest(unittest.TestCase):
    def setUp(self):
        self.scratch = tempfile.mkdtemp(prefix="coppice-rest-", dir=seeded_runner.scratch_root())
        self.addCleanup(shutil.rmtree, self.scratch)
        self.sr = os.path.join(self.scratch, str(uuid.uuid4()))
        maker = SrMaker(self.sr, random.Random(3), snapshots=False)
        for kind in ("vhd", "qcow2"):
            maker.chain((kind, True, MIB), (kind, True), (kind, False))
        maker.build()

    def resting(self, *options):
        service = WatchedService(self.scratch, self.sr, FACTOR, options=options)
        self.addCleanup(service.close)
        service.start()
        service.ask("kick", wait=True)
        service.wait_until(lambda: service.status()["state"] == "idle", "idle")
        # These questions have connections to be closed, and the work was watched by a timer that may ring once more.
        since, last = service.now(), service.activity()

        def quiet():
            nonlocal since, last
            if (seen := service.activity()) != last:
                since, last = service.now(), seen
            return service.now() > since + 2 * HOUR

        service.wait_until(quiet, "at rest")
        return service, last

    def pass_time(self, service, hours):
        end = service.now() + hours * HOUR
        service.wait_until(lambda: service.now() >= end, f"{hours} hours have passed")

    def test_does_nothing_between_two_looks(self):
        service, before = self.resting("--idle", "16h")
        self.pass_time(service, 12)  # many seconds, for what counts real ones
        self.assertEqual(service.activity(), before)
        # It was time that passed: the next look comes by itself.
        service.wait_until(lambda: service.activity() != before, "the next look")

    def test_a_look_that_sees_nothing_new_changes_no_image(self):
        def states():
            return {name: (status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
                    for name in os.listdir(self.sr) for status in [os.stat(os.path.join(self.sr, name))]}

        service, before = self.resting("--idle", "4h")
        images, cycle = states(), service.status()["last_cycle"]
        service.wait_until(lambda: service.status()["last_cycle"] not in (cycle, None), "another look")
        self.assertNotEqual(service.activity(), before)
        self.assertEqual(states(), images)


if __name__ == "__main__":
    crash_case.require_faulty_build(seeded_runner.scratch_root())
    unittest.main()
