#!/usr/bin/python3
"""Kills the program right before each change of each kind of step; every disk is the same then, and after recovery.

    kill_every_change.py [--seed N] [--count N] [--jobs N]     COPPICE_BINARY names the program

The program must be a build that knows COPPICE_TEST_KILL_AFTER_CHANGES; with another one the test is skipped (status 77).
A case is a slice of the changes of one shape: the seed says which.
"""

import collections
import os
import random
import sys
import uuid

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "support", "py"))

import crash_case  # noqa: E402
import oracles  # noqa: E402
import seeded_runner  # noqa: E402
import sr_state  # noqa: E402
from image_maker import KIB, MIB  # noqa: E402
from sr_maker import SrMaker  # noqa: E402

HIDDEN, VISIBLE = True, False
DOWN, UP = (["coalesce", "--leaf", "--direction", direction] for direction in ("down", "up"))
SLICES = 4  # cases of one shape; each takes every fourth change
ROUNDS = 1  # different random contents of one shape


def garbage(kind):
    def build(maker):
        maker.chain((kind, HIDDEN, MIB), (kind, HIDDEN))
        maker.chain((kind, VISIBLE, MIB), (kind, HIDDEN))
    return build


def leaf(lower, upper=None, *, grown=0, levels=1):
    def build(maker):
        layers = [(lower, HIDDEN, MIB)] + [(lower, HIDDEN)] * (levels - 1)
        maker.chain(*layers, (upper or lower, VISIBLE, MIB + grown))
    return build


def inner(lower, upper=None, *, levels=2, grown=0, raw_root=False):
    """`levels` hidden images under two leaves."""
    def build(maker):
        layers = [("raw", VISIBLE, MIB)] if raw_root else []
        layers += [(lower, HIDDEN, MIB)] + [(upper or lower, HIDDEN, MIB + grown)] * (levels - 1)
        parent = maker.chain(*layers)
        for _ in range(2):
            maker.image(upper or lower, parent.size, parent, VISIBLE)
    return build


SHAPES = [
    ("collect vhd", garbage("vhd"), ["collect"]),
    ("collect qcow2", garbage("qcow2"), ["collect"]),
    ("leaf down vhd", leaf("vhd"), DOWN),
    ("leaf up vhd", leaf("vhd"), UP),
    ("leaf down qcow2", leaf("qcow2"), DOWN),
    ("leaf up qcow2", leaf("qcow2"), UP),
    ("leaf down vhd, grown", leaf("vhd", grown=5 * MIB), DOWN),
    ("leaf down qcow2, grown", leaf("qcow2", grown=300 * KIB), DOWN),
    ("leaf qcow2 over vhd down", leaf("vhd", "qcow2"), DOWN),
    ("leaf qcow2 over vhd up", leaf("vhd", "qcow2"), UP),
    ("leaf levels down vhd", leaf("vhd", levels=3), DOWN),
    ("leaf levels down qcow2", leaf("qcow2", levels=3), DOWN),
    ("leaf levels up qcow2", leaf("qcow2", levels=3), UP),
    ("inner down vhd", inner("vhd"), DOWN),
    ("inner up vhd", inner("vhd"), UP),
    ("inner down qcow2", inner("qcow2", grown=200 * KIB), DOWN),
    ("inner up qcow2", inner("qcow2"), UP),
    ("inner levels down vhd", inner("vhd", levels=4), DOWN),
    ("inner levels up qcow2", inner("qcow2", levels=4), UP),
    ("inner qcow2 over vhd up", inner("vhd", "qcow2"), UP),
    ("leaf up vhd, smaller", leaf("vhd", grown=-300 * KIB), UP),
    ("leaf up qcow2, smaller", leaf("qcow2", grown=-300 * KIB), UP),
    ("inner up qcow2, smaller", inner("qcow2", grown=-200 * KIB), UP),
    ("inner vhd over raw up", inner("vhd", levels=3, raw_root=True), UP),
    ("inner qcow2 over raw down", inner("qcow2", levels=3, raw_root=True), DOWN),
]


def case(seed, scratch):
    index = seed - 1
    name, build, verb = SHAPES[index // SLICES % len(SHAPES)]
    content = index // SLICES  # the slices of one shape work on equal SRs
    rng = random.Random(content)
    template = os.path.join(scratch, "template", str(uuid.UUID(int=rng.getrandbits(128), version=4)))
    maker = SrMaker(template, rng, snapshots=False)
    build(maker)
    maker.build()
    disks = sr_state.SrState(template).fingerprints()
    counts = collections.Counter()
    changes = index % SLICES
    while True:
        sr = crash_case.CrashSr.copy_of(template, disks, scratch)
        what = f"{name}, killed before change {changes}"
        try:
            finished = sr.run(*verb, changes=changes) == 0
            sr.require_unharmed(what)
            if not finished:
                counts["kills"] += 1
                recover(sr, changes, what, counts)
        except oracles.Failure as failure:
            raise oracles.Failure(f"{failure}\n({what}; {' '.join(verb)})") from failure
        sr.require_finished(what)
        if finished:
            if changes < SLICES:
                raise oracles.Failure(f"{name}: {' '.join(verb)} has made no more than {changes} changes")
            return counts
        changes += SLICES


def recover(sr, changes, what, counts):
    """Sometimes the journal is lost with the host, sometimes the recovery is killed as well."""
    way = changes // SLICES % 4
    if way == 1:
        sr.forget_journal()
    if way >= 2:
        again = changes % 11 if way == 2 else changes % 37
        if sr.run("run", "--once", changes=again):
            counts["kills"] += 1
        sr.require_unharmed(f"{what}, and its recovery before change {again}")


def before():
    oracles.binary()
    crash_case.require_faulty_build(seeded_runner.scratch_root())


if __name__ == "__main__":
    seeded_runner.main(case, description=__doc__.splitlines()[0], count=len(SHAPES) * SLICES * ROUNDS, before=before)
