"""Every state in which the storage manager may leave the merge of a leaf on thick LVM: the disk is as it was, and nothing is left.

    volume_sr_states.py [--first SEED] [--count N] [--seconds N] [--seed SEED]     COPPICE_BINARY names the program

L is the leaf, P its parent, which gets its data and then its name, while L becomes OLD_L; an entry of sm's journal tells of it.
"""

import os
import random
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "support", "py"))
sys.path.insert(0, HERE)
import chain_reader  # noqa: E402
import qemu_maker  # noqa: E402
import slices  # noqa: E402
import thick_sizes  # noqa: E402
import vhd_writer  # noqa: E402
from oracles import Failure  # noqa: E402
from stored_group import DATA_START, StoredGroup, lay_out  # noqa: E402
from thick_sizes import EXTENT, KIB, MIB  # noqa: E402
from volume_group import Volume  # noqa: E402
from volume_sr import PREFIXES, VolumeSrMaker  # noqa: E402
from volume_state import VolumeState  # noqa: E402

# (name, how far it had come, whether the entry stands, whether all can be put in order)
STATES = [
    ("begun", "before the names", True, True),
    ("L is OLD_L", "one name", True, True),
    ("P is L, OLD_L there", "both names", True, True),
    ("P is L", "OLD_L gone", True, True),
    ("P is L, OLD_L there, no entry", "both names", False, True),
    ("neither L nor OLD_L", "leaf gone", True, False),
]
KINDS = ["vhd", "qcow2"]


class Case(slices.OneJob):
    def __init__(self, seed, directory, disk):
        self.seed, self.rng = seed, random.Random(seed)
        self.kind, (self.name, self.progress, self.entry, self.curable) = KINDS[seed % 2], STATES[seed // 2 % len(STATES)]
        place = f"{directory}/{seed}/5e1f0003-0000-4000-8000-{seed:012x}"
        maker = VolumeSrMaker(place, self.rng, snapshots=False)
        maker.chain((self.kind, True, self.rng.randrange(1, 13) * MIB), (self.kind, False))
        self.sr = maker.build()
        self.parent, self.leaf = self.sr.images
        self._arrange()
        for image, volume in zip(self.sr.images, self.sr.volumes):  # a maker may leave holes in an image
            volume.extents = max(volume.extents, thick_sizes.extents(os.path.getsize(self._path(image))))
        used = sum(volume.extents for volume in self.sr.volumes)
        scratch = f"{directory}/{seed}/volumes"
        os.makedirs(scratch)
        self.group = StoredGroup(self.sr.uuid, [disk.slice(DATA_START + (used + 20) * EXTENT)], scratch)
        lay_out(self.sr, self.group)
        self.before = VolumeState(self.group.load())

    def _path(self, image):
        return os.path.join(self.sr.directory, image.name)

    def _arrange(self):
        upper = self.sr.volumes[1]
        for volume in self.sr.volumes:
            volume.extents, volume.writable = thick_sizes.full(self.kind, self.leaf.size) // EXTENT + 1, True
        if self.progress != "before the names" or self.rng.random() < 0.5:
            self._merge()
        hidden = self.rng.random() < 0.5
        vhd = self.kind == "vhd"
        (vhd_writer if vhd else qemu_maker).set_hidden(self._path(self.parent), self.progress == "before the names" and hidden)
        prefix = PREFIXES[self.kind]
        if self.progress in ("one name", "both names"):
            upper.name = f"{prefix}OLD_{self.leaf.uuid}"
        if self.progress in ("both names", "OLD_L gone"):
            self.sr.volumes[0].name = prefix + self.leaf.uuid
        if self.progress == "both names" and (hidden or not self.entry):
            (vhd_writer if vhd else qemu_maker).set_hidden(self._path(self.leaf), True)
        if self.progress in ("OLD_L gone", "leaf gone"):
            self.sr.images, self.sr.volumes = self.sr.images[:1], self.sr.volumes[:1]
        if self.entry:
            content = f"{len(self.parent.uuid)} {self.parent.uuid}".ljust(512).encode()
            self.sr.others.append((Volume(f"leaf_{self.leaf.uuid}_1", 1, ("journaler",)), content))

    def _merge(self):
        """All data of the leaf is in the parent."""
        path = self._path(self.parent)
        layers = [chain_reader.open_layer(self._path(image)) for image in (self.leaf, self.parent)]
        with chain_reader.Chain.of(layers) as chain:
            chain.write_raw(path + ".data")
        os.unlink(path)
        if self.kind == "qcow2":
            cluster = f"cluster_size={self.parent.unit}"
            qemu_maker.run("qemu-img", "convert", "-f", "raw", "-O", "qcow2", "-o", cluster, path + ".data", path)
            return
        disk = vhd_writer.VhdWriter(self.leaf.size, rng=self.rng, uuid=self.parent.vhd_uuid)
        with open(path + ".data", "rb") as file:
            for at in range(0, self.leaf.size, 4 * KIB):
                data = file.read(4 * KIB)
                if data.strip(b"\0"):
                    disk.write(at, data)
        disk.save(path)

    def job(self):
        return {"group": self.group.name, "pvs": [slices.place(pv) for pv in self.group.stretches],
                "verbs": [slices.RUN, slices.RUN]}

    def check_job(self, told):
        if "trouble" in told:
            raise Failure(f"{self.kind}, {self.name}: {told['trouble']}")
        after, (result, again) = VolumeState(self.group.load(), sound=True), told["results"]
        what = f"{self.kind}, {self.name}: {result}; {after.lvs}"
        if not self.curable:
            reasons = {entry["vdi"]: entry["reason"] for entry in result["skipped"]}
            if after.lvs != self.before.lvs or "sm-operation" not in reasons.values():
                raise Failure(f"{what}: was to be left alone; before {self.before.lvs}")
            return {"states": 1, self.kind: 1}
        if after.fingerprints() != self.sr.disks or len(after.nodes) != 1 or after.journals() or again["done"] or again["failed"]:
            raise Failure(f"{what}: {after.fingerprints()}, expected {self.sr.disks}, entries {after.journals()}, then {again}")
        node = after.nodes[self.leaf.uuid]
        if set(after.lvs) != {node.file} or not node.lv.writable or node.lv.size < node.inflated or told["active"]:
            raise Failure(f"{what}: {node}; active {told['active']}")
        return {"states": 1, self.kind: 1}


def main():
    options = slices.parser(__doc__, count=len(STATES) * len(KINDS), seconds=300).parse_args()
    return slices.run_batches([(slices.batch, Case, part, options.seconds) for part in slices.parts(slices.seeds(options), 50)], "states")


if __name__ == "__main__":
    sys.exit(main())
