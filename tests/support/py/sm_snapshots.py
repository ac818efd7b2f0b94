"""Snapshots as the storage manager takes them on a thick SR (package 3.2.12-21.x), with real LVs, in the VM."""

import os
import tempfile
import uuid

import qemu_maker
import thick_sizes
import vhd_writer
import volume_group
from byte_source import SECTOR
from thick_sizes import EXTENT, MIB
from vhd_reader import VhdLayer
from volume_sr import BLOCKS_OF_2_TIB, PREFIXES
from volume_state import DRIVERS, VolumeState

JOURNALS = 2 * EXTENT  # that sm counts: one entry for the snapshot, one for an enlargement


class NoSpace(Exception):
    """What sm answers; nothing has changed."""


def second_name(vdi, what):
    return str(uuid.uuid5(uuid.UUID(vdi), what))


def leaf_format(node):
    return "vhd" if node.format == "raw" else node.format


def is_a_snapshot(node):
    """What XAPI would know: of a disk without room for every write it is taken for granted here."""
    return node.lv.size < thick_sizes.full(node.format, node.size)


def takes(node):
    """(bytes of the new leaf, of the snapshot's, and of what the base gives back), none of the disks being attached."""
    kind = leaf_format(node)
    leaf = (thick_sizes.thin if is_a_snapshot(node) else thick_sizes.full)(kind, node.size)
    # To sm, a QCOW2 image uses all of its LV.
    back = max(0, node.lv.size - thick_sizes.round_up(EXTENT, node.end)) if node.format == "vhd" else 0
    return leaf, thick_sizes.thin(kind, node.size), back


def need_of(nodes):
    """The least free space with which all of them succeed, one after the other."""
    need = used = 0
    for node in nodes:
        leaf, snapshot, back = takes(node)
        need = max(need, used + leaf + snapshot + JOURNALS - back)
        used += leaf + snapshot - back
    return need


class SmSnapshots:
    def __init__(self, group):
        self.group = group

    def take(self, vdi):
        """Throws NoSpace."""
        state = VolumeState(self.group)
        node = state.nodes[vdi]
        leaf, snapshot, back = takes(node)
        if leaf + snapshot + JOURNALS - back > state.free * EXTENT:
            raise NoSpace(vdi)
        journal = f"clone_{vdi}_1"
        volume_group.run("lvcreate", "-q", "-an", "-Wn", "-Zn", "-l", "1", "-n", journal, "--addtag", "journaler", self.group.name)
        base = PREFIXES[node.format] + second_name(vdi, "base")
        volume_group.run("lvrename", "-q", self.group.name, node.file, base)
        with self.group.activated([base]):
            if back:
                self._deflate(base, node)
            for name, size in ((vdi, leaf), (second_name(vdi, "snapshot"), snapshot)):
                self._make_child(PREFIXES[leaf_format(node)] + name, size, base, node)
            self._hide(base, node)
        volume_group.run("lvchange", "-q", "-pr", f"{self.group.name}/{base}")
        volume_group.run("lvremove", "-q", "-f", f"{self.group.name}/{journal}")

    def _deflate(self, base, node):
        size = thick_sizes.round_up(EXTENT, node.end)
        with open(self.group.path(base), "r+b") as file:
            file.seek(node.lv.size - SECTOR)
            footer = file.read(SECTOR)
            file.seek(size - SECTOR)
            file.write(footer)
            file.flush()
            os.fsync(file.fileno())
        volume_group.run("lvresize", "-q", "-f", "-l", str(size // EXTENT), f"{self.group.name}/{base}")

    def _make_child(self, name, size, base, node):
        with tempfile.TemporaryDirectory() as directory:
            image = os.path.join(directory, "image")
            if leaf_format(node) == "qcow2":
                qemu_maker.create(image, node.size, parent=self.group.path(base), parent_format=DRIVERS[node.format])
            else:
                self._make_vhd(image, base, node)
            volume_group.run("lvcreate", "-q", "-y", "-Wn", "-Zn", "-l", str(size // EXTENT), "-n", name, self.group.name)
            with open(image, "rb") as source, open(self.group.path(name), "r+b") as target:
                while data := source.read(MIB):
                    target.write(data)
                if leaf_format(node) == "vhd":
                    source.seek(-SECTOR, os.SEEK_END)
                    target.seek(size - SECTOR)
                    target.write(source.read())
        volume_group.run("lvchange", "-q", "-an", f"{self.group.name}/{name}")

    def _make_vhd(self, image, base, node):
        parent_uuid = None
        if node.format == "vhd":
            layer = VhdLayer(self.group.path(base))
            parent_uuid = layer.uuid
            layer.close()
        parent = vhd_writer.Parent(volume_group.mapper_name(self.group.name, base), parent_uuid)
        vhd_writer.VhdWriter(node.size, rng=_Dice(), parent=parent, spare_entries=BLOCKS_OF_2_TIB).save(image)

    def _hide(self, base, node):
        if node.format == "raw":
            volume_group.run("lvchange", "-q", "--addtag", "hidden", f"{self.group.name}/{base}")
        else:
            (vhd_writer if node.format == "vhd" else qemu_maker).set_hidden(self.group.path(base), True)


class _Dice:
    """An empty image has nothing to draw."""

    def getrandbits(self, count):
        return int.from_bytes(os.urandom(count // 8), "big")

    def shuffle(self, _):
        pass
