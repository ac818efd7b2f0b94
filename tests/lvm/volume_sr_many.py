"""Many random SRs on thick LVM: whole runs with room and with hardly any, and nothing is left to do then.

    volume_sr_many.py [--first SEED] [--count N] [--seconds N] [--seed SEED]     COPPICE_BINARY names the program

The SRs are made, and looked at, outside the VMs, of which there are two at a time.
"""

import os
import random
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "support", "py"))
sys.path.insert(0, HERE)
import slices  # noqa: E402
import volume_sr_looks  # noqa: E402
import volume_sr_settled  # noqa: E402
from oracles import Failure  # noqa: E402
from stored_group import DATA_START, StoredGroup, lay_out  # noqa: E402
from thick_sizes import EXTENT, MIB, round_up  # noqa: E402
from volume_group import Volume  # noqa: E402
from volume_sr import VolumeSrMaker  # noqa: E402
from volume_state import VolumeState  # noqa: E402

BATCH = 50  # SRs in one VM
ASKED = 10  # in each so many SRs, LVM itself says what there is, too
GENEROUS = 10  # one of so many SRs has bases with too many extents
UNFINISHED = "leaf_{}_1"
TIGHT = 0.25  # of the SRs have hardly any free space


def make_generous(maker):
    """A tree of each format whose bases have extents that they do not need: what a merge leaves is to have none of them. And what a
    killed run may leave: a base that is not read-only, and an entry of the journal that has not got its tag yet.
    """
    lone = maker.chain(("qcow2", True, MIB))  # nothing can be merged here
    bases = [maker.chain((kind, True, maker.rng.randrange(1, 9) * MIB), (kind, True)) for kind in ("vhd", "qcow2")]
    for base in [lone, *bases]:
        for _ in range(2):
            maker.image(base.format, base.size, base)
    sr = maker.build()
    for image, volume in zip(sr.images, sr.volumes):
        if image is lone:
            volume.writable = True
        elif image.hidden:
            volume.extents += 3
    sr.others.append((Volume(UNFINISHED.format(lone.uuid), 1), b""))
    return sr


class Case(slices.OneJob):
    """One SR: `job` is what is done inside the VM, everything else outside."""

    def __init__(self, seed, directory, disk):
        self.seed, self.rng = seed, random.Random(seed)
        os.makedirs(f"{directory}/{seed}")
        limit = self.rng.choice([MIB, 8 * MIB, 64 * MIB])
        maker = VolumeSrMaker(f"{directory}/{seed}/{self._uuid()}", self.rng, most_images=self.rng.choice([2, 4, 8]), limit=limit)
        self.generous = seed % GENEROUS == 0
        self.sr = make_generous(maker) if self.generous else volume_sr_looks.with_neighbours(maker.random(), self.rng)
        self.room = self.rng.choice([0, 1, 2, 4, 8, 16]) if self.rng.random() < TIGHT else None
        self.group = StoredGroup(self.sr.uuid, self._stretches(disk), f"{directory}/{seed}/volumes")
        os.makedirs(self.group.scratch)
        lay_out(self.sr, self.group, self.room)
        self.before = VolumeState(self.group.load())
        if self.generous:
            del self.before.others[UNFINISHED.format(self.sr.images[0].uuid)]

    def _uuid(self):
        return f"5e1f0000-0000-4000-8000-{self.seed:012x}"

    def _stretches(self, disk):
        """One PV or two, with room for every merge that there can be."""
        used = sum(volume.extents for volume in [*self.sr.volumes, *(volume for volume, _ in self.sr.others)])
        most = 2 * used + 40
        parts = [most] if self.rng.random() < 0.5 else [used + 10, most]
        return [disk.slice(DATA_START + count * EXTENT) for count in parts]

    def job(self):
        return {"group": self.group.name, "pvs": [slices.place(pv) for pv in self.group.stretches],
                "verbs": [slices.RUN, slices.RUN], "ask_lvm": self.seed % ASKED == 0}

    def check_job(self, told):
        if "trouble" in told:
            raise Failure(told["trouble"])
        after, (result, again) = VolumeState(self.group.load(), sound=True), told["results"]
        excuses = ("no-space",) if self.room is not None else ()
        volume_sr_settled.require_settled(self.before, after, result, "after run", excuses)
        volume_sr_settled.require_merged_volumes(self.before, after, result, "after run")
        if self.generous:
            self._require_exact_bases(after)
        if again["done"] or again["failed"]:
            raise Failure(f"a further run does something: {again}")
        if told["active"] or told["refcounts"]:
            raise Failure(f"left active {told['active']}, counted {told['refcounts']}")
        if "lvs" in told:
            found = {name: [lv.id, lv.size, sorted(lv.tags), lv.writable] for name, lv in after.lvs.items()}
            if found != told["lvs"] or [*self.group.figures()] != told["figures"]:
                raise Failure(f"LVM says {told['lvs']}, {told['figures']}; read were {found}, {self.group.figures()}")
        return {"SRs": 1, "with generous bases": self.generous, "images": len(self.sr.images), "steps": len(result["done"]),
                "read by QEMU": after.compared,
                "waited for space": list(volume_sr_settled.reasons(result).values()).count("no-space")}

    def _require_exact_bases(self, after):
        lone = self.sr.images[0].uuid
        bases = [node for node in after.nodes.values() if node.hidden and node.uuid != lone]
        waiting = self.room is not None and len(bases) > 2
        if not waiting and (len(bases) != 2 or any(node.lv.size != round_up(EXTENT, node.end) for node in bases)):
            raise Failure(f"what is left of two merges should be bases without an extent too many: {bases}")


def main():
    options = slices.parser(__doc__, count=100, seconds=600).parse_args()
    work = [(slices.batch, Case, part, options.seconds) for part in slices.parts(slices.seeds(options), BATCH)]
    return slices.run_batches(work, "SRs")


if __name__ == "__main__":
    sys.exit(main())
