#!/usr/bin/python3
"""A merge is killed, and then its target is restored to what it was before: by a backup, or with the storage below. What the journal
knows of the merge is wrong then, and no disk may lose a byte by it.

    restored_target.py [--seed N] [--count N] [--jobs N]     COPPICE_BINARY names the program
"""

import collections
import os
import random
import subprocess
import sys
import uuid

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "support", "py"))

import byte_source  # noqa: E402
import crash_case  # noqa: E402
import oracles  # noqa: E402
import seeded_runner  # noqa: E402
import sr_state  # noqa: E402
from image_maker import MIB  # noqa: E402
from sr_maker import SrMaker  # noqa: E402

MOST_RUNS = 4


def restore(path, content):
    """In place: it stays the same file, with a newer time."""
    with open(path, "r+b") as file:
        file.truncate(len(content))
        file.write(content)


def case(seed, scratch):
    rng = random.Random(seed)
    kind = ("qcow2", "vhd")[seed % 2]
    template = os.path.join(scratch, "template", str(uuid.UUID(int=rng.getrandbits(128), version=4)))
    maker = SrMaker(template, rng, snapshots=False)
    maker.chain((kind, True, 2 * MIB), (kind, True, 2 * MIB), (kind, False, 2 * MIB))
    maker.build()
    before = {}
    for name in os.listdir(template):
        with open(os.path.join(template, name), "rb") as file:
            before[name] = file.read()
    disks = crash_case.CrashSr(template, scratch).disks
    counts = collections.Counter()
    for changes in range(rng.randrange(3), 400, 3):
        for name in before:
            sr = crash_case.CrashSr.copy_of(template, disks, scratch)
            if sr.run("run", "--once", changes=changes) == 0:
                return counts
            path = os.path.join(sr.directory, name)
            if not os.path.exists(path):
                continue
            restore(path, before[name])
            try:
                sr_state.require_same_disks(disks, sr_state.SrState(sr.directory), "restored")
            except (oracles.Failure, byte_source.BadImage):
                continue  # the restoring itself has taken data away
            counts["restored"] += 1
            for _ in range(MOST_RUNS):
                done = subprocess.run(sr.command("run", "--once"), capture_output=True, timeout=120, check=False)
                sr_state.require_same_disks(disks, sr_state.SrState(sr.directory), f"{name} restored after {changes} changes")
                if done.returncode == 0:
                    break
            sr.require_finished(f"{name} restored after {changes} changes")
    return counts


if __name__ == "__main__":
    seeded_runner.main(case, description=__doc__.splitlines()[0], count=6, before=lambda: (
        oracles.binary(), crash_case.require_faulty_build(seeded_runner.scratch_root())))
