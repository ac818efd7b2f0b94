#!/usr/bin/python3
"""Kills the program right before each system call that changes the journal or a file beside it; the next run finishes.

    kill_journal_writes.py [--seed N] [--count N] [--jobs N]     COPPICE_BINARY names the program

The changes that COPPICE_TEST_KILL_AFTER_CHANGES counts are transactions; SQLite makes several calls for each, and for making and
ending a journal. strace kills at these. The seed says which call, and which of its occurrences.
"""

import collections
import os
import random
import shutil
import signal
import subprocess
import sys
import uuid

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "support", "py"))

import crash_case  # noqa: E402
import oracles  # noqa: E402
import seeded_runner  # noqa: E402
import sr_state  # noqa: E402
from image_maker import KIB  # noqa: E402
from known_chain import KnownChain, Layer  # noqa: E402

# (call, how many cases share its occurrences, at how many it has to come at least)
CALLS = [("pwrite64", 8, 40), ("fdatasync", 2, 8), ("ftruncate", 1, 1), ("unlink", 1, 2), ("rename", 1, 1), ("openat", 2, 4),
         ("fsync", 1, 0)]
CASES = [(call, first, count, least) for call, count, least in CALLS for first in range(count)]
NAMES = [name + suffix for name in ("journal.db", "journal.db.new") for suffix in ("", "-wal", "-shm", "-journal")]
DISK = 256 * KIB


def layers():
    """Garbage, and a leaf to merge."""
    piece, other = [(0, 4 * KIB)], [(8 * KIB, 12 * KIB)]
    return [Layer("qcow2", True, piece), Layer("qcow2", False, other, 0), Layer("qcow2", True, piece, 1)]


def kill_at(sr, call, occurrence):
    """False where the program ended before. Only the thread that acts writes to the journal."""
    state = os.path.join(sr.scratch, "state", os.path.basename(sr.directory))
    paths = [argument for name in NAMES for argument in ("-P", os.path.join(state, name))]
    done = subprocess.run(["strace", "-qq", "-o", os.path.join(sr.scratch, "trace"), *paths, "-e", f"trace={call}",
                           "-e", f"inject={call}:signal=KILL:when={occurrence}", *sr.command("run", "--once")],
                          capture_output=True, text=True, timeout=120)
    if done.returncode not in (0, -signal.SIGKILL):
        raise oracles.Failure(f"{call} {occurrence}: status {done.returncode}\n{done.stderr[-1500:]}{done.stdout[-500:]}")
    return done.returncode != 0


def case(seed, scratch):
    call, first, step, least = CASES[(seed - 1) % len(CASES)]
    template = os.path.join(scratch, "template", str(uuid.UUID(int=1, version=4)))
    KnownChain(template, random.Random(1), layers(), DISK)
    disks = sr_state.SrState(template).fingerprints()
    counts = collections.Counter()
    occurrence = first + 1
    while True:
        sr = crash_case.CrashSr.copy_of(template, disks, scratch)
        if not kill_at(sr, call, occurrence):
            break
        what = f"killed before {call} number {occurrence}"
        sr.require_unharmed(what)
        sr.require_finished(what)
        counts["kills"] += 1
        occurrence += step
    if occurrence <= least:
        raise oracles.Failure(f"{call} has been called only {occurrence - 1} times: does strace see the journal?")
    return counts


def before():
    oracles.binary()
    if not shutil.which("strace"):
        raise SystemExit("this test needs strace")


if __name__ == "__main__":
    seeded_runner.main(case, description=__doc__.splitlines()[0], count=len(CASES), before=before)
