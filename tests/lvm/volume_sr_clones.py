"""Every state in which the storage manager may leave a snapshot on thick LVM: the disk reads as before, and nothing is left.

    volume_sr_clones.py [--first SEED] [--count N] [--seconds N] [--seed SEED]     COPPICE_BINARY names the program

The disk becomes a base under a new name, and gets one or two empty children: one with its own name, and the snapshot. An entry of
sm's journal tells of all three.
"""

import os
import random
import sys
import uuid

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "support", "py"))
sys.path.insert(0, HERE)
import qemu_maker  # noqa: E402
import slices  # noqa: E402
import thick_sizes  # noqa: E402
import vhd_writer  # noqa: E402
from oracles import Failure  # noqa: E402
from stored_group import DATA_START, StoredGroup, lay_out  # noqa: E402
from thick_sizes import EXTENT, KIB, MIB  # noqa: E402
from volume_group import Volume  # noqa: E402
from volume_sr import BLOCKS_OF_2_TIB, VolumeSrMaker  # noqa: E402
from volume_state import VolumeState  # noqa: E402

# (name, images that are there, what is to become of it)
STATES = [
    ("nothing renamed", ("disk",), "dropped"),
    ("renamed", ("base",), "undone"),
    ("disk made", ("base", "disk"), "undone"),
    ("only the snapshot made", ("base", "copy"), "undone"),
    ("volumes made, no images in them", ("base", "blank disk", "blank copy"), "undone"),
    ("all made", ("base", "disk", "copy"), "finished"),
    ("all made, without a snapshot", ("base", "disk"), "finished"),
    ("disk written to, no snapshot", ("base", "written disk"), "left alone"),
    ("disk made, and another child of the base", ("base", "disk", "other"), "left alone"),
]
KINDS = ["vhd", "qcow2"]


class Case(slices.OneJob):
    def __init__(self, seed, directory, disk):
        self.seed, self.rng = seed, random.Random(seed)
        self.kind, (self.name, self.there, self.fate) = KINDS[seed % 2], STATES[seed // 2 % len(STATES)]
        maker = VolumeSrMaker(f"{directory}/{seed}/5e1f0004-0000-4000-8000-{seed:012x}", self.rng, snapshots=False)
        size = self.rng.randrange(1, 13) * MIB
        base = maker.image(self.kind, size, hidden=True)
        disk_image, copy = maker.image(self.kind, size, base), maker.image(self.kind, size, base)
        self.sr = maker.build()
        self._make_child(disk_image, written="written disk" in self.there)
        self._make_child(copy)
        self.base, self.disk, self.copy = (image.uuid for image in (base, disk_image, copy))
        self.wants_copy = self.name != "all made, without a snapshot"
        self.content = maker._fingerprint(base)
        self._arrange()
        used = sum(volume.extents for volume in self.sr.volumes)
        scratch = f"{directory}/{seed}/volumes"
        os.makedirs(scratch)
        self.group = StoredGroup(self.sr.uuid, [disk.slice(DATA_START + (used + 20) * EXTENT)], scratch)
        lay_out(self.sr, self.group)
        self.before = VolumeState(self.group.load())

    def _make_child(self, image, written=False):
        """As sm makes it, without data of its own."""
        path = os.path.join(self.sr.directory, image.name)
        os.unlink(path)
        if self.kind == "vhd":
            child = vhd_writer.VhdWriter(image.size, rng=self.rng, uuid=image.vhd_uuid, spare_entries=BLOCKS_OF_2_TIB,
                                         parent=vhd_writer.Parent(image.stored_parent, image.parent.vhd_uuid))
            if written:
                child.write(0, self.rng.randbytes(64 * KIB))
            return child.save(path)
        image.unit = 64 * KIB
        qemu_maker.create(path, image.size)
        if written:
            qemu_maker.run("qemu-io", "-f", "qcow2", "-c", "write -P 7 0 64k", path)
        qemu_maker.rebase(path, image.stored_parent, "qcow2")
        return qemu_maker.set_hidden(path, False)

    def _arrange(self):
        """Leaves what is there in this state."""
        images = dict(zip(("base", "disk", "copy"), zip(self.sr.images, self.sr.volumes)))
        sr, full = self.sr, thick_sizes.full(self.kind, self.sr.images[0].size) // EXTENT
        sr.images, sr.volumes = [], []
        for word in self.there:
            name = "base" if self.there == ("disk",) else word.split()[-1]
            image, volume = images["copy" if name == "other" else name]
            volume.writable = True
            if word.startswith("blank"):
                sr.others.append((Volume(volume.name, full), bytes(64 * KIB)))
                continue
            sr.images.append(image)
            sr.volumes.append(volume)
        if self.there == ("disk",):
            sr.volumes[0].name = images["disk"][1].name
        shown = self.there == ("disk",) or self.fate == "undone" and self.rng.random() < 0.5
        path = os.path.join(sr.directory, images["base"][0].name)
        (vhd_writer if self.kind == "vhd" else qemu_maker).set_hidden(path, not shown)
        copy = str(uuid.UUID(int=self.rng.getrandbits(128), version=4)) if "other" in self.there else self.copy
        value = f"{self.base}_{copy if self.wants_copy else ''}"
        sr.others.append((Volume(f"clone_{self.disk}_1", 1, ("journaler",)), f"{len(value)} {value}".ljust(512).encode()))

    def job(self):
        return {"group": self.group.name, "pvs": [slices.place(pv) for pv in self.group.stretches],
                "verbs": [slices.RUN, slices.RUN]}

    def check_job(self, told):
        if "trouble" in told:
            raise Failure(f"{self.kind}, {self.name}: {told['trouble']}")
        after, (result, again) = VolumeState(self.group.load(), sound=True), told["results"]
        what = f"{self.kind}, {self.name}: {result}; {after.lvs}"
        if self.fate == "left alone":
            reasons = {entry["vdi"]: entry["reason"] for entry in result["skipped"]}
            if after.lvs != self.before.lvs or "sm-operation" not in reasons.values():
                raise Failure(f"{what}: was to be left alone; before {self.before.lvs}")
            return {"states": 1, self.kind: 1}
        kept = {self.disk, self.copy} if self.fate == "finished" and self.wants_copy else {self.disk}
        expected = {uuid: self.content for uuid in kept}
        if after.fingerprints() != expected or after.journals() or again["done"] or again["failed"] or result["failed"]:
            raise Failure(f"{what}: {after.fingerprints()}, expected {expected}, entries {after.journals()}, then {again}")
        bases = {self.base} if len(kept) > 1 else set()
        if set(after.nodes) != kept | bases or set(after.lvs) != {node.file for node in after.nodes.values()} or told["active"]:
            raise Failure(f"{what}: {after.nodes}; active {told['active']}")
        for node in after.nodes.values():
            if node.hidden != (node.uuid in bases) or node.lv.writable == node.hidden:
                raise Failure(f"{what}: {node}")
        if self.fate == "undone" and after.nodes[self.disk].lv.size < after.nodes[self.disk].inflated:
            raise Failure(f"{what}: the disk has no room for every write: {after.nodes[self.disk]}")
        return {"states": 1, self.kind: 1}


def main():
    options = slices.parser(__doc__, count=len(STATES) * len(KINDS), seconds=300).parse_args()
    return slices.run_batches([(slices.batch, Case, part, options.seconds) for part in slices.parts(slices.seeds(options), 50)], "states")


if __name__ == "__main__":
    sys.exit(main())
