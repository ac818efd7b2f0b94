"""Power cuts on thick LVM: the VM is killed, or the writes of a run are recorded and the disk is made as it is when the power goes
after some of them, with a cache that keeps everything, loses what was not flushed, or loses some of that. The next run recovers.

    volume_sr_cuts.py [--first SEED] [--count N] [--points N] [--kills N] [--seconds N] [--seed SEED]     COPPICE_BINARY names the program
"""

import os
import random
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "support", "py"))
sys.path.insert(0, os.path.join(HERE, "..", "crash"))
sys.path.insert(0, HERE)
import kill_every_change  # noqa: E402
import recorded_writes  # noqa: E402
import slices  # noqa: E402
import volume_sr_settled  # noqa: E402
from oracles import Failure  # noqa: E402
from recorded_writes import Recording  # noqa: E402
from stored_group import DATA_START, StoredGroup, copy_data, lay_out  # noqa: E402
from thick_sizes import EXTENT  # noqa: E402
from volume_sr import VolumeSrMaker  # noqa: E402
from volume_state import VolumeState  # noqa: E402

LOG_SIZE = 1 << 30
LOST_JOURNAL, SECOND_RUN = 0.25, 0.3
WHOLE_TREES = 0.2
BATCH = 4  # SRs in one VM
RECORDING = 600  # seconds, more than that takes
KILLED = 3  # SRs in a VM that is killed
SHAPES = kill_every_change.SHAPES


class ScaledMaker(VolumeSrMaker):
    """Makes the shapes of kill_every_change some times as large, so that there is something to inflate and to deflate."""

    scale = 1

    def chain(self, *layers):
        return super().chain(*((kind, hidden, *(value * self.scale for value in size)) for kind, hidden, *size in layers))


class Case:
    """An SR and one step on it, or a whole run."""

    def __init__(self, seed, directory, disk):
        self.seed, self.rng, self.directory = seed, random.Random(seed), f"{directory}/{seed}"
        os.makedirs(self.directory)
        maker = ScaledMaker(f"{self.directory}/5e1f0001-0000-4000-8000-{seed:012x}", self.rng, most_images=6, snapshots=False)
        maker.scale = self.rng.choice([1, 3, 9])
        if self.rng.random() < WHOLE_TREES:
            self.name, self.verb = "random", slices.RUN
            self.sr = maker.random()
        else:
            self.name, build, self.verb = SHAPES[seed % len(SHAPES)]
            build(maker)
            self.sr = maker.build()
        used = sum(volume.extents for volume in self.sr.volumes)
        self.stretches = [disk.slice(DATA_START + (used + 40) * EXTENT) for _ in range(self.rng.choice([1, 1, 2]))]
        self.state = disk.state()
        group = self.group(self.stretches)
        lay_out(self.sr, group)
        self.before = VolumeState(group.load())

    def group(self, stretches):
        scratch = f"{self.directory}/volumes"
        os.makedirs(scratch, exist_ok=True)
        return StoredGroup(self.sr.uuid, stretches, scratch)

    def job(self, number, stretches, state, **more):
        found = {"number": number, "group": self.before.group.name, "pvs": [slices.place(pv) for pv in stretches], "verbs": [self.verb]}
        return found | ({"state": slices.place(state)} if state else {}) | more

    def require_unharmed(self, stretches, what):
        cut = VolumeState(self.group(stretches).load(), sound=True, leaks_allowed=True)
        volume_sr_settled.require_unharmed(self.before, cut, what)
        return {}

    def require_recovered(self, stretches, told, what):
        if "trouble" in told:
            raise Failure(f"{what}: {told['trouble']}")
        after = VolumeState(self.group(stretches).load(), sound=True)
        what += f"; said was {told['results'][0]['skipped']}"
        volume_sr_settled.require_settled(self.before, after, told["results"][0], what)
        if any(again["done"] or again["failed"] for again in told["results"][1:]):
            raise Failure(f"{what}: a further run does something: {told['results']}")
        if told["active"] or told["refcounts"] or after.journals():
            raise Failure(f"{what}: left active {told['active']}, counted {told['refcounts']}, entries {after.journals()}")


class Point:
    """A moment of a case when the power goes."""

    def __init__(self, number, case, recording, disk, base):
        self.number, self.case, rng = number, case, case.rng
        self.moment, self.mode = rng.choice(recording.moments()), rng.choice(recorded_writes.MODES)
        self.stretches = [_copy(disk, base, pv) for pv in case.stretches]
        state = _copy(disk, base, case.state)
        moved = list(zip([*case.stretches, case.state], [*self.stretches, state]))
        with open(disk.path, "r+b") as file:
            for offset, data in recording.writes(self.moment, self.mode, rng):
                old, new = next(pair for pair in moved if pair[0].offset <= offset < pair[0].offset + pair[0].size)
                os.pwrite(file.fileno(), data, offset - old.offset + new.offset)
        self.lost = rng.random() < LOST_JOURNAL
        self.job = case.job(number, self.stretches, None if self.lost else state, ask_lvm=True)
        self.job["verbs"] = [slices.RUN] * (2 if rng.random() < SECOND_RUN else 1)
        self.what = (f"{case.name}, {' '.join(case.verb)}: power cut after entry {self.moment} of {recording.start}..{recording.end}, "
                     f"{self.mode}{', journal lost' if self.lost else ''}")

    def require_recovered(self, told):
        self.case.require_recovered(self.stretches, told, self.what)
        return {"cuts": 1, self.mode: 1, "journal lost": self.lost, f"in {self.case.name}": 1}


def _copy(disk, base, stretch):
    new = disk.slice(stretch.size)
    with open(base, "rb") as source, open(disk.path, "r+b") as target:
        copy_data(source, stretch.offset, target, new.offset, stretch.size)
    return new


def record(cases, directory, disk):
    """Runs each case once. {seed: Recording} of what it has written; `disk` itself is left as it was."""
    changed, log = f"{directory}/changed", slices.Disk(f"{directory}/log")
    logs = {case.seed: log.slice(LOG_SIZE) for case in cases}
    _copy_file(disk.path, changed)
    jobs = [case.job(case.seed, case.stretches, case.state, log=slices.place(logs[case.seed])) for case in cases]
    told = slices.run(directory, [changed, log.path], jobs, RECORDING)
    os.unlink(changed)
    found = {}
    for case in cases:
        if "trouble" in told[case.seed]:
            raise Failure(f"--seed {case.seed}, {case.name}: {told[case.seed]['trouble']}")
        path, stretch = f"{case.directory}/log", logs[case.seed]
        with open(log.path, "rb") as source, open(path, "wb") as target:
            copy_data(source, stretch.offset, target, 0, stretch.size)
            target.truncate(stretch.size)
        found[case.seed] = Recording(path, case.stretches)
    os.unlink(log.path)
    return found


def _copy_file(path, copy):
    with open(path, "rb") as source, open(copy, "wb") as target:
        target.truncate(os.fstat(source.fileno()).st_size)
        copy_data(source, 0, target, 0, os.fstat(source.fileno()).st_size)


def recorded(seeds, points, seconds):
    """(seed, trouble or None, counts) of each point."""
    found = []
    with slices.scratch_directory() as directory:
        base, disk = slices.Disk(f"{directory}/base"), slices.Disk(f"{directory}/disk")
        cases = [Case(seed, directory, base) for seed in seeds]
        recordings = record(cases, directory, base)
        chosen = [Point(number, case, recordings[case.seed], disk, base.path) for number, case in enumerate(points * cases)]
        for point in chosen:
            slices.attempt(found, point.case.seed, lambda: point.case.require_unharmed(point.stretches, point.what))
        told = slices.run(directory, [disk.path], [point.job for point in chosen], seconds)
        for point in chosen:
            if point.number in told:
                slices.attempt(found, point.case.seed, lambda: point.require_recovered(told[point.number]))
    return found


def killed(seeds, seconds):
    """The VM itself is killed while it works on one SR after the other."""
    found = []
    with slices.scratch_directory() as directory:
        disk = slices.Disk(f"{directory}/disk")
        cases = [Case(seed, directory, disk) for seed in seeds]
        jobs = [case.job(case.seed, case.stretches, case.state, verbs_after_cut=[slices.RUN, slices.RUN]) for case in cases]
        after = round(random.Random(seeds[0]).uniform(0.5, 4 * len(seeds)), 1)
        told = slices.run(directory, [disk.path], jobs, seconds, after)
        for case in cases:
            what = f"{case.name}: the VM was killed after {after} s"
            if case.seed in told:
                slices.attempt(found, case.seed, lambda: case.require_recovered(case.stretches, told[case.seed], what) or {
                    "SRs of a killed VM": 1})
    return found


def main():
    parser = slices.parser(__doc__, count=6, seconds=60)
    parser.add_argument("--points", type=int, default=5, help="for each SR")
    parser.add_argument("--kills", type=int, default=1, help="of VMs")
    options = parser.parse_args()
    seeds = slices.seeds(options)
    print(f"--points {options.points} --kills {options.kills}", flush=True)
    work = [(recorded, part, options.points, options.seconds) for part in slices.parts(seeds, BATCH)]
    work += [(killed, [seeds[0] + KILLED * number + one for one in range(KILLED)], options.seconds) for number in range(options.kills)]
    return slices.run_batches(work, "cuts")


if __name__ == "__main__":
    sys.exit(main())
