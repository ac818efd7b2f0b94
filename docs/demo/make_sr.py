#!/usr/bin/env python3
"""Fills an empty directory with the snapshot trees of a small storage repository.

    make_sr.py DIRECTORY

Four trees are left behind by snapshots that were deleted long ago, one of them in QCOW2 and in use (whoever calls this opens
its leaf), and one image is damaged. Everything is the same each time.
"""

import os
import random
import subprocess
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from hide_qcow2 import hide  # noqa: E402
from make_vhd import Vhd  # noqa: E402

MIB = 1 << 20
SIZE = 64 * MIB


def name(tree, node, extension):
    """The first eight characters tell the tree and the place in it."""
    return f"{tree * 8}-{node:04d}-4000-8000-000000000000.{extension}"


def vhd(tree, node, parent=None, hidden=False, writes=()):
    path = name(tree, node, "vhd")
    disk = Vhd(SIZE, name(tree, parent, "vhd") if parent else None, hidden, seed=f"{tree}{node}")
    for offset, length in writes:
        disk.write(offset, length)
    disk.save(path)
    return path


def qcow2(tree, node, parent=None, hidden=False, writes=()):
    path = name(tree, node, "qcow2")
    create = ["qemu-img", "create", "-q", "-f", "qcow2"]
    if parent:
        create += ["-F", "qcow2", "-b", name(tree, parent, "qcow2")]
    subprocess.run([*create, path, str(SIZE)], check=True)
    pattern = random.Random(f"{tree}{node}")
    commands = []
    for offset, length in writes:
        for piece in range(offset, offset + length, 64 << 10):
            commands += ["-c", f"write -q -P {pattern.randrange(1, 256)} {piece} {min(64 << 10, offset + length - piece)}"]
    if commands:
        subprocess.run(["qemu-io", "-f", "qcow2", *commands, path], check=True, stdout=subprocess.DEVNULL)
    if hidden:
        hide(path)
    return path


def damage(path):
    """One wrong bit in the header, which its checksum tells."""
    with open(path, "r+b") as file:
        file.seek(512 + 100)
        byte = file.read(1)[0]
        file.seek(512 + 100)
        file.write(bytes([byte ^ 0x10]))


def main():
    if len(sys.argv) != 2:
        raise SystemExit(__doc__)
    os.makedirs(sys.argv[1], exist_ok=True)
    os.chdir(sys.argv[1])

    # a: three deleted snapshots in a row; one disk is left, which can be freed of all of them.
    vhd("a", 1, hidden=True, writes=[(0, 12 * MIB), (20 * MIB, 4 * MIB)])
    vhd("a", 2, parent=1, hidden=True, writes=[(2 * MIB, MIB), (30 * MIB, 2 * MIB)])
    vhd("a", 3, parent=2, hidden=True, writes=[(5 * MIB + 4096, 8192), (40 * MIB, 4096)])
    vhd("a", 4, parent=3, writes=[(6 * MIB, 3 * MIB), (62 * MIB, 2 * MIB)])

    # b: a snapshot that somebody still wants, and a deleted one between it and the running disk.
    vhd("b", 1, hidden=True, writes=[(0, 8 * MIB)])
    vhd("b", 2, parent=1, writes=[(MIB, 8192)])
    vhd("b", 3, parent=1, hidden=True, writes=[(4 * MIB, 2 * MIB), (10 * MIB, 64 << 10)])
    vhd("b", 4, parent=3, writes=[(4 * MIB, MIB), (33 * MIB, 4096)])

    # c: QCOW2 with a deleted snapshot, and one image that nobody needs at all.
    qcow2("c", 1, hidden=True, writes=[(0, 6 * MIB)])
    qcow2("c", 2, parent=1, hidden=True, writes=[(3 * MIB, 2 * MIB), (20 * MIB, MIB)])
    qcow2("c", 3, parent=2, writes=[(4 * MIB, 512 << 10), (50 * MIB, 128 << 10)])
    qcow2("c", 4, parent=1, hidden=True, writes=[(40 * MIB, 2 * MIB)])

    # d: like a, in QCOW2.
    qcow2("d", 1, hidden=True, writes=[(0, 4 * MIB)])
    qcow2("d", 2, parent=1, hidden=True, writes=[(2 * MIB, MIB)])
    qcow2("d", 3, parent=2, writes=[(8 * MIB, MIB)])

    # e: what depends on a damaged image must stay as it is.
    vhd("e", 1, hidden=True, writes=[(0, 2 * MIB)])
    damage(vhd("e", 2, parent=1, writes=[(0, 64 << 10)]))


if __name__ == "__main__":
    main()
