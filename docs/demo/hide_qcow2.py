#!/usr/bin/env python3
"""Marks QCOW2 images as hidden, as the storage manager of XCP-ng does: header extension 0x76617465, first byte 1.

    hide_qcow2.py FILE...
"""

import struct
import sys

HIDDEN = 0x76617465
END = 0


def hide(path):
    with open(path, "r+b") as file:
        head = file.read(104)
        magic, version, backing_offset = struct.unpack_from(">4sIQ", head)
        (cluster_bits,) = struct.unpack_from(">I", head, 20)
        if magic != b"QFI\xfb" or version < 3:
            raise SystemExit(f"{path}: not a QCOW2 image of version 3")
        (header_length,) = struct.unpack_from(">I", head, 100)
        (backing_size,) = struct.unpack_from(">I", head, 16)
        file.seek(0)
        cluster = bytearray(file.read(1 << cluster_bits))
        name = bytes(cluster[backing_offset : backing_offset + backing_size])
        position = header_length
        while True:
            kind, length = struct.unpack_from(">II", cluster, position)
            if kind == END:
                break
            position += 8 + -(-length // 8) * 8
        # The new extension, an end mark, and then the name of the parent, which stood here before.
        tail = struct.pack(">IIQ", HIDDEN, 8, 1 << 56) + struct.pack(">II", END, 0)
        if backing_offset:
            struct.pack_into(">Q", cluster, 8, position + len(tail))
        tail += name
        cluster[position : position + len(tail)] = tail
        file.seek(0)
        file.write(cluster)


if __name__ == "__main__":
    for file in sys.argv[1:]:
        hide(file)
