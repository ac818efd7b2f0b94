#!/usr/bin/python3
"""Somebody opens, changes, renames or loses what a merge works on, at every change that the merge makes.

    changed_image.py [--seed N] [--count N] [--jobs N]     COPPICE_BINARY names the program

The program is stopped, the world is changed, and it goes on. Whatever it makes of that: every disk reads as its owner expects, no
file is deleted under somebody who has it open, and the next run, when all is as it was, finishes.
Needs a build that knows COPPICE_TEST_STOP_AFTER_CHANGES.
"""

import collections
import contextlib
import os
import random
import shutil
import subprocess
import sys
import uuid

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "support", "py"))

import chain_reader  # noqa: E402
import crash_case  # noqa: E402
import oracles  # noqa: E402
import seeded_runner  # noqa: E402
import sr_state  # noqa: E402
from known_chain import SHAPES, KnownChain  # noqa: E402
from stopped_program import StoppedProgram  # noqa: E402

ENDS = (0, 1, 4, 5, 6)  # done, failed, refused, not found, busy
SECTOR = 512


class Opened:
    """A program that has one image open, without any lock."""

    def __init__(self, path, mode):
        self.path, self.fd = path, os.open(path, mode)

    def is_there(self):
        return os.fstat(self.fd).st_nlink > 0

    def close(self):
        os.close(self.fd)


class QemuOpened(Opened):
    """qemu-io, with its image locks. `kept_out`: the program's own locks did not let it in."""

    def __init__(self, path, *options):
        super().__init__(path, os.O_RDONLY)
        os.close(self.fd)
        self.process = subprocess.Popen(["qemu-io", "-f", "raw", *options, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        stderr=subprocess.STDOUT, text=True)
        with contextlib.suppress(BrokenPipeError):  # seen below as an end without an answer
            self.process.stdin.write("read 0 512\n")
            self.process.stdin.flush()
        answer = self.process.stdout.readline()
        self.kept_out = "lock" in answer
        if not self.kept_out and "read 512/512" not in answer:
            self.close()
            raise AssertionError(f"qemu-io {path}: {answer}")
        self.inode = os.stat(path).st_ino

    def is_there(self):
        return self.kept_out or self.inode in [entry.inode() for entry in os.scandir(os.path.dirname(self.path))]

    def close(self):
        self.process.kill()
        self.process.communicate()


def opener(layer, mode):
    def act(case, go_on, what):
        path = case.path(layer)
        if not os.path.exists(path):
            return False
        program = QemuOpened(path, *(["-r"] if mode == "r" else [])) if mode in ("r", "rw") else Opened(path, mode)
        try:
            go_on()
            if not program.is_there() and case.might_see(program):
                raise oracles.Failure(f"{what}: {os.path.basename(path)} was deleted while it was open")
            case.require_unharmed(what)
        finally:
            program.close()
        return True
    return act


def rename_away(layer):
    def act(case, go_on, what):
        path = case.path(layer)
        if not os.path.exists(path):
            return False
        os.rename(path, path + ".away")
        go_on()
        if os.path.exists(path):
            raise oracles.Failure(f"{what}: something has taken the name of {os.path.basename(path)}")
        os.rename(path + ".away", path)
        case.require_unharmed(what)
        return True
    return act


def lose_journal(case, go_on, what):
    case.forget_journal()
    go_on()
    case.require_unharmed(what)
    return True


def write_to_leaf(case, go_on, what):
    """A guest starts, overwrites a sector, and is gone again. What it reads then is what has to stay."""
    path = case.path(-1)
    if not os.path.exists(path):
        return False
    layer = chain_reader.open_layer(path)
    runs = [run for run in layer.runs(0, layer.size) if run[2] == "data"]
    layer.source.close()
    run = case.rng.choice(runs)
    with open(path, "r+b") as file:
        file.seek(run[3])
        file.write(case.rng.randbytes(SECTOR))
    now = sr_state.SrState(case.directory).fingerprints()
    if now == case.disks:
        raise AssertionError("the write to the leaf cannot be seen")
    case.disks = {vdi: now.get(vdi, before) for vdi, before in case.disks.items()}
    go_on()
    case.require_unharmed(what)
    return True


ACTIONS = [opener(layer, mode) for layer in (0, 1, -1) for mode in (os.O_RDONLY, os.O_RDWR, "r", "rw")]
ACTIONS += [rename_away(0), rename_away(1), lose_journal]


class ChangedCase(crash_case.CrashSr):
    def path(self, layer):
        return os.path.join(self.directory, self.chain.layers[layer].name)

    def might_see(self, program):
        """Who takes no lock and opens an image between the last look at its users and its deletion cannot be seen."""
        if isinstance(program, QemuOpened):
            return True
        sr = self.fresh()  # in the place of this one
        with StoppedProgram(sr.command(*sr.chain.verb), self.changes + 1, "one change later"):
            still_there = os.path.exists(program.path)
        self.fresh()
        return still_there


def case(seed, scratch):
    name, actions, first, stride = CASES[(seed - 1) % len(CASES)]
    rng = random.Random(seed)
    template = os.path.join(scratch, "template", str(uuid.UUID(int=rng.getrandbits(128), version=4)))
    chain = KnownChain.of(SHAPES[name], template, rng)
    disks = sr_state.SrState(template).fingerprints()
    counts = collections.Counter()

    def fresh():
        sr = ChangedCase.copy_of(template, disks, scratch)
        sr.chain, sr.rng, sr.fresh = chain, rng, fresh
        return sr

    changes = first
    while True:
        index = (changes // stride + seed) % len(actions)
        what = f"{name}, action {index}"
        sr = fresh()
        sr.changes = changes
        with StoppedProgram(sr.command(*chain.verb), changes, what) as program:
            if not program.stopped:
                break
            acted = actions[index](sr, lambda: program.go_on().require_status(*ENDS), program.what)
            if not acted:
                program.go_on().require_status(0)
        sr.require_finished(program.what)
        counts["acted" if acted else "nothing there"] += 1
        changes += stride
    if counts["acted"] < 5:
        raise oracles.Failure(f"{name}: only {counts['acted']} actions")
    return counts


# (shape, actions by turns, first change, distance of changes)
CASES = [(name, ACTIONS, 0, 2) for name in ("leaf down vhd", "leaf down qcow2", "inner down qcow2", "inner up vhd", "leaf up qcow2")]
CASES += [(name, [write_to_leaf], first, 2) for name in ("leaf down vhd", "leaf down qcow2") for first in (0, 1)]
CASES += [("leaf up vhd", [write_to_leaf], 0, 4)]


def before():
    oracles.binary()
    if not shutil.which("qemu-io"):
        raise SystemExit("this test needs qemu-io")
    crash_case.require_faulty_build(seeded_runner.scratch_root())


if __name__ == "__main__":
    seeded_runner.main(case, description=__doc__.splitlines()[0], count=len(CASES), before=before)
