"""An SR on thick LVM as independent readers see it: looked at when the object is made, and nothing is held afterwards."""

import hashlib
import os
import re
import tempfile
from dataclasses import dataclass

import chain_reader
import oracles
import qemu_maker
import sr_state
import thick_sizes
import volume_group
from byte_source import BadImage, ByteSource, Layer
from qcow2_reader import Qcow2Layer
from vhd_reader import VhdLayer

IMAGE = re.compile(r"^(LV|VHD|QCOW2)-(OLD_)?([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})$")
JOURNALS = ("journaler", "jvhd")


class RawVolume(Layer):
    format, hidden, parent_names, parent_uuid, uuid = "raw", False, (), None, None

    def __init__(self, path):
        self.source = ByteSource(path)
        self.size = self.source.size

    def runs(self, begin, end):
        if begin < min(end, self.size):
            yield (begin, min(end, self.size), "data", begin)


KINDS = {"LV": ("raw", RawVolume), "VHD": ("vhd", VhdLayer), "QCOW2": ("qcow2", Qcow2Layer)}
DRIVERS = {"raw": "raw", "vhd": "vpc", "qcow2": "qcow2"}


@dataclass
class Node:
    uuid: str
    file: str  # the LV
    format: str
    hidden: bool
    size: int  # of the guest's disk
    parent: str | None
    lv: object
    end: int  # of what the image uses
    inflated: int  # the LV in which it can be written to everywhere
    passing: int  # bytes that it may need besides on the way there: compressed clusters go when they are replaced
    traits: frozenset


class VolumeState:
    """`sound`: QEMU checks the QCOW2 images, and reads the disks that it understands; the state is wrong where it disagrees."""

    def __init__(self, group, *, sound=False, leaks_allowed=False):
        self.group = group
        self.lvs = group.lvs()
        self.sequence, self.free, self.extents = group.figures()
        self.active, self.refcounts = group.active(), group.refcounts()
        self.nodes, self.broken, self._prints, self.compared = {}, {}, {}, 0
        with group.activated(self.lvs):
            self._read_nodes()
            for node in self.nodes.values():
                self._read_disk(node)
            self.others = {name: self._content(name) for name, lv in self.lvs.items() if name in self.broken or
                           not IMAGE.match(name) and not lv.tags.intersection(JOURNALS)}
            if sound:
                self._ask_qemu(leaks_allowed)

    def path(self, node):
        return self.group.path(node.file)

    def _read_nodes(self):
        for name, lv in self.lvs.items():
            match = IMAGE.match(name)
            if not match:
                continue
            kind, reader = KINDS[match[1]]
            uuid = (match[2] or "") + match[3]
            if uuid in self.nodes:
                raise oracles.Failure(f"{uuid} exists as {self.nodes[uuid].file} and as {name}")
            try:
                layer = reader(self.group.path(name))
            except (BadImage, OSError) as error:
                self.broken[name] = str(error)
                continue
            hidden = "hidden" in lv.tags if kind == "raw" else layer.hidden
            self.nodes[uuid] = Node(uuid, name, kind, hidden, layer.size, self._parent(layer), lv, thick_sizes.image_end(layer),
                                    thick_sizes.inflated(layer), thick_sizes.compressed(layer), sr_state.traits_of(layer))
            layer.close()

    def _parent(self, layer):
        """UUID of the LV that the stored name means, in any of the forms that the storage manager and its tools write."""
        for name in layer.parent_names:
            name = os.path.basename(name)
            group = volume_group.mapper_name(self.group.name, "")
            match = IMAGE.match(name.removeprefix(group).replace("--", "-") if name.startswith(group) else name)
            if match:
                return (match[2] or "") + match[3]
        if layer.parent_names:
            raise oracles.Failure(f"{layer.source.path}: what parent is {layer.parent_names}?")
        return None

    def _layers(self, node):
        """Newest first. A VHD's parent must be the one that it was made on."""
        layers = []
        try:
            for lower in self.chain(node):
                layers.append(KINDS[lower.file.partition("-")[0]][1](self.path(lower)))
                child = layers[-2] if len(layers) > 1 else None
                if child and child.format == "vhd" and child.parent_uuid != (layers[-1].uuid or bytes(16)):
                    raise BadImage(f"{lower.file} is not what {child.source.path} was made on")
            return layers
        except BadImage:
            for layer in layers:
                layer.close()
            raise

    def _read_disk(self, node):
        if node.hidden and not node.uuid.startswith("OLD_"):
            return
        try:
            with chain_reader.Chain.of(self._layers(node)) as chain:
                self._prints[node.uuid] = chain.fingerprint()
        except (BadImage, KeyError) as error:
            self._prints[node.uuid] = f"unreadable: {error!r}"

    def _content(self, name):
        if name == volume_group.FILLER:
            return ""  # gigabytes of nothing
        with open(self.group.path(name), "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    def _ask_qemu(self, leaks_allowed):
        for node in self.nodes.values():
            if node.format == "qcow2":
                status, report = qemu_maker.check(self.path(node))
                end = report["image-end-offset"]
                if end != node.end:
                    raise oracles.Failure(f"{node.file} ends at {end} by qemu-img, at {node.end} by its counts")
                if status != 0 and not (status == 3 and leaks_allowed):
                    raise oracles.Failure(f"qemu-img check of {node.file}: status {status}, {report}")
        for node in self.visible():
            # It knows neither differencing VHDs nor sector bitmaps.
            if {layer.format for layer in self.chain(node)} <= {"raw", "qcow2"}:
                with tempfile.TemporaryDirectory(prefix="coppice-qemu-", dir="/dev/shm") as place:
                    chain = [(self.path(layer), DRIVERS[layer.format]) for layer in self.chain(node)]
                    qemu_maker.convert(chain, os.path.join(place, "qemu.raw"))
                    if chain_reader.fingerprint(place, "qemu.raw") != self._prints[node.uuid]:
                        raise oracles.Failure(f"qemu-img reads {node.file} differently")
                self.compared += 1

    # As sr_state.SrState

    def children(self, uuid):
        return [node for node in self.nodes.values() if node.parent == uuid]

    def visible(self):
        return [node for node in self.nodes.values() if not node.hidden and not node.uuid.startswith("OLD_")]

    def fingerprint(self, node):
        return self._prints.get(node.uuid, "hidden")

    def fingerprints(self):
        return {node.uuid: self.fingerprint(node) for node in self.visible()}

    def chain(self, node):
        layers = [node]
        while layers[-1].parent:
            layers.append(self.nodes[layers[-1].parent])
        return layers

    def same_as(self, other):
        """Everything that anybody can see of the SR."""
        return (self.lvs, self.sequence, self.active, self.refcounts, self.nodes, self.broken, self._prints, self.others) == (
            other.lvs, other.sequence, other.active, other.refcounts, other.nodes, other.broken, other._prints, other.others)

    def journals(self):
        return sorted(name for name, lv in self.lvs.items() if lv.tags.intersection(JOURNALS))
