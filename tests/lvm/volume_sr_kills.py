"""Runs that are killed at some change, again and again: every disk stays the same, and the last run leaves nothing behind."""

import os
import shutil
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "crash"))

import kill_every_change  # noqa: E402
import volume_sr_drain  # noqa: E402
import volume_sr_program  # noqa: E402
from volume_sr import VolumeSrMaker  # noqa: E402
from volume_sr_settled import require_last, require_settled, require_unharmed  # noqa: E402
from volume_state import VolumeState  # noqa: E402

MOST_KILLS = 5
MOST_CHANGES = 60
MOST_CHANGES_OF_SLICES = 120


def make(directory, rng):
    """One kind of step, or a whole random tree."""
    maker = VolumeSrMaker(directory, rng, most_images=6, snapshots=False)
    if rng.random() < 0.3:
        return maker.random()
    rng.choice(kill_every_change.SHAPES)[1](maker)
    return maker.build()


def run(sr):
    return run_killed(sr, sr.install(), MOST_CHANGES)


def run_full(sr):
    """In the middle of slices: a merge that fits only piece by piece goes on where it was."""
    return run_killed(sr, sr.install(leave_free=volume_sr_drain.MINIMUM), MOST_CHANGES_OF_SLICES)


def run_killed(sr, group, most_changes):
    before = VolumeState(group)
    program = volume_sr_program.Program(group)
    kills = []
    while len(kills) < MOST_KILLS:
        changes = sr.rng.randrange(most_changes)
        if not program.killed_run(changes):
            break
        kills.append(changes)
        require_unharmed(before, VolumeState(group, sound=True, leaks_allowed=True), f"killed after {kills} changes")
        if sr.rng.random() < 0.2:
            shutil.rmtree(f"{volume_sr_program.PLACE}/state")
    what = f"recovered, killed after {kills} changes"
    result = program.run()
    require_settled(before, VolumeState(group, sound=True), result, what)
    require_last(program, what)
    return {"kills": len(kills)}
