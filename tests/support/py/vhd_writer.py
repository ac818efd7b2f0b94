"""Writes VHD images of all shapes that readers must accept, from the layout alone.

    disk = VhdWriter(size, rng=random.Random(1), block_size=2 << 20, batmap="1.2")
    disk.write(offset, data)
    disk.save(path)

The shape (order and placement of blocks, batmap, creator, stray bytes under clear bits) is a matter of the keyword arguments
or, for save(), of the random generator; the guest's bytes never depend on it.
"""

import os
import struct
import uuid as uuid_module

SECTOR = 512
UNSET = 0xFFFFFFFF
FIXED, DYNAMIC, DIFFERENCING = 2, 3, 4
VHD_EPOCH = 946684800


def checksum(block):
    return ~sum(block) & 0xFFFFFFFF


def round_up(value, unit):
    return -(-value // unit) * unit


def geometry(size):
    sectors = min(size // SECTOR, 65535 * 16 * 255)
    if sectors >= 65535 * 16 * 63:
        return sectors // 255 // 16 << 16 | 16 << 8 | 255
    per_track = 17
    cylinders_times_heads = sectors // per_track
    heads = max(4, -(-cylinders_times_heads // 1024))
    if cylinders_times_heads >= heads * 1024 or heads > 16:
        per_track, heads = 31, 16
        cylinders_times_heads = sectors // per_track
    if cylinders_times_heads >= heads * 1024:
        per_track, heads = 63, 16
        cylinders_times_heads = sectors // per_track
    return cylinders_times_heads // heads << 16 | heads << 8 | per_track


class Parent:
    """What a child records. `uuid` is None for a raw parent; `stored` is the name as written, bare, relative or absolute."""

    def __init__(self, stored, uuid, modified=VHD_EPOCH):
        self.stored, self.uuid, self.modified = stored, uuid, modified

    @property
    def base_name(self):
        return os.path.basename(self.stored)

    def locators(self):
        relative = self.stored if "/" in self.stored else "./" + self.stored
        windows = relative.replace("/", "\\")
        return [(b"MacX", ("file://" + relative).encode()), (b"W2ku", windows.encode("utf-16-le")),
                (b"W2ru", windows.encode("utf-16-le"))]


class VhdWriter:
    def __init__(self, size, *, rng, block_size=2 << 20, kind=DYNAMIC, parent=None, hidden=False, batmap="1.2",
                 foreign=False, spare_entries=0, uuid=None, timestamp=700_000_000):
        assert size % SECTOR == 0
        self.size, self.rng, self.block_size, self.hidden = size, rng, block_size, hidden
        self.kind = DIFFERENCING if parent else kind
        self.parent, self.batmap, self.foreign = parent, batmap, foreign
        self.uuid = uuid or uuid_module.UUID(int=rng.getrandbits(128), version=4).bytes
        self.timestamp = timestamp
        self.entries = -(-size // block_size) + spare_entries
        self.block_sectors = block_size // SECTOR
        self.bitmap_bytes = round_up(-(-self.block_sectors // 8), SECTOR)
        self.blocks = {}  # block number -> ([bits as int], [(offset in block, bytes)])
        self.fixed_writes = []

    def write(self, offset, data):
        """Sector aligned and inside the disk."""
        assert offset % SECTOR == 0 and len(data) % SECTOR == 0 and offset + len(data) <= self.size
        if self.kind == FIXED:
            self.fixed_writes.append((offset, data))
            return
        while data:
            block, inside = divmod(offset, self.block_size)
            part = data[: self.block_size - inside]
            entry = self.blocks.setdefault(block, [0, []])
            first, count = inside // SECTOR, len(part) // SECTOR
            entry[0] |= ((1 << count) - 1) << (self.block_sectors - first - count)
            entry[1].append((inside, part))
            offset, data = offset + len(part), data[len(part) :]

    def allocate(self, block):
        """A block whose bitmap may stay empty."""
        self.blocks.setdefault(block, [0, []])

    def footer(self):
        app, version, system = (b"win ", 0x000A0000, 0x5769326B) if self.foreign else (b"tap\0", self._tap_version(), 0)
        footer = bytearray(SECTOR)
        data_offset = (1 << 64) - 1 if self.kind == FIXED else SECTOR
        struct.pack_into(">8sIIQI4sIIQQII", footer, 0, b"conectix", 2, 0x00010000, data_offset, self.timestamp, app, version,
                         system, self.size, self.size, geometry(self.size), self.kind)
        footer[68:84] = self.uuid
        footer[85] = 1 if self.hidden else 0
        struct.pack_into(">I", footer, 64, checksum(footer))
        return bytes(footer)

    def _tap_version(self):
        return {None: 0x00010001, "1.1": 0x00010002, "1.2": 0x00010003}[self.batmap]

    def _header(self, table_offset, locators):
        header = bytearray(1024)
        struct.pack_into(">8sQQIII", header, 0, b"cxsparse", (1 << 64) - 1, table_offset, 0x00010000, self.entries,
                         self.block_size)
        if self.parent:
            header[40:56] = self.parent.uuid or bytes(16)
            struct.pack_into(">I", header, 56, max(0, self.parent.modified - VHD_EPOCH))
            name = self.parent.base_name.encode("utf-16-be")
            header[64 : 64 + len(name)] = name
        for slot, (code, length, offset, room) in enumerate(locators):
            struct.pack_into(">4sIIIQ", header, 576 + 24 * slot, code, room, length, 0, offset)
        struct.pack_into(">I", header, 36, checksum(header))
        return bytes(header)

    def _bitmap(self, bits):
        padding = self.bitmap_bytes * 8 - self.block_sectors
        return (bits << padding).to_bytes(self.bitmap_bytes, "big")

    def save(self, path, *, stray_bytes=False, align=True, shuffle=True, stale_batmap=False):
        """`stray_bytes`: something non-zero under clear bits. `stale_batmap`: some full blocks are not in the batmap."""
        with open(path, "wb") as file:
            if self.kind == FIXED:
                for offset, data in self.fixed_writes:
                    file.seek(offset)
                    file.write(data)
                file.seek(self.size)
                file.write(self.footer())
                return
            position = 1536
            table_offset, position = position, position + round_up(4 * self.entries, SECTOR)
            batmap_place = position
            if self.batmap and not self.foreign:
                position += SECTOR + round_up(-(-self.entries // 8), SECTOR)
            locators = []
            for code, text in self.parent.locators() if self.parent else ():
                room = round_up(len(text), SECTOR)
                locators.append((code, len(text), position, room))
                file.seek(position)
                file.write(text + bytes(room - len(text)))
                position += room
            position, table = self._save_blocks(file, position, align, shuffle, stray_bytes)
            table += [UNSET] * (round_up(4 * self.entries, SECTOR) // 4 - self.entries)
            file.seek(table_offset)
            file.write(struct.pack(f">{self.entries}I", *table[: self.entries]))
            file.write(bytes(round_up(4 * self.entries, SECTOR) - 4 * self.entries))
            if self.batmap and not self.foreign:
                file.seek(batmap_place)
                file.write(self._batmap(batmap_place + SECTOR, stale_batmap))
            file.seek(0)
            file.write(self.footer() + self._header(table_offset, locators))
            file.seek(position)
            file.write(self.footer())

    def _save_blocks(self, file, position, align, shuffle, stray_bytes):
        table = [UNSET] * self.entries
        order = sorted(self.blocks)
        if shuffle:
            self.rng.shuffle(order)
        for block in order:
            bits, writes = self.blocks[block]
            if align:
                position += -(position + self.bitmap_bytes) % 4096
            table[block] = position // SECTOR
            file.seek(position)
            file.write(self._bitmap(bits))
            data = position + self.bitmap_bytes
            if stray_bytes and bits != (1 << self.block_sectors) - 1:
                file.write(self.rng.randbytes(SECTOR) * self.block_sectors)
            for inside, part in writes:
                file.seek(data + inside)
                file.write(part)
            position = data + self.block_size
        return position, table

    def _batmap(self, offset, stale):
        full = (1 << self.block_sectors) - 1
        room = round_up(-(-self.entries // 8), SECTOR)
        summed = max(SECTOR, round_up(self.size >> 24, SECTOR))
        bits = bytearray(room)
        for block, (have, _) in self.blocks.items():
            if have == full and block // 8 < min(summed, room) and not (stale and self.rng.random() < 0.5):
                bits[block // 8] |= 0x80 >> block % 8
        counted = bits[:summed]
        total = sum(counted) if self.batmap == "1.2" else sum(byte - 256 if byte > 127 else byte for byte in counted)
        header = bytearray(SECTOR)
        struct.pack_into(">8sQIII", header, 0, b"tdbatmap", offset, room // SECTOR,
                         0x00010002 if self.batmap == "1.2" else 0x00010001, ~total & 0xFFFFFFFF)
        return bytes(header + bits)


def set_hidden(path, hidden):
    """Rewrites both footers, as the host's tools do."""
    with open(path, "r+b") as file:
        length = file.seek(0, os.SEEK_END)
        file.seek(length - SECTOR)
        footer = bytearray(file.read(SECTOR))
        footer[85] = 1 if hidden else 0
        footer[64:68] = bytes(4)
        struct.pack_into(">I", footer, 64, checksum(footer))
        file.seek(length - SECTOR)
        file.write(footer)
        if struct.unpack_from(">I", footer, 60)[0] != FIXED:
            file.seek(0)
            file.write(footer)
