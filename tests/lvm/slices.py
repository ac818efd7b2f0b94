"""Many SRs on one disk of a VM, a slice of it for each: they are made and looked at outside, and the VM only runs the program."""

import argparse
import collections
import concurrent.futures
import json
import os
import random
import shlex
import subprocess
import tempfile
import time
import traceback

import oracles
from stored_group import Stretch
from thick_sizes import KIB, MIB

HERE = os.path.dirname(os.path.abspath(__file__))
RUN_IN_VM = os.path.join(HERE, "..", "vm", "run-in-vm")
RUN = ["run", "--once"]
STATE_SIZE = 24 * MIB
BOOT_AND_LAST_JOB = 300  # seconds at most, on a busy machine
GUEST = ["/usr/bin/python3", "-B", os.path.join(HERE, "slices_guest.py")]


def scratch_directory():
    return tempfile.TemporaryDirectory(prefix="coppice-slices-", dir=os.environ.get("RUN_IN_VM_TMP", "/var/tmp"))


class Disk:
    """A file with holes that grows by slices. No slice begins where LVM would take the whole disk for a PV."""

    def __init__(self, path):
        self.path, self.size = path, MIB
        with open(path, "wb") as file:
            file.truncate(self.size)

    def state(self):
        """An empty file system for the program's journal."""
        stretch = self.slice(STATE_SIZE)
        subprocess.run(["mkfs.ext4", "-q", "-F", "-E", f"offset={stretch.offset},nodiscard,lazy_itable_init=0,lazy_journal_init=0",
                        self.path, f"{stretch.size // KIB}k"], check=True, capture_output=True)
        return stretch

    def slice(self, size):
        stretch = Stretch(self.path, self.size, -(-size // MIB) * MIB)
        self.size += stretch.size
        os.truncate(self.path, self.size)
        return stretch


def place(stretch):
    return [stretch.offset, stretch.size]


def run(directory, disks, jobs, seconds, cut_after=None):
    """Does `jobs` one after the other in one VM, as slices_guest.py understands them, and begins none after so many seconds.
    `cut_after`: seconds until its power goes, and it does them again. Returns {number: what it has said}, of the second boot
    where there was one.
    """
    path = os.path.join(directory, "jobs.json")
    with open(path, "w", encoding="utf-8") as file:
        json.dump({"seconds": seconds, "jobs": jobs}, file)
    command = [RUN_IN_VM, "--timeout", str(2 * seconds + BOOT_AND_LAST_JOB)]
    for disk in disks:
        command += ["--disk", disk]
    if cut_after is not None:
        command += ["--power-cut-after", str(cut_after), "--verify", shlex.join([*GUEST, path])]
    done = subprocess.run([*command, "--", *GUEST, path], capture_output=True, text=True, check=False,
                          env={**os.environ, "LVM_SYSTEM_DIR": os.path.join(HERE, "system")})
    told = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{") and line.endswith("}")]
    told = {entry["number"]: entry for entry in told if entry["boot"] == ("1" if cut_after is None else "2")}
    if done.returncode or not told:
        raise oracles.Failure(f"the VM ends with {done.returncode} and {len(told)} of {len(jobs)} jobs: {done.stderr[-3000:]}")
    return told


def batch(case_of, seeds, seconds):
    """(seed, trouble or None, counts) of each. Of `case_of(seed, directory, disk)`, jobs(number of the first) gives what is to be done
    in its slices, `numbers` their numbers, and check({number: what it has said}) the counts.
    """
    found, cases, jobs = [], [], []
    with scratch_directory() as directory:
        disk = Disk(f"{directory}/disk")
        for seed in seeds:
            cases.append(case_of(seed, directory, disk))
            jobs += cases[-1].jobs(len(jobs))
        told = run(directory, [disk.path], jobs, seconds)
        for case in cases:
            if told.keys() >= set(case.numbers.values()):
                attempt(found, case.seed, lambda case=case: case.check(told))
    return found


class OneJob:
    """A case for batch() that is done with one slice: of job(), what is to be done, and check_job(what it has said)."""

    def jobs(self, number):
        self.numbers = {"only": number}
        return [{**self.job(), "number": number}]

    def check(self, told):
        return self.check_job(told[self.numbers["only"]])


def run_batches(work, name):
    """`work`: [(function, arguments)], each of which returns [(seed, trouble or None, counts)]; two at a time. The exit status."""
    oracles.binary()
    totals, failed, started = collections.Counter(), [], time.monotonic()
    with concurrent.futures.ProcessPoolExecutor(2) as pool:
        for done in concurrent.futures.as_completed([pool.submit(function, *arguments) for function, *arguments in work]):
            for seed, trouble, counts in done.result():
                totals.update(counts)
                if trouble:
                    failed.append(seed)
                    print(f"--seed {seed}: FAILED\n{trouble}", flush=True)
    used = os.times()
    print(", ".join(f"{key} {totals[key]}" for key in sorted(totals)) + f"; {time.monotonic() - started:.0f} s, of processors "
          f"{used.children_user + used.children_system:.0f} s")
    if failed:
        print(f"{len(failed)} failed; repeat with --seed {failed[0]}; all: {failed}")
    return 1 if failed or not totals[name] else 0


def attempt(found, seed, action):
    """Adds the counts that the action returns, or what has gone wrong."""
    try:
        found.append((seed, None, action()))
    except Exception:  # every kind of failure is a finding to report with its seed
        found.append((seed, traceback.format_exc(), {}))


def parser(description, *, count, seconds):
    found = argparse.ArgumentParser(description=description.splitlines()[0], allow_abbrev=False)
    found.add_argument("--seed", type=int, help="this SR only")
    found.add_argument("--first", type=int, default=1)
    found.add_argument("--random", dest="first", action="store_const", const=random.randrange(1 << 32), help="a random --first")
    found.add_argument("--count", type=int, default=count, help="of SRs")
    found.add_argument("--seconds", type=int, default=seconds, help="after which a VM begins with no further one")
    return found


def seeds(options):
    chosen = [options.seed] if options.seed is not None else list(range(options.first, options.first + options.count))
    print(f"--first {chosen[0]} --count {len(chosen)}", flush=True)
    return chosen


def parts(chosen, largest):
    """Of equal size, two at least."""
    size = min(largest, -(-len(chosen) // 2))
    return [chosen[at : at + size] for at in range(0, len(chosen), size)]
