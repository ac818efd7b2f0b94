"""A chain, or one hidden node with several leaves, of which every layer maps data in known places."""

import os
import uuid
from dataclasses import dataclass

import qemu_maker
import vhd_writer
from image_maker import DRIVERS, KIB, MIB


@dataclass
class Layer:
    kind: str
    hidden: bool
    pieces: list  # (offset, length)
    parent: int | None = None  # index of an earlier layer
    name: str = ""
    vhd_uuid: bytes | None = None

    @property
    def uuid(self):
        return os.path.splitext(self.name)[0]


class KnownChain:
    """Makes `layers`, each of `size` virtual bytes, in the new directory."""

    def __init__(self, directory, rng, layers, size=4 * MIB):
        os.makedirs(directory)
        self.directory, self.rng, self.layers, self.size = directory, rng, layers, size
        for layer in layers:
            layer.name = f"{uuid.UUID(int=rng.getrandbits(128), version=4)}.{layer.kind}"
        batch = qemu_maker.Batch(directory, rng)
        for layer in layers:
            (self._vhd if layer.kind == "vhd" else self._qcow2)(layer, batch)
        batch.run()
        for layer in layers:
            if layer.kind == "qcow2":
                qemu_maker.set_hidden(self.path(layer), layer.hidden)

    @classmethod
    def of(cls, shape, directory, rng):
        """One of SHAPES."""
        chain = cls(directory, rng, shape[0]())
        chain.verb = shape[1]
        return chain

    def path(self, layer):
        return os.path.join(self.directory, layer.name)

    def parent(self, layer):
        return None if layer.parent is None else self.layers[layer.parent]

    def _vhd(self, layer, _):
        parent = self.parent(layer)
        disk = vhd_writer.VhdWriter(self.size, rng=self.rng, hidden=layer.hidden,
                                    parent=parent and vhd_writer.Parent(parent.name, parent.vhd_uuid))
        layer.vhd_uuid = disk.uuid
        for offset, length in layer.pieces:
            disk.write(offset, self.rng.randbytes(length))
        disk.save(self.path(layer))

    def _qcow2(self, layer, batch):
        parent = self.parent(layer)
        qemu_maker.create(self.path(layer), self.size, parent=parent and parent.name,
                          parent_format=parent and DRIVERS[parent.kind])
        batch.open(self.path(layer))
        for offset, length in layer.pieces:
            batch.write(offset, length)
        batch.close()


FEW, MANY = [(512 * KIB, 64 * KIB)], [(0, 64 * KIB), (KIB * 640, 192 * KIB), (2 * MIB, 128 * KIB), (3 * MIB + 4 * KIB, 100 * KIB)]


def leaf_pair(lower, upper, direction):
    """A hidden root with one visible leaf; the one that is emptied holds more than the other."""
    below, above = (FEW, MANY) if direction == "down" else (MANY, FEW)
    return [Layer(lower, True, below), Layer(upper, False, above, 0)]


def inner_pair(lower, upper, direction):
    """Two hidden images below two leaves."""
    below, above = (FEW, MANY) if direction == "down" else (MANY, FEW)
    return [Layer(lower, True, below), Layer(upper, True, above, 0), *(Layer(upper, False, FEW, 1) for _ in range(2))]


DOWN, UP = (["coalesce", "--leaf", "--direction", direction] for direction in ("down", "up"))
# What a merge may look like: (layers, verb).
SHAPES = {
    "inner down vhd": (lambda: inner_pair("vhd", "vhd", "down"), DOWN),
    "inner up vhd": (lambda: inner_pair("vhd", "vhd", "up"), UP),
    "leaf down vhd": (lambda: leaf_pair("vhd", "vhd", "down"), DOWN),
    "leaf up vhd": (lambda: leaf_pair("vhd", "vhd", "up"), UP),
    "inner down qcow2": (lambda: inner_pair("qcow2", "qcow2", "down"), DOWN),
    "inner up qcow2": (lambda: inner_pair("qcow2", "qcow2", "up"), UP),
    "leaf down qcow2": (lambda: leaf_pair("qcow2", "qcow2", "down"), DOWN),
    "leaf up qcow2": (lambda: leaf_pair("qcow2", "qcow2", "up"), UP),
    "inner up qcow2 over vhd": (lambda: inner_pair("vhd", "qcow2", "up"), UP),
    "leaf down qcow2 over vhd": (lambda: leaf_pair("vhd", "qcow2", "down"), DOWN),
    "leaf up qcow2 over vhd": (lambda: leaf_pair("vhd", "qcow2", "up"), UP),
}
