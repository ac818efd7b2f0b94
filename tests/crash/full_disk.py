#!/usr/bin/python3
"""Lets the file system of an SR, or that of the journal, run full while a merge goes on, at every change that the merge makes.

    full_disk.py [--seed N] [--count N] [--jobs N]     COPPICE_BINARY names the program

Each kind of step runs on a small ext4 file system until it has made N changes; then all free space is taken away and it goes on.
It must end with a clear error and status 7 where it could not finish, no disk may have changed, and once there is room again the
next run finishes. Other cases are killed after N changes, and the next run meets the full disk from its beginning.
Needs root, loop devices, and a build that knows COPPICE_TEST_STOP_AFTER_CHANGES.
"""

import collections
import os
import random
import shutil
import signal
import sys
import uuid

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "support", "py"))

import crash_case  # noqa: E402
import oracles  # noqa: E402
import seeded_runner  # noqa: E402
import sr_state  # noqa: E402
from image_maker import MIB  # noqa: E402
from known_chain import SHAPES, KnownChain  # noqa: E402
from loop_fs import LoopFs, require_mounts  # noqa: E402
from stopped_program import StoppedProgram, finished_run  # noqa: E402

SPACE = 24 * MIB
NO_SPACE = 7
STRIDE = 6  # a case takes every sixth change; the kinds of cases of one shape begin at different ones


class FullCase(crash_case.CrashSr):
    """An SR of one merge, and a file system that is going to be full: its own, or that of the journal."""

    def prepare(self, shape, fs, journal_fs):
        self.layers, self.verb, self.fs = shape.layers, shape.verb, fs
        self.state_dir = os.path.join(journal_fs.root if journal_fs else self.scratch, "state")
        shutil.rmtree(self.state_dir, ignore_errors=True)
        return self

    def options(self):
        return ["--state-dir", self.state_dir, "--run-dir", os.path.join(self.scratch, "run"), "--xapi", "none"]

    def require_clear_end(self, ended, counts):
        """What ended on a full disk has said what is wrong with what, and has harmed nothing."""
        ended.require_status(0, NO_SPACE)
        if ended.status == NO_SPACE:
            counts["no space"] += 1
            ended.require_error(code="no-space", names=["journal.db", *(layer.uuid for layer in self.layers)])
        self.require_unharmed(f"{ended.what}, status {ended.status}")


def fills_in_the_merge(case, changes, counts, what):
    """False where the program ended before."""
    with StoppedProgram(case.command(*case.verb), changes, what) as program:
        if not program.stopped:
            program.ended.require_status(0)
            return False
        case.fs.fill()
        case.require_clear_end(program.go_on(), counts)
    return True


def fills_before_the_recovery(case, changes, counts, what):
    """The program is killed, and finds the disk full when it starts again."""
    if case.run(*case.verb, changes=changes) != -signal.SIGKILL:
        return False
    case.fs.fill()
    case.require_clear_end(finished_run(case.command("run", "--once"), what), counts)
    return True


def refuses_to_begin(case, what):
    """Nothing is written where nothing can be finished."""
    case.fs.fill()
    before = file_times(case.directory)
    ended = finished_run(case.command(*case.verb), what)
    ended.require_status(NO_SPACE)
    case.require_clear_end(ended, collections.Counter())
    ended.require(file_times(case.directory) == before, "an SR without a change")
    case.fs.make_room()
    case.require_finished(what)


def file_times(directory):
    """Everything that writing would change."""
    return sorted((entry.name, *entry.stat()[:2], entry.stat().st_size, entry.stat().st_mtime_ns, entry.stat().st_ctime_ns)
                  for entry in os.scandir(directory))


CASES = [(name, kind) for name in SHAPES for kind in ("SR, in the merge", "SR, before the recovery")]
CASES += [(name, "journal, in the merge") for name in ("inner down vhd", "leaf down qcow2", "leaf up vhd")]


def case(seed, scratch):
    name, kind = CASES[(seed - 1) % len(CASES)]
    rng = random.Random(seed)
    shape = KnownChain.of(SHAPES[name], os.path.join(scratch, "template", str(uuid.UUID(int=rng.getrandbits(128), version=4))), rng)
    disks = sr_state.SrState(shape.directory).fingerprints()
    counts = collections.Counter()
    act = fills_before_the_recovery if kind.endswith("recovery") else fills_in_the_merge
    with LoopFs(os.path.join(scratch, "fs"), SPACE) as fs:
        journal_fs = fs if kind.startswith("journal") else None

        def fresh():
            place = scratch if journal_fs else fs.root
            return FullCase.copy_of(shape.directory, disks, scratch, place).prepare(shape, fs, journal_fs)

        if not journal_fs:
            refuses_to_begin(fresh(), f"{name}, no space at the beginning")
        changes = seed % STRIDE
        while True:
            what = f"{name}: {kind}, full after {changes} changes"
            sr = fresh()
            if not act(sr, changes, counts, what):
                break
            fs.make_room()
            sr.require_finished(what)
            counts["full"] += 1
            changes += STRIDE
    if not counts["no space"]:
        raise oracles.Failure(f"{name}: {kind}: the space was never missed in {counts['full']} runs")
    return counts


def before():
    oracles.binary()
    require_mounts()
    crash_case.require_faulty_build(seeded_runner.scratch_root())


if __name__ == "__main__":
    seeded_runner.main(case, description=__doc__.splitlines()[0], count=len(CASES), before=before)
