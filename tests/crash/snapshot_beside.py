#!/usr/bin/python3
"""A leaf is poured down; sm makes a snapshot of it and attaches the snapshot, at every few changes of the merge.

    snapshot_beside.py [--seed N] [--count N] [--jobs N]     COPPICE_BINARY names the program

The snapshot's chain holds the leaf's content under a new name, above the image that is poured into. From the moment the snapshot is
open that image is not written to any more, and its guest and the disk's read what they read before.
Needs a build that knows COPPICE_TEST_STOP_AFTER_CHANGES.
"""

import collections
import os
import random
import sys
import threading
import uuid

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "support", "py"))

import crash_case  # noqa: E402
import oracles  # noqa: E402
import seeded_runner  # noqa: E402
import sm_locks  # noqa: E402
import sr_state  # noqa: E402
from image_maker import KIB, MIB  # noqa: E402
from known_chain import KnownChain, Layer  # noqa: E402
from sm_process import StorageManager  # noqa: E402
from stopped_program import StoppedProgram  # noqa: E402

ENDS = (0, 1, 4, 5, 6)  # done, a step failed, refused, not found, busy
LIMIT = 120  # seconds
MANY = [(at, 200 * KIB) for at in range(0, 4 * MIB, 512 * KIB)]
CASES = [[Layer("qcow2", True, [(512 * KIB, 64 * KIB)]), Layer("qcow2", False, MANY, 0)],
         [Layer("qcow2", True, MANY[:4]), Layer("qcow2", True, MANY[4:], 0), Layer("qcow2", False, MANY, 1)]]


class Beside:
    """sm, on a thread of its own: `settled` when it is done, or waits for us."""

    def __init__(self, manager, disk):
        self.manager, self.disk = manager, disk
        self.settled, self.waited, self.trouble = threading.Event(), False, None
        sm_locks.tell = self._hear
        self.thread = threading.Thread(target=self._act)
        self.thread.start()

    def _hear(self, text):
        if text.startswith("waits"):
            self.waited = True
            self.settled.set()

    def _act(self):
        try:
            copy = self.manager.make_snapshot(self.disk, True)
            self.manager.attach(copy)
        except BaseException as trouble:  # told in join()
            self.trouble = trouble
        finally:
            self.settled.set()

    def join(self, what):
        self.thread.join(LIMIT)
        if self.thread.is_alive() or self.trouble:
            raise oracles.Failure(f"{what}: sm: {self.trouble or 'waits without end'}")


def attempt(changes, template, disks, layers, scratch, counts):
    """False where the program ended before it made so many changes."""
    sr = crash_case.CrashSr.copy_of(template, disks, scratch)
    disk = layers[-1].uuid
    manager = StorageManager(sr.directory, os.environ["COPPICE_TEST_SM_ROOT"], changes)
    try:
        with StoppedProgram(sr.command("coalesce", "--leaf", "--direction", "down"), changes, "leaf poured down") as program:
            if not program.stopped:
                return False
            pouring = bool(manager.merges())
            beside = Beside(manager, disk)
            if not beside.settled.wait(LIMIT):
                raise oracles.Failure(f"{program.what}: sm neither waits nor is done")
            program.go_on().require_status(*ENDS)
            beside.join(program.what)
        counts["had to wait" if beside.waited else "did not wait"] += 1
        counts["while pouring"] += pouring
        for guest in list(manager.guests):
            manager.close(guest)
    finally:
        for guest in manager.guests.values():
            guest.close()
    sr.disks = sr_state.SrState(sr.directory).fingerprints()
    for name in disks:
        if sr.disks.get(name) != disks[name]:
            raise oracles.Failure(f"{program.what}: {name} reads differently")
    sr.require_finished(program.what)
    return True


def case(seed, scratch):
    rng = random.Random(seed)
    layers = CASES[(seed - 1) % len(CASES)]
    template = os.path.join(scratch, "template", str(uuid.UUID(int=rng.getrandbits(128), version=4)))
    KnownChain(template, rng, layers)
    disks = sr_state.SrState(template).fingerprints()
    os.makedirs(os.path.join(scratch, "sm/var/lock/sm"))
    os.environ["COPPICE_TEST_SM_ROOT"] = os.path.join(scratch, "sm")
    counts, changes = collections.Counter(), 0
    while attempt(changes, template, disks, layers, scratch, counts):
        changes += 1 + rng.randrange(2)
    if counts["while pouring"] < 5:
        raise oracles.Failure(f"too little was seen: {counts}")
    return counts


def before():
    oracles.binary()
    crash_case.require_faulty_build(seeded_runner.scratch_root())


if __name__ == "__main__":
    seeded_runner.main(case, description=__doc__.splitlines()[0], count=len(CASES), before=before)
