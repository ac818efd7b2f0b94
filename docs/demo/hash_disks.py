#!/usr/bin/env python3
"""Prints the SHA-256 of every visible disk of an SR, as programs that are no part of coppice read it.

    hash_disks.py DIRECTORY

QCOW2 chains and VHDs without a parent are read by qemu-img, differencing VHDs by libvhdi. Nothing is written.
"""

import hashlib
import os
import struct
import subprocess
import sys
import tempfile

import pyvhdi

DIFFERENCING = 4


def hash_file(path):
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while piece := file.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()


def by_qemu(path, driver):
    with tempfile.TemporaryDirectory() as directory:
        raw = os.path.join(directory, "disk.raw")
        # -U: the image may be in use by a virtual machine.
        subprocess.run(["qemu-img", "convert", "-U", "-f", driver, "-O", "raw", path, raw], check=True)
        return hash_file(raw)


class Vhd:
    """The few facts that tell how a VHD is read."""

    def __init__(self, path):
        self.path = path
        with open(path, "rb") as file:
            footer, header = file.read(512), file.read(1024)
        (self.kind,) = struct.unpack_from(">I", footer, 60)
        self.hidden = footer[85] != 0
        self.parent = header[64:576].decode("utf-16-be").rstrip("\0") if self.kind == DIFFERENCING else None
        (checksum,) = struct.unpack_from(">I", header, 36)
        self.sound = footer[:8] == b"conectix" and checksum == ~(sum(header) - sum(header[36:40])) & 0xFFFFFFFF


def by_libvhdi(vhd):
    chain = [vhd]
    while chain[-1].parent:
        chain.append(Vhd(os.path.join(os.path.dirname(vhd.path), chain[-1].parent)))
    files = [pyvhdi.file() for _ in chain]
    for file, layer in zip(files, chain):
        file.open(layer.path)
    for child, parent in zip(files, files[1:]):
        child.set_parent(parent)
    digest, left = hashlib.sha256(), files[0].get_media_size()
    while left:
        piece = files[0].read_buffer(min(left, 1 << 20))
        digest.update(piece)
        left -= len(piece)
    for file in files:
        file.close()
    return digest.hexdigest()


def qcow2_hidden(path):
    with open(path, "rb") as file:
        head = file.read(4096)
    (position,) = struct.unpack_from(">I", head, 100)
    while True:
        kind, length = struct.unpack_from(">II", head, position)
        if kind == 0:
            return False
        if kind == 0x76617465:
            return head[position + 8] != 0
        position += 8 + -(-length // 8) * 8


def main():
    directory = sys.argv[1]
    for name in sorted(os.listdir(directory)):
        path = os.path.join(directory, name)
        uuid, extension = os.path.splitext(name)
        if extension == ".qcow2":
            if not qcow2_hidden(path):
                print(uuid, by_qemu(path, "qcow2"), "qemu-img")
        elif extension == ".vhd":
            vhd = Vhd(path)
            if not vhd.sound:
                print(uuid, hash_file(path), "the-damaged-file-itself")
            elif not vhd.hidden:
                print(uuid, by_libvhdi(vhd) if vhd.parent else by_qemu(path, "vpc"), "libvhdi" if vhd.parent else "qemu-img")


if __name__ == "__main__":
    main()
