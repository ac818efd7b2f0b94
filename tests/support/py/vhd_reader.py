"""VHD (fixed, dynamic, differencing), read from the layout alone, for use as an oracle.

It shares no code with the program under test and prefers being obvious to being fast.
"""

import array
import struct
import sys

from byte_source import SECTOR, BadImage, ByteSource, Layer

UNSET = 0xFFFFFFFF
FIXED, DYNAMIC, DIFFERENCING = 2, 3, 4


def checksum(block, place):
    return ~(sum(block) - sum(block[place : place + 4])) & 0xFFFFFFFF


def footer_is_valid(block):
    if block[:8] not in (b"conectix", b"v_poison"):
        return False
    stored = struct.unpack_from(">I", block, 64)[0]
    if checksum(block, 64) == stored:
        return True
    # tap 0.1 and 1.1 set the hidden byte without renewing the checksum.
    old_tap = block[28:31] == b"tap" and struct.unpack_from(">I", block, 32)[0] in (1, 0x00010001)
    return block[85] != 0 and old_tap and checksum(block[:85] + b"\0" + block[86:], 64) == stored


def find_footer(source):
    if source.size >= SECTOR:
        primary = source.read(source.size - SECTOR, SECTOR)
        if footer_is_valid(primary):
            return primary
    if source.size % SECTOR == SECTOR - 1:
        short = source.read(source.size - SECTOR + 1, SECTOR - 1) + b"\0"
        if footer_is_valid(short):
            return short
    copy = source.read(0, SECTOR)
    if footer_is_valid(copy):
        return copy
    raise BadImage(f"{source.path}: no valid footer")


def decode_locator(code, text):
    if code == b"MacX":
        name = text.decode("utf-8")
        if not name.startswith("file://"):
            raise BadImage("MacX locator without file://")
        return name[len("file://") :]
    name = text.decode("utf-16-le").replace("\\", "/")
    return name[2:] if name[:2] in ("c:", "C:") else name


class VhdLayer(Layer):
    format = "vhd"

    def __init__(self, path):
        self.source = ByteSource(path)
        footer = find_footer(self.source)
        self.size, = struct.unpack_from(">Q", footer, 48)
        self.type, = struct.unpack_from(">I", footer, 60)
        self.uuid = footer[68:84]
        self.hidden = footer[85] != 0
        self.parent_names = ()
        self.parent_uuid = None
        self.parent_is_raw = False
        if self.type == FIXED:
            return
        if self.type not in (DYNAMIC, DIFFERENCING):
            raise BadImage(f"{path}: disk type {self.type}")
        self._read_header(struct.unpack_from(">Q", footer, 16)[0])

    def _read_header(self, offset):
        path = self.source.path
        header = self.source.read_inside(offset, 1024, "dynamic header")
        if header[:8] != b"cxsparse" or checksum(header, 36) != struct.unpack_from(">I", header, 36)[0]:
            raise BadImage(f"{path}: bad dynamic header")
        self.table_offset, = struct.unpack_from(">Q", header, 16)
        self.entries, self.block_size = struct.unpack_from(">II", header, 28)
        if self.block_size < SECTOR or self.block_size & (self.block_size - 1):
            raise BadImage(f"{path}: block size {self.block_size}")
        blocks = -(-self.size // self.block_size)
        if self.entries < blocks:
            raise BadImage(f"{path}: table of {self.entries} entries for {blocks} blocks")
        self.bat = array.array("I", self.source.read_inside(self.table_offset, 4 * blocks, "BAT"))
        if sys.byteorder == "little":
            self.bat.byteswap()
        self.block_sectors = self.block_size // SECTOR
        self.bitmap_bytes = -(-self.block_sectors // 8 // SECTOR) * SECTOR or SECTOR
        if self.type == DIFFERENCING:
            self.parent_uuid = header[40:56]
            self.parent_is_raw = not any(self.parent_uuid)
            self.parent_names = tuple(self._locators(header))
            if not self.parent_names:
                raise BadImage(f"{path}: differencing without a parent locator")

    def _locators(self, header):
        for slot in range(8):
            code, space, length, _, offset = struct.unpack_from(">4sIIIQ", header, 576 + 24 * slot)
            if code in (b"MacX", b"W2ku", b"W2ru"):
                room = space * SECTOR if space < SECTOR else space
                if length > room:
                    raise BadImage(f"{self.source.path}: locator longer than its space")
                yield decode_locator(code, self.source.read_inside(offset, length, "parent locator"))
            elif code not in (b"\0\0\0\0", b"Wi2r", b"Wi2k", b"Mac "):
                raise BadImage(f"{self.source.path}: locator code {code!r}")

    def allocated_blocks(self):
        return sum(1 for entry in self.bat if entry != UNSET) if self.type != FIXED else 0

    def runs(self, begin, end):
        end = min(end, self.size)
        if begin >= end:
            return
        if self.type == FIXED:
            yield (begin, end, "data", begin)
            return
        for block in range(begin // self.block_size, -(-end // self.block_size)):
            entry = self.bat[block]
            if entry == UNSET:
                continue
            bitmap = self.source.read_inside(entry * SECTOR, self.bitmap_bytes, f"bitmap of block {block}")
            data = entry * SECTOR + self.bitmap_bytes
            base = block * self.block_size
            for first, last in set_bits(bitmap, self.block_sectors):
                low = max(begin, base + first * SECTOR)
                high = min(end, base + last * SECTOR)
                if low < high:
                    yield (low, high, "data", data + low - base)


def set_bits(bitmap, count):
    """Half-open runs of set bits among the first `count`, most significant bit first."""
    whole = count // 8
    if bitmap[:whole] == b"\xff" * whole and count % 8 == 0:
        yield (0, count)
        return
    if not any(bitmap):
        return
    text = bin(int.from_bytes(b"\x01" + bitmap, "big"))[3 : 3 + count]
    position = text.find("1")
    while position >= 0:
        stop = text.find("0", position)
        stop = count if stop < 0 else stop
        yield (position, stop)
        position = text.find("1", stop)
