"""What `space --snapshot` says, checked by doing: with the space that it asks for, and with one extent less, snapshots are taken as
the storage manager takes them, and that succeeds exactly where it said so. Where it names merges, these make it possible.

    volume_sr_snapshots.py [--first SEED] [--count N] [--seconds N] [--seed SEED]     COPPICE_BINARY names the program
"""

import collections
import os
import random
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "support", "py"))
sys.path.insert(0, HERE)
import slices  # noqa: E402
import sm_snapshots  # noqa: E402
from oracles import Failure  # noqa: E402
from stored_group import DATA_START, StoredGroup, lay_out  # noqa: E402
from thick_sizes import EXTENT, MIB  # noqa: E402
from volume_sr import VolumeSrMaker  # noqa: E402
from volume_state import VolumeState  # noqa: E402

ENOUGH, SHORT, MERGED = "enough", "an extent short", "merged as told"


class Case:
    """One SR, and some of its disks; in slices that differ in what is free."""

    def __init__(self, seed, directory, disk):
        self.seed, rng = seed, random.Random(seed)
        self.scratch = f"{directory}/{seed}/volumes"
        os.makedirs(self.scratch)
        maker = VolumeSrMaker(f"{directory}/{seed}/5e1f0002-0000-4000-8000-{seed:012x}", rng, most_images=rng.choice([3, 6]),
                              limit=rng.choice([MIB, 8 * MIB, 40 * MIB]), snapshots=False)
        maker.chain((rng.choice(["vhd", "qcow2"]), False, rng.randrange(1, 17) * MIB))
        self.sr = maker.random()
        used = sum(volume.extents for volume in self.sr.volumes)
        group = self._group(disk, used + 10)
        lay_out(self.sr, group)
        state = VolumeState(group.load())
        self.disks = state.fingerprints()
        self.vdis = rng.sample(sorted(self.disks), min(len(self.disks), rng.choice([1, 1, 2, 3])))
        self.need = sm_snapshots.need_of([state.nodes[vdi] for vdi in self.vdis])
        needed = max(0, self.need // EXTENT)
        rooms = {ENOUGH: needed} | ({SHORT: needed - 1, MERGED: needed - 1} if needed else {})
        self.groups = {way: self._group(disk, used + room + rng.randrange(1, 8)) for way, room in rooms.items()}
        for way, group in self.groups.items():
            lay_out(self.sr, group, rooms[way])

    def _group(self, disk, extents):
        return StoredGroup(self.sr.uuid, [disk.slice(DATA_START + extents * EXTENT)], self.scratch)

    def jobs(self, first):
        ask, take = ["space", "--snapshot", *self.vdis], ["take-snapshots", *self.vdis]
        verbs = {ENOUGH: [ask, take], SHORT: [ask, take], MERGED: [ask, ["merge-as-told"], take]}
        self.numbers = {way: first + number for number, way in enumerate(self.groups)}
        return [{"number": self.numbers[way], "group": group.name, "pvs": [slices.place(pv) for pv in group.stretches],
                 "verbs": verbs[way]} for way, group in self.groups.items()]

    def check(self, told):
        counts = collections.Counter({"SRs": 1, "disks": len(self.vdis)})
        for way, group in self.groups.items():
            entry = told[self.numbers[way]]
            if "trouble" in entry:
                raise Failure(f"{way}: {entry['trouble']}")
            counts.update(self._check_way(way, group, entry["results"]))
        return counts

    def _check_way(self, way, group, results):
        answer, taken = results[0]["snapshot"], results[-1].get("taken")
        if answer["need"] != max(0, self.need) or answer["possible"] != (way == ENOUGH):
            raise Failure(f"{way}: {answer}; needed are {self.need}")
        if way == MERGED and not answer["coalesces"]:
            return {"no merges would help": 1}
        refused = results[-1]["refused"]
        if way == SHORT:
            if refused is None or answer["fails_at"] != refused:
                raise Failure(f"{way}: {answer}; sm refused {refused}")
        elif refused is not None:
            raise Failure(f"{way}: {answer}; sm refused {refused}: {results}")
        self._check_disks(VolumeState(group.load(), sound=True), taken, way)
        return {f"{way}, snapshots": len(taken)}

    def _check_disks(self, state, taken, way):
        expected = self.disks | {sm_snapshots.second_name(vdi, "snapshot"): self.disks[vdi] for vdi in taken}
        if state.fingerprints() != expected or state.journals():
            raise Failure(f"{way}: after snapshots {state.fingerprints()}, expected {expected}; entries {state.journals()}")


def main():
    options = slices.parser(__doc__, count=8, seconds=60).parse_args()
    work = [(slices.batch, Case, part, options.seconds) for part in slices.parts(slices.seeds(options), 20)]
    return slices.run_batches(work, "SRs")


if __name__ == "__main__":
    sys.exit(main())
