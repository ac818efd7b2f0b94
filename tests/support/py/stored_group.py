"""A volume group on stretches of files: made and read outside the VM, without LVM, so that a VM has only to run what is tested.

Format: LVM 2.03.16, lib/format_text/layout.h and lib/label/label.h. One metadata area on each PV; of the copies the newest counts.
"""

import contextlib
import os
import re
import struct
import zlib
from dataclasses import dataclass

import volume_group
from thick_sizes import EXTENT, MIB
from volume_group import Lv, VolumeGroup

SECTOR = 512
AREA, AREA_SIZE, DATA_START = 4096, 2 * MIB - 4096, 2 * MIB
MAGIC = b" LVM2 x[5A%r0N*>"
CRC_START = 0xF597A6CF
TOKEN = re.compile(r'#[^\n]*|"((?:[^"\\]|\\.)*)"|([\[\]{}=,])|([^\s\[\]{}=,"#]+)')


class BrokenGroup(Exception):
    pass


def crc(data):
    return zlib.crc32(data, CRC_START ^ 0xFFFFFFFF) ^ 0xFFFFFFFF


def parsed(text):
    """LVM's configuration syntax as dictionaries, lists, texts and numbers."""
    tokens = iter([(match[1], match[2] or match[3]) for match in TOKEN.finditer(text) if match[1] is not None or match[2] or match[3]])

    def value(token):
        string, word = token
        if word == "[":
            items = []
            while (token := next(tokens))[1] != "]":
                if token[1] != ",":
                    items.append(value(token))
            return items
        return string if string is not None else int(word) if re.fullmatch(r"-?\d+", word) else word

    def section():
        found = {}
        for _, name in tokens:
            if name == "}":
                return found
            found[name] = section() if next(tokens)[1] == "{" else value(next(tokens))
        return found
    return section()


@dataclass
class Stretch:
    """Of a file, where one PV stands."""
    path: str
    offset: int
    size: int

    def extents(self):
        return (self.size - DATA_START) // EXTENT


class StoredGroup(VolumeGroup):
    """`scratch`: where volumes are put to be looked at, as files with holes."""

    def __init__(self, sr, stretches, scratch):
        super().__init__(sr, [stretch.path for stretch in stretches])
        self.stretches, self.scratch = stretches, scratch
        self.starts = [stretch.offset + DATA_START for stretch in stretches]
        self.capacity = [stretch.extents() for stretch in stretches]

    # Making it

    def define(self, volumes, rng, leave_free=None):
        volumes = self.placed(volumes, rng, leave_free)
        ids = [volume_group.random_id(rng) for _ in self.stretches]
        described = "".join(volume_group.described(volume, rng) for volume in volumes)
        pvs = "".join(f'pv{number} {{\nid = "{pv}"\ndevice = "/dev/unknown"\nstatus = ["ALLOCATABLE"]\nflags = []\n'
                      f"dev_size = {stretch.size // SECTOR}\npe_start = {DATA_START // SECTOR}\npe_count = {stretch.extents()}\n}}\n"
                      for number, (pv, stretch) in enumerate(zip(ids, self.stretches)))
        logical = f"logical_volumes {{\n{described}}}\n" if volumes else ""
        text = (f'{self.name} {{\nid = "{volume_group.random_id(rng)}"\nseqno = 1\nformat = "lvm2"\n'
                f'status = ["RESIZEABLE", "READ", "WRITE"]\nflags = []\nextent_size = {EXTENT // SECTOR}\nmax_lv = 0\nmax_pv = 0\n'
                f"metadata_copies = 0\nphysical_volumes {{\n{pvs}}}\n{logical}}}\n"
                'contents = "Text Format Volume Group"\nversion = 1\ndescription = ""\ncreation_host = "host"\ncreation_time = 1\n')
        for pv, stretch in zip(ids, self.stretches):
            with open(stretch.path, "r+b") as file:
                for extent in range(stretch.extents()):  # what was there before
                    os.pwrite(file.fileno(), rng.randbytes(SECTOR), stretch.offset + DATA_START + extent * EXTENT + rng.randrange(
                        EXTENT // SECTOR) * SECTOR)
                _write_pv(file, stretch, pv.replace("-", ""), text.encode() + b"\0")

    @contextlib.contextmanager
    def opened(self):
        self.files = [os.open(stretch.path, os.O_RDWR | os.O_CLOEXEC) for stretch in self.stretches]
        try:
            yield self
        finally:
            for file in self.files:
                os.close(file)

    # Looking at it

    def load(self):
        """The present content of the PVs; of the copies of the metadata the newest, as LVM does. Throws BrokenGroup."""
        copies = [parsed(_read_text(stretch).rstrip("\0"))[self.name] for stretch in self.stretches]
        self.metadata = max(copies, key=lambda copy: copy["seqno"])
        for name in os.listdir(self.scratch):
            os.unlink(os.path.join(self.scratch, name))
        return self

    def _rows(self):
        return self.metadata.get("logical_volumes", {})

    def lvs(self):
        return {name: Lv(name, row["id"], EXTENT * sum(length for _, _, length in self.pieces(row)), frozenset(row.get("tags", [])),
                         "WRITE" in row["status"], False) for name, row in self._rows().items()}

    def pieces(self, row):
        """(PV, its first extent, number of extents), in order."""
        found = [row[f"segment{number}"] for number in range(1, row["segment_count"] + 1)]
        if any(segment["type"] != "striped" or segment["stripe_count"] != 1 for segment in found):
            raise BrokenGroup(f"{self.name}: not linear: {row}")
        names = sorted(self.metadata["physical_volumes"])
        return [(names.index(segment["stripes"][0]), segment["stripes"][1], segment["extent_count"]) for segment in found]

    def figures(self):
        """And no extent belongs to two volumes, or lies behind its PV."""
        used = [(pv, first + number) for row in self._rows().values() for pv, first, length in self.pieces(row) for number in range(length)]
        if len(set(used)) != len(used) or any(extent >= self.capacity[pv] for pv, extent in used):
            raise BrokenGroup(f"{self.name}: extents are used twice, or are none: {self._rows()}")
        return self.metadata["seqno"], sum(self.capacity) - len(used), sum(self.capacity)

    def active(self):
        return set()  # on the host; what the VM has left active it tells itself

    def refcounts(self):
        return {}

    @contextlib.contextmanager
    def activated(self, names):
        yield

    def path(self, lv):
        path = os.path.join(self.scratch, lv)
        if not os.path.exists(path):
            self._pull(lv, path)
        return path

    def _pull(self, lv, path):
        at = 0
        with open(path, "wb") as target:
            for pv, first, length in self.pieces(self._rows()[lv]):
                with open(self.stretches[pv].path, "rb") as source:
                    copy_data(source, self.starts[pv] + first * EXTENT, target, at, length * EXTENT)
                at += length * EXTENT
            target.truncate(at)


def lay_out(sr, group, leave_free=None):
    """What VolumeSr.install does in a VM. Returns the group."""
    group.define(sr.volumes + [volume for volume, _ in sr.others], sr.rng, leave_free)
    with group.opened():
        for image, volume in zip(sr.images, sr.volumes):
            sr._fill(group, image, volume)
        for volume, content in sr.others:
            group.write(volume, 0, content)
    return group


def copy_data(source, begin, target, at, length):
    """What is no hole."""
    place, end = begin, begin + length
    while place < end:
        try:
            place = os.lseek(source.fileno(), place, os.SEEK_DATA)
        except OSError:
            return  # nothing but a hole up to the end of the file
        stop = min(os.lseek(source.fileno(), place, os.SEEK_HOLE), end) if place < end else end
        while place < stop:
            data = os.pread(source.fileno(), min(stop - place, MIB), place)
            os.pwrite(target.fileno(), data, at + place - begin)
            place += len(data)


def _write_pv(file, stretch, pv, text):
    header = MAGIC + struct.pack("<IQQ", 1, AREA, AREA_SIZE)
    header += struct.pack("<QQII", SECTOR, len(text), crc(text), 0)
    header = header.ljust(SECTOR - 4, b"\0")
    places = struct.pack("<QQQQQQQQII", DATA_START, 0, 0, 0, AREA, AREA_SIZE, 0, 0, 2, 1)
    label = struct.pack("<I8s", 32, b"LVM2 001") + pv.encode() + struct.pack("<Q", stretch.size) + places
    label = label.ljust(SECTOR - 20, b"\0")
    os.pwrite(file.fileno(), b"LABELONE" + struct.pack("<QI", 1, crc(label)) + label, stretch.offset + SECTOR)
    os.pwrite(file.fileno(), struct.pack("<I", crc(header)) + header, stretch.offset + AREA)
    os.pwrite(file.fileno(), text, stretch.offset + AREA + SECTOR)


def _read_text(stretch):
    with open(stretch.path, "rb") as file:
        header = os.pread(file.fileno(), SECTOR, stretch.offset + AREA)
        if header[4:20] != MAGIC or struct.unpack("<I", header[:4])[0] != crc(header[4:]):
            raise BrokenGroup(f"{stretch}: no header of metadata")
        place, size, expected, _ = struct.unpack_from("<QQII", header, 40)
        area = os.pread(file.fileno(), AREA_SIZE, stretch.offset + AREA)
    text = area[place : place + size]
    text += area[SECTOR : SECTOR + size - len(text)]
    if crc(text) != expected:
        raise BrokenGroup(f"{stretch}: metadata with a wrong checksum")
    return text.decode()
