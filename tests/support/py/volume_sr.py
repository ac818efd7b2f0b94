"""Random SRs on thick LVM: images made as files, then put into LVs of the sizes, names and permissions that the storage manager
gives them. Behind the images stands whatever was on the disks before.

The files are made outside the VM, where programs start ten times faster; VolumeSr is what crosses over to it (pickle).
"""

import os
import random
from dataclasses import dataclass, field

import chain_reader
import sr_maker
import thick_sizes
from byte_source import SECTOR
from thick_sizes import EXTENT, MIB
from volume_group import Volume, VolumeGroup, mapper_name

PREFIXES = {"raw": "LV-", "vhd": "VHD-", "qcow2": "QCOW2-"}
BLOCKS_OF_2_TIB = 1 << 20


def lv_name(image):
    return PREFIXES[image.format] + image.uuid


class VolumeSrMaker(sr_maker.SrMaker):
    """`directory` is for the files; its base name becomes the UUID of the SR."""

    def __init__(self, directory, rng, **limits):
        super().__init__(directory, rng, **limits)
        self.deflated = False  # all hidden images, to what they need
        self.group = VolumeGroup(os.path.basename(directory))

    def raw_size(self, size):
        return thick_sizes.round_up(EXTENT, size)  # a raw disk is as large as its LV

    def image(self, kind, size, parent=None, hidden=False):
        """sm writes paths of two kinds into QCOW2 images, and names of device nodes into VHDs."""
        image = super().image(kind, self.raw_size(size) if kind == "raw" else size, parent, hidden)
        if parent:
            lv = lv_name(parent)
            mapped = mapper_name(self.group.name, lv)
            path = self.group.path(lv) if self.rng.random() < 0.8 else "/dev/mapper/" + mapped
            image.stored_parent = path if kind == "qcow2" else mapped
        return image

    def image_maker(self):
        maker = super().image_maker()
        maker.spare_entries = [BLOCKS_OF_2_TIB, BLOCKS_OF_2_TIB, BLOCKS_OF_2_TIB, 0, 5]  # sm always has room for 2 TiB
        return maker

    def _hide_roots(self):
        """A raw disk has no header: its LV has a tag."""
        parents = {image.parent.name for image in self.images if image.parent}
        for image in self.images:
            if image.format == "raw":
                image.hidden = image.name in parents and self.rng.random() < 0.85

    def build(self):
        """The SR, as yet in files."""
        self._hide_roots()
        super().build()
        volumes = [self._volume(image) for image in self.images]
        disks = {image.uuid: self._fingerprint(image) for image in self.images if not image.hidden}
        return VolumeSr(os.path.basename(self.directory), self.directory, self.images, volumes, disks, self.rng)

    def random(self):
        for _ in range(self.rng.choice([1, 1, 2, 3])):
            self.random_tree()
        return self.build()

    def _volume(self, image):
        """As sm leaves it, now and then with an extent or more than that."""
        rng = self.rng
        needed = thick_sizes.round_up(EXTENT, used(self.directory, image))
        full, thin = (size(image.format, image.size) for size in (thick_sizes.full, thick_sizes.thin))
        draw = rng.random()
        if image.format == "raw":
            size = needed
        elif self.deflated and image.hidden:
            size = needed
        elif draw > 0.9:
            size = needed + rng.randrange(1, 6) * EXTENT
        elif image.hidden:
            # sm never makes the volume of a QCOW2 image smaller.
            size = full if image.format == "qcow2" and draw < 0.45 else needed
        else:
            size = full if draw < 0.65 else thin
        return Volume(lv_name(image), max(size, needed) // EXTENT, writable=not image.hidden,
                      tags=("hidden",) if image.format == "raw" and image.hidden else ())

    def _fingerprint(self, image):
        # The names in the headers are those of LVs already.
        layers = [chain_reader.open_layer(os.path.join(self.directory, layer.name)) for layer in image.chain()]
        with chain_reader.Chain.of(layers) as chain:
            return chain.fingerprint()


def used(directory, image):
    """What an image needs to stand on: a file may end inside the last cluster, a volume may not."""
    length = os.stat(os.path.join(directory, image.name)).st_size
    return thick_sizes.round_up(image.unit, length) if image.format == "qcow2" else length


@dataclass
class VolumeSr:
    uuid: str
    directory: str
    images: list
    volumes: list  # of the images, in their order
    disks: dict  # {uuid: fingerprint} of the visible ones
    rng: random.Random
    others: list = field(default_factory=list)  # LVs that hold no image: (Volume, content)

    def install(self, disks=("/dev/vmdisk0", "/dev/vmdisk1"), leave_free=None):
        """In the VM, in place of the group that was there. `leave_free`: extents that no LV takes."""
        group = VolumeGroup(self.uuid, disks)
        group.create()
        volumes = self.volumes + [volume for volume, _ in self.others]
        group.define(volumes, self.rng, leave_free)
        with group.opened():
            for image, volume in zip(self.images, self.volumes):
                self._fill(group, image, volume)
            for volume, content in self.others:
                group.write(volume, 0, content)
        return group

    def _fill(self, group, image, volume):
        end = volume.extents * EXTENT if image.format == "raw" else used(self.directory, image)
        with open(os.path.join(self.directory, image.name), "rb") as file:
            for offset in range(0, end, MIB):
                length = min(MIB, end - offset)
                group.write(volume, offset, file.read(length).ljust(length, b"\0"))
            if image.format == "vhd":
                file.seek(-SECTOR, os.SEEK_END)
                group.write(volume, volume.extents * EXTENT - SECTOR, file.read())
