#!/usr/bin/env python3
"""Makes VHD images from the layout of the format, because Debian has no tool that makes differencing ones.

    make_vhd.py FILE --size BYTES [--parent FILE] [--hidden] [--seed N] [--write OFFSET:LENGTH]...

What is written is random, but the same for the same seed. Pieces are multiples of 4 KiB, and so are their places.
"""

import argparse
import os
import random
import struct
import uuid

SECTOR = 512
BLOCK = 2 << 20
BITMAP = SECTOR  # one bit for each of the 4096 sectors of a block
UNSET = 0xFFFFFFFF
DYNAMIC, DIFFERENCING = 3, 4
NOWHERE = (1 << 64) - 1


def round_up(value, unit):
    return -(-value // unit) * unit


def checksum(block):
    return ~sum(block) & 0xFFFFFFFF


def geometry(size):
    """Cylinders, heads and sectors as the published rule has them; no reader here depends on it."""
    sectors = min(size // SECTOR, 65535 * 16 * 255)
    if sectors >= 65535 * 16 * 63:
        heads, per_track = 16, 255
        cylinders = sectors // per_track // heads
    else:
        per_track = 17
        tracks = sectors // per_track
        heads = max(4, -(-tracks // 1024))
        if tracks >= heads * 1024 or heads > 16:
            heads, per_track = 16, 31
            tracks = sectors // per_track
        if tracks >= heads * 1024:
            heads, per_track = 16, 63
            tracks = sectors // per_track
        cylinders = tracks // heads
    return cylinders << 16 | heads << 8 | per_track


def uuid_in_footer(path):
    with open(path, "rb") as file:
        return file.read(SECTOR)[68:84]


class Vhd:
    def __init__(self, size, parent=None, hidden=False, seed=0):
        if size % BLOCK:
            raise SystemExit(f"the size must be a multiple of {BLOCK}")
        self.size, self.parent, self.hidden = size, parent, hidden
        self.random = random.Random(seed)
        self.blocks = {}  # number -> (bitmap, data)

    def write(self, offset, length):
        """Random bytes; a multiple of 4 KiB inside the disk."""
        if offset % 4096 or length % 4096 or offset + length > self.size:
            raise SystemExit("pieces must be multiples of 4096 inside the disk")
        while length:
            number, inside = divmod(offset, BLOCK)
            piece = min(length, BLOCK - inside)
            bitmap, data = self.blocks.setdefault(number, (bytearray(BITMAP), bytearray(BLOCK)))
            for sector in range(inside // SECTOR, (inside + piece) // SECTOR):
                bitmap[sector // 8] |= 0x80 >> sector % 8
            data[inside : inside + piece] = self.random.randbytes(piece)
            offset, length = offset + piece, length - piece

    def footer(self):
        footer = bytearray(SECTOR)
        kind = DIFFERENCING if self.parent else DYNAMIC
        struct.pack_into(">8sIIQI4sIIQQII", footer, 0, b"conectix", 2, 0x00010000, SECTOR, 1000, b"tap\0", 0x00010003, 0,
                         self.size, self.size, geometry(self.size), kind)
        footer[68:84] = uuid.UUID(int=self.random.getrandbits(128), version=4).bytes
        footer[85] = self.hidden
        struct.pack_into(">I", footer, 64, checksum(footer))
        return bytes(footer)

    def locators(self):
        """The parent's name as it stands beside the header, in the three spellings that XenServer writes."""
        if not self.parent:
            return []
        name = "./" + os.path.basename(self.parent)
        windows = name.replace("/", "\\").encode("utf-16-le")
        return [(b"MacX", f"file://{name}".encode()), (b"W2ku", windows), (b"W2ru", windows)]

    def header(self, table, places):
        header = bytearray(1024)
        struct.pack_into(">8sQQIII", header, 0, b"cxsparse", NOWHERE, table, 0x00010000, self.size // BLOCK, BLOCK)
        if self.parent:
            header[40:56] = uuid_in_footer(self.parent)
            name = os.path.basename(self.parent).encode("utf-16-be")
            header[64 : 64 + len(name)] = name
        for slot, (code, length, offset) in enumerate(places):
            struct.pack_into(">4sIIIQ", header, 576 + 24 * slot, code, SECTOR, length, 0, offset)
        struct.pack_into(">I", header, 36, checksum(header))
        return bytes(header)

    def batmap(self, offset):
        """Which blocks are full, so that a reader need not look at their bitmaps."""
        room = round_up(-(-self.size // BLOCK // 8), SECTOR)
        bits = bytearray(room)
        for number, (bitmap, _) in self.blocks.items():
            if all(byte == 0xFF for byte in bitmap):
                bits[number // 8] |= 0x80 >> number % 8
        counted = bits[: max(SECTOR, round_up(self.size >> 24, SECTOR))]
        head = bytearray(SECTOR)
        struct.pack_into(">8sQIII", head, 0, b"tdbatmap", offset + SECTOR, room // SECTOR, 0x00010002, checksum(counted))
        return bytes(head + bits)

    def save(self, path):
        footer = self.footer()
        table = SECTOR + 1024
        entries = [UNSET] * (round_up(4 * (self.size // BLOCK), SECTOR) // 4)
        batmap_at = table + 4 * len(entries)
        batmap = self.batmap(batmap_at)
        position = batmap_at + len(batmap)
        with open(path, "xb") as file:
            places = []
            for code, text in self.locators():
                file.seek(position)
                file.write(text.ljust(SECTOR, b"\0"))
                places.append((code, len(text), position))
                position += SECTOR
            for number, (bitmap, data) in sorted(self.blocks.items()):
                position = round_up(position + BITMAP, 4096) - BITMAP  # data begins on a page
                entries[number] = position // SECTOR
                file.seek(position)
                file.write(bitmap + data)
                position += BITMAP + BLOCK
            file.seek(0)
            file.write(footer + self.header(table, places) + struct.pack(f">{len(entries)}I", *entries) + batmap)
            file.seek(position)
            file.write(footer)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument("file")
    parser.add_argument("--size", type=int, required=True)
    parser.add_argument("--parent")
    parser.add_argument("--hidden", action="store_true")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--write", action="append", default=[], metavar="OFFSET:LENGTH")
    arguments = parser.parse_args()
    disk = Vhd(arguments.size, arguments.parent, arguments.hidden, arguments.seed)
    for piece in arguments.write:
        offset, length = map(int, piece.split(":"))
        disk.write(offset, length)
    disk.save(arguments.file)


if __name__ == "__main__":
    main()
