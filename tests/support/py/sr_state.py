"""An SR directory as the independent reader sees it: the trees, what every disk holds, and what must be true of them."""

import os
import re
from dataclasses import dataclass

import chain_reader
import oracles
import qemu_maker
from byte_source import BadImage

NAME = re.compile(r"^(OLD_)?([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})\.(vhd|qcow2|raw)$")


@dataclass
class Node:
    uuid: str
    file: str
    format: str
    hidden: bool
    size: int
    parent: str | None
    inode: int
    stored: int  # bytes that the file system pays for
    unit: int
    traits: frozenset


def unit_of(layer):
    if layer.format == "qcow2":
        return layer.cluster
    return getattr(layer, "block_size", 0) if layer.format == "vhd" else 0


def traits_of(layer):
    """What forbids merging: internal snapshots."""
    return frozenset(["snapshot"] if getattr(layer, "snapshots", 0) else [])


class SrState:
    def __init__(self, directory):
        self.directory = directory
        self.nodes = {}
        for name in sorted(os.listdir(directory)):
            match = NAME.match(name)
            if not match:
                continue
            path = os.path.join(directory, name)
            layer = chain_reader.open_layer(path)
            parent = self._parent(name, layer)
            layer.close()
            status = os.stat(path)
            uuid = (match[1] or "") + match[2]
            if uuid in self.nodes:
                raise oracles.Failure(f"{uuid} exists as {self.nodes[uuid].file} and as {name}")
            self.nodes[uuid] = Node(uuid, name, layer.format, layer.hidden, layer.size, parent and os.path.splitext(parent)[0],
                                    status.st_ino, status.st_blocks * 512, unit_of(layer), traits_of(layer))

    def _parent(self, name, layer):
        """File name. What is set aside as OLD_ is useless as soon as its parent has got the name of the leaf."""
        if not layer.parent_names:
            return None
        try:
            return os.path.basename(chain_reader.parent_path(self.directory, layer.source.path, layer.parent_names))
        except BadImage:
            leaf = os.path.join(self.directory, os.path.splitext(name)[0].removeprefix("OLD_"))
            if name.startswith("OLD_") and any(os.path.exists(leaf + kind) for kind in chain_reader.LAYERS):
                return None
            raise

    def children(self, uuid):
        return [node for node in self.nodes.values() if node.parent == uuid]

    def visible(self):
        return [node for node in self.nodes.values() if not node.hidden and not node.uuid.startswith("OLD_")]

    def fingerprints(self):
        """{uuid: fingerprint} of every disk that somebody may look at."""
        return {node.uuid: self.fingerprint(node) for node in self.visible()}

    def fingerprint(self, node):
        return chain_reader.fingerprint(self.directory, node.file)

    def path(self, node):
        return os.path.join(self.directory, node.file)

    def chain(self, node):
        """Newest first."""
        layers = [node]
        while layers[-1].parent:
            layers.append(self.nodes[layers[-1].parent])
        return layers

    def mapped(self, node):
        """[(begin, end)] of what this layer alone maps."""
        layer = chain_reader.open_layer(self.path(node))
        try:
            return [(run[0], run[1]) for run in layer.runs(0, layer.size)]
        finally:
            layer.close()


def require_same_disks(before, state, what):
    """`before`: fingerprints() of the state before. A disk set aside as OLD_ counts where its name is free at the moment."""
    for uuid, expected in before.items():
        node = state.nodes.get(uuid) or state.nodes.get("OLD_" + uuid)
        if node is None:
            raise oracles.Failure(f"{what}: the disk {uuid} is gone")
        if state.fingerprint(node) != expected:
            raise oracles.Failure(f"{what}: the disk {uuid} ({node.file}) reads differently")


def require_visible(before, state, what):
    for uuid in before:
        node = state.nodes.get(uuid)
        if node is None or node.hidden:
            raise oracles.Failure(f"{what}: the disk {uuid} is {'hidden' if node else 'gone'}")
    for node in state.visible():
        if node.uuid not in before:
            raise oracles.Failure(f"{what}: {node.file} has become visible")
    for node in state.nodes.values():
        if node.uuid.startswith("OLD_"):
            raise oracles.Failure(f"{what}: {node.file} is left over")


def require_tidy(state, skipped, what):
    """Nothing is left to do but what `skipped` (vdi -> reason) names."""
    for node in state.nodes.values():
        children = state.children(node.uuid)
        if node.hidden and not children and node.uuid not in skipped:
            raise oracles.Failure(f"{what}: hidden and childless, yet still there: {node.file}")
        if node.hidden and len(children) == 1:
            child = children[0]
            if node.uuid not in skipped and child.uuid not in skipped:
                raise oracles.Failure(f"{what}: not merged: {node.file} with its only child {child.file}")


def require_sound(state, what, *, leaks_allowed=False, by_coppice=True, harmless=()):
    """qemu-img finds nothing in any QCOW2 image, and coppice nothing but `harmless` codes in any image."""
    for node in state.nodes.values():
        if node.format == "qcow2":
            status, report = qemu_maker.check(state.path(node))
            if status != 0 and not (status == 3 and leaks_allowed):
                raise oracles.Failure(f"{what}: qemu-img check of {node.file}: status {status}, {report}")
    if not by_coppice or not state.nodes:
        return
    accepted = ("ok", "leaks") if leaks_allowed else ("ok",)
    report = oracles.coppice_json("check", *(state.path(node) for node in state.nodes.values()), ok=(0, 3))
    if len(report["images"]) != len(state.nodes):
        raise oracles.Failure(f"{what}: check names {len(report['images'])} of {len(state.nodes)} images")
    for entry in report["images"]:
        uuid = os.path.splitext(os.path.basename(entry["path"]))[0]
        if entry["verdict"] in accepted or (entry["verdict"] == "unsupported" and state.nodes[uuid].traits):
            continue
        if entry["readable"] and entry["findings"] and all(finding["code"] in harmless for finding in entry["findings"]):
            continue
        raise oracles.Failure(f"{what}: coppice check: {entry}")


def units_touched(ranges, unit):
    touched = set()
    for begin, end in ranges:
        touched.update(range(begin // unit, -(-end // unit)))
    return touched
