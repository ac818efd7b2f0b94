"""What the host's own collector does with what it finds half done on a file SR: entries, names, garbage.

Written from the tables of its behaviour (docs/design/merge.md, docs/design/sm.md): `coalesce_` entries are dropped, `relink_` ones
finished, `leaf_` ones undone where the parent or the leaf set aside is still there, else finished; then garbage goes.
"""

import os
import struct
import subprocess

import sr_state
import vhd_writer
from qcow2_reader import Qcow2Layer
from vhd_reader import VhdLayer

HEADER = 1024


def set_hidden(path, hidden):
    if path.endswith(".vhd"):
        vhd_writer.set_hidden(path, hidden)
        return
    layer = Qcow2Layer(path)
    place = layer.hidden_place
    layer.close()
    if place is None:
        raise AssertionError(f"{path} has no place for the flag")
    with open(path, "r+b") as file:
        file.seek(place)
        file.write(b"\1" if hidden else b"\0")


def set_parent(path, child_parent, parent_path):
    """`child_parent` is the UUID named so far. All names are of one length, so VHD locators are rewritten in place."""
    parent = os.path.basename(parent_path)
    if path.endswith(".qcow2"):
        subprocess.run(["qemu-img", "rebase", "-u", "-f", "qcow2", "-F", parent.rsplit(".", 1)[1], "-b", parent, path],
                       check=True, capture_output=True)
        return
    layer = VhdLayer(parent_path)
    identity = layer.uuid
    layer.close()
    new = os.path.splitext(parent)[0]
    with open(path, "r+b") as file:
        footer = file.read(512)
        place, = struct.unpack_from(">Q", footer, 16)
        file.seek(place)
        header = bytearray(file.read(HEADER))
        header[40:56] = identity
        header[64:576] = renamed(bytes(header[64:576]), child_parent, new)
        header[36:40] = bytes(4)
        struct.pack_into(">I", header, 36, vhd_writer.checksum(header))
        for slot in range(8):
            code, _, length, _, offset = struct.unpack_from(">4sIIIQ", header, 576 + 24 * slot)
            if code in (b"MacX", b"W2ku", b"W2ru"):
                file.seek(offset)
                text = file.read(length)
                file.seek(offset)
                file.write(renamed(text, child_parent, new))
        file.seek(place)
        file.write(header)


def renamed(text, old, new):
    for encoding in ("utf-8", "utf-16-le", "utf-16-be"):
        text = text.replace(old.encode(encoding), new.encode(encoding))
    return text


class StockCollector:
    def __init__(self, directory):
        self.directory = directory

    def path(self, name):
        return os.path.join(self.directory, name)

    def entries(self, kind):
        for name in sorted(os.listdir(self.directory)):
            if name.startswith(kind + "_") and os.path.getsize(self.path(name)):
                with open(self.path(name), encoding="ascii") as file:
                    yield name, name[len(kind) + 1 :], file.read().strip()

    def file_of(self, node):
        for extension in ("vhd", "qcow2"):
            if os.path.exists(self.path(f"{node}.{extension}")):
                return f"{node}.{extension}"
        return None

    def recover(self):
        for name, vdi, parent in self.entries("leaf"):
            self.recover_leaf(vdi, parent)
            os.unlink(self.path(name))
        for name, _, _ in self.entries("coalesce"):
            os.unlink(self.path(name))
        for name, vdi, _ in self.entries("relink"):
            self.finish_relink(vdi)
            os.unlink(self.path(name))
        self.collect()

    def recover_leaf(self, vdi, parent):
        """Undone while the parent or the leaf set aside is there: the parent then holds nothing that they lack."""
        if not self.file_of(parent) and not self.file_of("OLD_" + vdi):
            return
        leaf = self.file_of(vdi)
        if not self.file_of(parent):
            os.rename(self.path(leaf), self.path(parent + os.path.splitext(leaf)[1]))
        old = self.file_of("OLD_" + vdi)
        if old:
            os.rename(self.path(old), self.path(old[len("OLD_") :]))
        set_hidden(self.path(self.file_of(vdi)), False)
        set_hidden(self.path(self.file_of(parent)), True)

    def finish_relink(self, vdi):
        state = sr_state.SrState(self.directory)
        merged = state.nodes.get(vdi)
        if not merged:
            return
        for child in state.children(vdi):
            set_parent(self.path(child.file), vdi, self.path(self.file_of(merged.parent)))

    def collect(self):
        while True:
            state = sr_state.SrState(self.directory)
            garbage = [node for node in state.nodes.values() if node.hidden and not state.children(node.uuid)]
            if not garbage:
                return
            for node in garbage:
                os.unlink(self.path(node.file))
