#!/usr/bin/python3
"""Kills large merges again and again: each run goes on where the last one stopped, at most 64 MiB are copied twice.

    resume_large.py [--seed N] [--count N] [--jobs N]     COPPICE_BINARY names the program

What a run has written is taken from the kernel's account of the process, not from what the program says.
"""

import json
import os
import random
import signal
import subprocess
import sys
import uuid

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "support", "py"))

import crash_case  # noqa: E402
import oracles  # noqa: E402
import qemu_maker  # noqa: E402
import seeded_runner  # noqa: E402
import sr_state  # noqa: E402
import vhd_writer  # noqa: E402
from image_maker import KIB, MIB  # noqa: E402

DISK = 1024 * MIB  # mostly a hole
POURED = 220 * MIB
PIECE = 4 * MIB
COPIED_TWICE_AT_MOST = 64 * MIB
METADATA = 8 * MIB  # tables, bitmaps, headers and the journal, for one run
MOST_RUNS = 60


class Pair:
    """A hidden root and its leaf, of which the emptied one maps POURED bytes."""

    def __init__(self, directory, rng, kind, direction):
        os.makedirs(directory)
        self.directory = directory
        self.root, self.leaf = (f"{uuid.UUID(int=rng.getrandbits(128), version=4)}.{kind}" for _ in range(2))
        places = sorted(rng.sample(range(DISK // PIECE), POURED // PIECE))
        big, few = [place * PIECE for place in places], [rng.randrange(DISK // PIECE) * PIECE]
        content = (few, big) if direction == "down" else (big, few)
        {"vhd": self._make_vhd, "qcow2": self._make_qcow2}[kind](rng, *content)

    def path(self, name):
        return os.path.join(self.directory, name)

    def _make_vhd(self, rng, *contents):
        parent = None
        for name, places in zip((self.root, self.leaf), contents):
            disk = vhd_writer.VhdWriter(DISK, rng=rng, parent=parent, hidden=name == self.root)
            for place in places:
                disk.write(place, rng.randbytes(4 * KIB) * (PIECE // (4 * KIB)))
            disk.save(self.path(name))
            parent = vhd_writer.Parent(name, disk.uuid)

    def _make_qcow2(self, rng, *contents):
        parent, batch = None, qemu_maker.Batch(self.directory, rng)
        for name, places in zip((self.root, self.leaf), contents):
            qemu_maker.create(self.path(name), DISK, parent=parent, parent_format=parent and "qcow2")
            batch.open(self.path(name))
            for place in places:
                batch.lines.append(f"write -P {rng.randrange(1, 256)} {place} {PIECE}")
            batch.close()
            parent = name
        batch.run()
        qemu_maker.set_hidden(self.path(self.root), True)


def run_and_weigh(sr, verb, changes):
    """(exit status, standard output, bytes that the process has written)"""
    environment = dict(os.environ)
    environment.pop(crash_case.KILL_VARIABLE, None)
    if changes is not None:
        environment[crash_case.KILL_VARIABLE] = str(changes)
    with open(os.path.join(sr.scratch, "output"), "w+b") as output:
        process = subprocess.Popen(sr.command(*verb), env=environment, stdout=output, stderr=subprocess.DEVNULL)
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        with open(f"/proc/{process.pid}/io", encoding="ascii") as file:
            account = dict(line.split(": ") for line in file)
        process.wait()
        output.seek(0)
        return process.returncode, output.read(), int(account["wchar"])


def merge_of(result, what):
    merges = [step for step in json.loads(result)["done"] if step["op"] != "collect"]
    if len(merges) != 1:
        raise oracles.Failure(f"{what}: one merge was to be done: {result.decode()}")
    return merges[0]


def case(seed, scratch):
    rng = random.Random(seed)
    kind, direction = [("vhd", "down"), ("qcow2", "down"), ("vhd", "up"), ("qcow2", "up")][seed % 4]
    template = os.path.join(scratch, "template", str(uuid.UUID(int=rng.getrandbits(128), version=4)))
    pair = Pair(template, rng, kind, direction)
    verb = ["coalesce", "--leaf", "--direction", direction]
    disks = sr_state.SrState(template).fingerprints()

    sr = crash_case.CrashSr.copy_of(template, disks, scratch)
    status, result, whole = run_and_weigh(sr, verb, None)
    if status:
        raise oracles.Failure(f"{verb}: status {status}")
    expected = merge_of(result, "uninterrupted")
    if expected["resumed"] or expected["copied_bytes"] < POURED - PIECE:
        raise oracles.Failure(f"figures of an uninterrupted merge: {expected}")

    sr = crash_case.CrashSr.copy_of(template, disks, scratch)
    # The first kills come in the first batch, later ones behind several: each run may change half as much again.
    written, kills, changes = 0, 0, rng.randrange(16, 28)
    for _ in range(MOST_RUNS):
        status, result, weight = run_and_weigh(sr, verb, changes)
        changes += changes // 2
        written += weight
        if status == 0:
            break
        if status != -signal.SIGKILL:
            raise oracles.Failure(f"{verb}: status {status}")
        kills += 1
        sr_state.require_same_disks(disks, sr_state.SrState(sr.directory), f"kill {kills}")
    else:
        raise oracles.Failure(f"not finished after {MOST_RUNS} runs, {written} bytes have been written")
    if not kills:
        raise oracles.Failure("the merge was not killed: too few changes for this test")
    done = merge_of(result, f"after {kills} kills")
    # What a killed run had copied behind its last cursor counts when it is copied again, which going up it need not be.
    uncounted = expected["copied_bytes"] - done["copied_bytes"]
    if not done["resumed"] or not 0 <= uncounted <= (kills * COPIED_TWICE_AT_MOST if direction == "up" else 0):
        raise oracles.Failure(f"after {kills} kills: {done}, uninterrupted: {expected}")
    allowed = whole + kills * (COPIED_TWICE_AT_MOST + METADATA)
    if written > allowed:
        raise oracles.Failure(f"{written} bytes have been written in {kills + 1} runs, {whole} by an uninterrupted one")
    sr.require_finished(f"after {kills} kills")
    return {"kills": kills, "MiB written again": (written - whole) // MIB}


def before():
    oracles.binary()
    crash_case.require_faulty_build(seeded_runner.scratch_root())


if __name__ == "__main__":
    seeded_runner.main(case, description=__doc__.splitlines()[0], count=4, before=before)
