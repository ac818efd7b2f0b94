#!/usr/bin/python3
"""Kills `run --once` at random moments while it works on random SRs, again and again, and verifies every disk each time.

    kill_trees.py [--seed N] [--count N] [--jobs N]     COPPICE_BINARY names the program
"""

import collections
import os
import random
import signal
import subprocess
import sys
import time
import uuid

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "support", "py"))

import crash_case  # noqa: E402
import oracles  # noqa: E402
import seeded_runner  # noqa: E402
from image_maker import MIB  # noqa: E402
from sr_maker import SrMaker  # noqa: E402

MOST_KILLS = 6


def timed_run(sr):
    started = time.monotonic()
    sr.run("run", "--once")
    return time.monotonic() - started


def kill_after(sr, seconds):
    """True when the kill came in time."""
    process = subprocess.Popen(sr.command("run", "--once"), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    try:
        _, trouble = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        _, trouble = process.communicate()
    if process.returncode not in (0, -signal.SIGKILL):
        raise oracles.Failure(f"run --once: status {process.returncode}\n{trouble.decode(errors='replace')[-2000:]}")
    return process.returncode != 0


def case(seed, scratch):
    rng = random.Random(seed)
    template = os.path.join(scratch, "template", str(uuid.UUID(int=rng.getrandbits(128), version=4)))
    maker = SrMaker(template, rng, most_images=10, limit=4 * MIB)
    maker.random()
    disks = crash_case.CrashSr(template, scratch).disks
    whole = timed_run(crash_case.CrashSr.copy_of(template, disks, scratch))
    sr = crash_case.CrashSr.copy_of(template, disks, scratch)
    counts = collections.Counter()
    for attempt in range(1, MOST_KILLS + 1):
        killed = kill_after(sr, rng.random() * whole)
        sr.require_unharmed(f"run {attempt}, {'killed' if killed else 'finished'}")
        if not killed:
            break
        counts["kills"] += 1
        if rng.random() < 0.2:
            sr.forget_journal()
    sr.require_finished("recovery")
    return counts


if __name__ == "__main__":
    seeded_runner.main(case, description=__doc__.splitlines()[0], count=150, before=oracles.binary)
