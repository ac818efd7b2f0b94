"""A raw image on thick LVM whose growth a collector was interrupted in: its new part becomes zeros before anybody reads it.

    volume_sr_growth.py [--first SEED] [--count N] [--seconds N] [--seed SEED]     COPPICE_BINARY names the program

The disk above is larger than the image was, so that it shows the new part as soon as the volume has it.
"""

import os
import random
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "support", "py"))
sys.path.insert(0, HERE)
import slices  # noqa: E402
from oracles import Failure  # noqa: E402
from stored_group import DATA_START, StoredGroup, lay_out  # noqa: E402
from thick_sizes import EXTENT, MIB  # noqa: E402
from volume_group import Volume  # noqa: E402
from volume_sr import VolumeSrMaker  # noqa: E402
from volume_state import VolumeState  # noqa: E402

KINDS = ["vhd", "qcow2"]
STATES = ["nothing cleared", "half of it cleared", "all of it cleared", "an entry that tells no size"]


class Case(slices.OneJob):
    def __init__(self, seed, directory, disk):
        self.seed, self.rng = seed, random.Random(seed)
        self.kind, self.state = KINDS[seed % 2], STATES[seed // 2 % len(STATES)]
        maker = VolumeSrMaker(f"{directory}/{seed}/5e1f0005-0000-4000-8000-{seed:012x}", self.rng, snapshots=False)
        former, more = (EXTENT * self.rng.randrange(1, 4) for _ in range(2))
        self.raw = maker.image("raw", former, hidden=True)
        self.leaf = maker.image(self.kind, former + more - self.rng.randrange(MIB // 512) * 512, self.raw)
        self.sr = maker.build()
        self.sr.volumes[0].extents += more // EXTENT
        if not self.raw.hidden:  # the maker hides most of them
            self.raw.hidden = True
            self.sr.volumes[0].writable, self.sr.volumes[0].tags = False, ("hidden",)
            del self.sr.disks[self.raw.uuid]
        self._fill_new_part(former, more)
        value = "none" if self.state == STATES[3] else str(former)
        self.sr.others.append((Volume(f"zero_{self.raw.uuid}_{value}", 1, ("journaler",)), b""))
        scratch = f"{directory}/{seed}/volumes"
        os.makedirs(scratch)
        used = sum(volume.extents for volume in self.sr.volumes)
        self.group = StoredGroup(self.sr.uuid, [disk.slice(DATA_START + (used + 40) * EXTENT)], scratch)
        lay_out(self.sr, self.group)
        self.before = VolumeState(self.group.load())

    def _fill_new_part(self, former, more):
        cleared = {"nothing cleared": 0, "half of it cleared": more // 2, "all of it cleared": more}.get(self.state, 0)
        with open(os.path.join(self.sr.directory, self.raw.name), "r+b") as file:
            file.truncate(former + cleared)
            file.seek(former + cleared)
            file.write(self.rng.randbytes(more - cleared))

    def job(self):
        return {"group": self.group.name, "pvs": [slices.place(pv) for pv in self.group.stretches], "verbs": [slices.RUN, slices.RUN]}

    def check_job(self, told):
        if "trouble" in told:
            raise Failure(f"{self.kind}, {self.state}: {told['trouble']}")
        after, (result, again) = VolumeState(self.group.load(), sound=True), told["results"]
        what = f"{self.kind}, {self.state}: {result}; {after.lvs}"
        if self.state == STATES[3]:
            reasons = {entry["vdi"]: entry["reason"] for entry in result["skipped"]}
            if after.lvs != self.before.lvs or reasons.get(self.raw.uuid) != "sm-operation":
                raise Failure(f"{what}: was to be left alone; before {self.before.lvs}")
            return {"growths": 1, self.kind: 1}
        if after.fingerprints() != self.sr.disks or after.journals() or again["done"] or again["failed"] or told["active"]:
            raise Failure(f"{what}: {after.fingerprints()}, expected {self.sr.disks}, entries {after.journals()}, then {again}")
        if set(after.nodes) != {self.leaf.uuid}:
            raise Failure(f"{what}: not merged, {after.nodes}")
        return {"growths": 1, self.kind: 1}


def main():
    options = slices.parser(__doc__, count=len(STATES) * len(KINDS), seconds=300).parse_args()
    return slices.run_batches([(slices.batch, Case, part, options.seconds) for part in slices.parts(slices.seeds(options), 50)], "growths")


if __name__ == "__main__":
    sys.exit(main())
