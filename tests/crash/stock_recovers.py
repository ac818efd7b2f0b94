#!/usr/bin/python3
"""Kills the program before each change; then the host's own collector cleans up, and after it the program again.

    stock_recovers.py [--seed N] [--count N] [--jobs N]     COPPICE_BINARY names the program

After each of them every disk is the same. With another build than one with COPPICE_FAULTS it is skipped (status 77).
"""

import collections
import os
import random
import sys
import uuid

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "support", "py"))

import crash_case  # noqa: E402
import kill_every_change  # noqa: E402
import oracles  # noqa: E402
import seeded_runner  # noqa: E402
import sr_state  # noqa: E402
from sr_maker import SrMaker  # noqa: E402
from stock_collector import StockCollector  # noqa: E402

NAMES = {"collect vhd", "leaf down vhd", "leaf up vhd", "leaf down qcow2", "leaf up qcow2", "leaf levels down vhd",
         "inner down vhd", "inner up vhd", "inner down qcow2", "inner up qcow2", "inner levels down vhd"}
SHAPES = [shape for shape in kill_every_change.SHAPES if shape[0] in NAMES]


def case(seed, scratch):
    name, build, verb = SHAPES[(seed - 1) % len(SHAPES)]
    rng = random.Random(seed)
    template = os.path.join(scratch, "template", str(uuid.UUID(int=rng.getrandbits(128), version=4)))
    maker = SrMaker(template, rng, snapshots=False)
    build(maker)
    maker.build()
    disks = sr_state.SrState(template).fingerprints()
    counts = collections.Counter()
    changes = 0
    while True:
        sr = crash_case.CrashSr.copy_of(template, disks, scratch)
        what = f"{name}, killed before change {changes}"
        finished = sr.run(*verb, changes=changes) == 0
        if not finished:
            counts["kills"] += 1
            counts["entries"] += sum(1 for _ in StockCollector(sr.directory).entries("leaf"))
            counts["entries"] += sum(1 for _ in StockCollector(sr.directory).entries("relink"))
            StockCollector(sr.directory).recover()
            after = f"{what}, recovered by the stock collector"
            sr_state.require_same_disks(disks, sr_state.SrState(sr.directory), after)
            sr.require_finished(after)
        if finished:
            return counts
        changes += 1


def before():
    oracles.binary()
    crash_case.require_faulty_build(seeded_runner.scratch_root())


if __name__ == "__main__":
    assert len(SHAPES) == len(NAMES)
    seeded_runner.main(case, description=__doc__.splitlines()[0], count=len(SHAPES), before=before)
