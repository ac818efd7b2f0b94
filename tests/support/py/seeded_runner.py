"""Runs numbered random cases on several processes; a finding names the seed that repeats it."""

import argparse
import collections
import multiprocessing
import os
import shutil
import signal
import sys
import tempfile
import time
import traceback


def scratch_root():
    """Memory if there is plenty of it: the cases are small and many."""
    chosen = os.environ.get("COPPICE_TEST_TMP")
    if chosen:
        return chosen
    try:
        room = os.statvfs("/dev/shm")
        if room.f_bavail * room.f_frsize > 2 << 30 and os.access("/dev/shm", os.W_OK):
            return "/dev/shm"
    except OSError:
        pass
    return None


def run_case(job):
    function, seed, keep = job
    scratch = tempfile.mkdtemp(prefix=f"coppice-{seed}-", dir=scratch_root())
    counts, trouble = {}, None
    try:
        counts = function(seed, scratch) or {}
    except Exception:  # every kind of failure is a finding to report with its seed
        trouble = traceback.format_exc() + (f"kept: {scratch}\n" if keep else "")
    if not (trouble and keep):
        shutil.rmtree(scratch, ignore_errors=True)
    return seed, trouble, counts


def add(totals, counts):
    """What is called "longest …" is no sum."""
    for name, count in counts.items():
        totals[name] = max(totals[name], count) if name.startswith("longest") else totals[name] + count
    totals["cases"] += 1


def main(function, *, description, count, before=None):
    parser = argparse.ArgumentParser(description=description, allow_abbrev=False)
    parser.add_argument("--seed", type=int, help="this case only; its files are kept when it fails")
    parser.add_argument("--first", type=int, default=1)
    parser.add_argument("--count", type=int, default=count)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=None, help="stop after this time")
    options = parser.parse_args()
    if before:
        before()
    seeds = [options.seed] if options.seed is not None else range(options.first, options.first + options.count)
    keep = options.seed is not None
    print(f"{len(seeds)} cases, seeds {seeds[0]}..{seeds[-1]}", flush=True)
    totals, failures, started = collections.Counter(), [], time.monotonic()
    jobs = ((function, seed, keep) for seed in seeds)
    with multiprocessing.Pool(options.jobs, initializer=signal.signal, initargs=(signal.SIGINT, signal.SIG_IGN)) as pool:
        for seed, trouble, counts in pool.imap_unordered(run_case, jobs, chunksize=1):
            add(totals, counts)
            if trouble:
                failures.append(seed)
                print(f"seed {seed}: FAILED\n{trouble}", flush=True)
            if len(failures) >= 20 or (options.seconds and time.monotonic() - started > options.seconds):
                pool.terminate()
                break
    print(", ".join(f"{name} {totals[name]}" for name in sorted(totals)) + f"; {time.monotonic() - started:.0f} s")
    if failures:
        print(f"{len(failures)} failed; repeat with --seed {failures[0]}; all: {failures}")
    sys.exit(1 if failures else 0)
