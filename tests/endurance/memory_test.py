#!/usr/bin/python3
"""What a service of a large SR keeps in memory while it rests, for each VDI: so little that 10,000 of them stay below 64 MiB."""

import os
import random
import shutil
import sys
import tempfile
import unittest
import uuid

from watched_service import WatchedService

sys.path.insert(0, os.path.normpath(os.path.join(os.path.dirname(os.path.abspath(__file__)), "../bench")))

import seeded_runner  # noqa: E402
from scan_bench import Builder  # noqa: E402

KIB = 1024
FEW, MANY = 20, 1220
MOST_OF_ONE = 3 * KIB  # 30 MiB for 10,000, beside some 12 MiB of the program and its libraries
QUESTIONS = 3


class Memory(unittest.TestCase):
    def setUp(self):
        self.scratch = tempfile.mkdtemp(prefix="coppice-memory-", dir=seeded_runner.scratch_root())
        self.addCleanup(shutil.rmtree, self.scratch)

    def service(self, images):
        """In the worst state: it is paused, and has something to say of almost every VDI."""
        scratch = os.path.join(self.scratch, str(images))
        sr = os.path.join(scratch, str(uuid.uuid4()))
        os.makedirs(sr)
        Builder(sr, random.Random(1)).build(images)
        service = WatchedService(scratch, sr, 1, options=("--idle", "24h"))
        self.addCleanup(service.close)
        service.start()
        service.ask("pause", owner="test")
        return service

    def resting_memory(self, service):
        """After a cycle and every kind of question."""
        service.ask("kick", wait=True)
        for name in sorted(os.listdir(service.sr))[:QUESTIONS]:
            service.ask("explain", vdi=name.rsplit(".", 1)[0])
            service.ask("metrics")
        service.ask("kick", wait=True)
        service.wait_until(lambda: service.status()["state"] == "paused", "at rest")
        return service.memory()[0]

    def test_of_each_vdi(self):
        few, many = (self.resting_memory(self.service(images)) for images in (FEW, MANY))
        each = (many - few) / (MANY - FEW)
        print(f"{few / KIB:.0f} KiB with {FEW} VDIs, {many / KIB:.0f} KiB with {MANY}: {each / KIB:.2f} KiB for each", flush=True)
        self.assertLess(each, MOST_OF_ONE)


if __name__ == "__main__":
    unittest.main()
