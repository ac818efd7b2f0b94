"""QCOW2 version 2 and 3, active state, read from the layout alone, for use as an oracle.

Knows every cluster size, extended L2 entries, zero flags, compressed clusters (deflate; zstd through libzstd) and data files
beside the image.
"""

import array
import ctypes
import ctypes.util
import os
import struct
import sys
import zlib

from byte_source import SECTOR, BadImage, ByteSource, Layer

OFFSET_MASK = 0x00FFFFFFFFFFFE00
COMPRESSED = 1 << 62
HIDDEN_EXTENSION = 0x76617465
BACKING_FORMAT_EXTENSION = 0xE2792ACA
DATA_FILE_EXTENSION = 0x44415441
INCOMPATIBLE_DIRTY, INCOMPATIBLE_CORRUPT, INCOMPATIBLE_DATA_FILE, INCOMPATIBLE_COMPRESSION, INCOMPATIBLE_EXTENDED_L2 = 1, 2, 4, 8, 16
COPIED = 1 << 63


def inflate_deflate(stream, size):
    engine = zlib.decompressobj(-12)
    try:
        data = engine.decompress(stream, size)
    except zlib.error as error:
        raise BadImage(f"deflate: {error}") from error
    if len(data) != size:
        raise BadImage("deflate: short stream")
    return data


class _ZstdBuffer(ctypes.Structure):
    _fields_ = [("data", ctypes.c_void_p), ("size", ctypes.c_size_t), ("position", ctypes.c_size_t)]


_zstd = None


def zstd_library():
    global _zstd
    if _zstd is None:
        _zstd = ctypes.CDLL(ctypes.util.find_library("zstd") or "libzstd.so.1")
        _zstd.ZSTD_createDStream.restype = ctypes.c_void_p
        _zstd.ZSTD_freeDStream.argtypes = [ctypes.c_void_p]
        _zstd.ZSTD_decompressStream.restype = ctypes.c_size_t
        _zstd.ZSTD_decompressStream.argtypes = [ctypes.c_void_p] + [ctypes.POINTER(_ZstdBuffer)] * 2
        _zstd.ZSTD_isError.argtypes = [ctypes.c_size_t]
    return _zstd


def inflate_zstd(stream, size):
    """One or more frames, until `size` bytes have come out."""
    library = zstd_library()
    output = ctypes.create_string_buffer(size)
    source = ctypes.create_string_buffer(stream, len(stream))
    into = _ZstdBuffer(ctypes.cast(output, ctypes.c_void_p), size, 0)
    from_ = _ZstdBuffer(ctypes.cast(source, ctypes.c_void_p), len(stream), 0)
    decoder = library.ZSTD_createDStream()
    try:
        while into.position < size:
            before = (into.position, from_.position)
            result = library.ZSTD_decompressStream(decoder, ctypes.byref(into), ctypes.byref(from_))
            if library.ZSTD_isError(result):
                raise BadImage("zstd: bad stream")
            if before == (into.position, from_.position):
                raise BadImage("zstd: short stream")
    finally:
        library.ZSTD_freeDStream(decoder)
    return output.raw


class Qcow2Layer(Layer):
    format = "qcow2"
    parent_uuid = None
    uuid = None

    def __init__(self, path):
        self.source = ByteSource(path)
        head = self.source.read(0, 112)
        magic, self.version, name_offset, name_size, self.cluster_bits, size, crypt = struct.unpack_from(">4sIQIIQI", head)
        if magic != b"QFI\xfb" or self.version not in (2, 3) or not 9 <= self.cluster_bits <= 21:
            raise BadImage(f"{path}: not a QCOW2 this reader knows")
        if crypt:
            raise BadImage(f"{path}: encrypted")
        self.cluster = 1 << self.cluster_bits
        self.size = size // SECTOR * SECTOR
        self.l1_size, self.l1_offset = struct.unpack_from(">IQ", head, 36)
        self.snapshots, = struct.unpack_from(">I", head, 60)
        self.incompatible, header_length, self.compression = 0, 72, 0
        if self.version == 3:
            self.incompatible, = struct.unpack_from(">Q", head, 72)
            header_length, = struct.unpack_from(">I", head, 100)
            self.compression = head[104] if header_length > 104 else 0
        if self.incompatible & ~0x1F or header_length > self.cluster:
            raise BadImage(f"{path}: incompatible features {self.incompatible:#x}")
        if bool(self.incompatible & INCOMPATIBLE_COMPRESSION) != (self.compression != 0) or self.compression > 1:
            raise BadImage(f"{path}: compression type {self.compression}")
        self.extended = bool(self.incompatible & INCOMPATIBLE_EXTENDED_L2)
        self.entry_words = 2 if self.extended else 1
        self.l2_entries = self.cluster // (8 * self.entry_words)
        self._read_extensions(header_length, name_offset, name_size)
        self._read_l1()
        self._tables = {}
        if self.incompatible & INCOMPATIBLE_DATA_FILE:
            if not self.data_file or "/" in self.data_file:
                raise BadImage(f"{path}: data file {self.data_file}")
            self.elsewhere = ByteSource(os.path.join(os.path.dirname(path), self.data_file))

    def _read_extensions(self, position, name_offset, name_size):
        self.hidden, self.parent_format, self.hidden_place, self.data_file = False, None, None, None
        first = self.source.read(0, self.cluster)
        end = name_offset if name_offset else self.cluster
        while position + 8 <= end:
            kind, length = struct.unpack_from(">II", first, position)
            if kind == 0:
                break
            if position + 8 + length > end:
                raise BadImage(f"{self.source.path}: extension leaves its area")
            data = first[position + 8 : position + 8 + length]
            if kind == HIDDEN_EXTENSION:
                self.hidden = length > 0 and data[0] != 0
                self.hidden_place = position + 8
            elif kind == BACKING_FORMAT_EXTENSION:
                self.parent_format = data.decode("ascii", "replace")
            elif kind == DATA_FILE_EXTENSION:
                self.data_file = data.decode("utf-8", "surrogateescape")
            position += 8 + (length + 7) // 8 * 8
        self.parent_names = ()
        if name_offset and name_size:
            if name_size > 1023 or name_offset + name_size > self.cluster:
                raise BadImage(f"{self.source.path}: backing name out of place")
            self.parent_names = (first[name_offset : name_offset + name_size].decode("utf-8", "surrogateescape"),)

    def _read_l1(self):
        needed = -(-self.size // (self.l2_entries * self.cluster))
        if self.l1_size < needed or self.l1_size > 4194304:
            raise BadImage(f"{self.source.path}: L1 of {self.l1_size} entries, {needed} needed")
        if needed and (not self.l1_offset or self.l1_offset % self.cluster):
            raise BadImage(f"{self.source.path}: L1 at {self.l1_offset}")
        self.l1 = big_endian_words(self.source.read_inside(self.l1_offset, 8 * needed, "L1") if needed else b"")

    def _table(self, index):
        entry = self.l1[index]
        offset = entry & OFFSET_MASK
        if not offset:
            return None
        if offset % self.cluster:
            raise BadImage(f"{self.source.path}: L2 table at {offset}")
        return big_endian_words(self.source.read_inside(offset, self.cluster, "L2 table"))

    def runs(self, begin, end):
        """Neighbouring runs that continue each other in guest and host are one."""
        pending = None
        for run in self._plain_runs(begin, min(end, self.size)):
            if pending and joins(pending, run):
                pending = (pending[0], run[1], run[2], pending[3])
                continue
            if pending:
                yield pending
            pending = run
        if pending:
            yield pending

    def _plain_runs(self, begin, end):
        covered = self.l2_entries * self.cluster
        for index in range(begin // covered, -(-end // covered) if end > begin else 0):
            table = self._table(index)
            if table is None or not any(table):
                continue
            low, high = max(begin, index * covered), min(end, (index + 1) * covered)
            for guest in range(low // self.cluster * self.cluster, high, self.cluster):
                slot = (guest // self.cluster) % self.l2_entries * self.entry_words
                entry = table[slot]
                subclusters = table[slot + 1] if self.extended else None
                if not entry and not subclusters:
                    continue
                for first, last, kind, host in self._cluster_runs(guest, entry, subclusters):
                    a, b = max(first, low), min(last, high)
                    if a < b:
                        yield (a, b, kind, host + a - first if kind == "data" else host)

    def _cluster_runs(self, guest, entry, subclusters):
        if entry & COMPRESSED:
            if self.elsewhere:
                raise BadImage(f"{self.source.path}: a compressed cluster beside a data file")
            yield (guest, guest + self.cluster, "compressed", (entry, guest))
            return
        host = entry & OFFSET_MASK
        if host % self.cluster:
            raise BadImage(f"{self.source.path}: cluster at {host}")
        placed = bool(host)
        if self.elsewhere:
            placed = bool(host or entry & COPIED)  # offset 0 is a place in a file of its own
            if placed and host != guest:
                raise BadImage(f"{self.source.path}: guest cluster {guest} at {host} of the data file")
        if subclusters is None:
            if entry & 1:
                if self.version == 2:
                    raise BadImage(f"{self.source.path}: zero flag in version 2")
                yield (guest, guest + self.cluster, "zero", None)
            elif placed:
                yield (guest, guest + self.cluster, "data", host)
            return
        step = self.cluster // 32
        for i in range(32):
            data, zero = subclusters >> i & 1, subclusters >> (32 + i) & 1
            if data and (zero or not placed):
                raise BadImage(f"{self.source.path}: subcluster both data and zero, or without a cluster")
            place = guest + i * step
            if zero:
                yield (place, place + step, "zero", None)
            elif data:
                yield (place, place + step, "data", host + i * step)

    def decompress(self, descriptor):
        """(guest offset of the cluster, its bytes)."""
        entry, guest = descriptor
        bits = 62 - (self.cluster_bits - 8)
        offset = entry & ((1 << bits) - 1)
        sectors = ((entry & (COMPRESSED - 1)) >> bits) + 1
        length = sectors * SECTOR - offset % SECTOR
        if offset >= self.source.size:
            raise BadImage(f"{self.source.path}: compressed cluster behind the end")
        stream = self.source.read(offset, min(length, self.source.size - offset))
        return guest, (inflate_zstd if self.compression else inflate_deflate)(stream, self.cluster)


def joins(first, second):
    if first[1] != second[0] or first[2] != second[2]:
        return False
    if first[2] == "zero":
        return True
    return first[2] == "data" and first[3] + (first[1] - first[0]) == second[3]


def big_endian_words(data):
    words = array.array("Q", data)
    if sys.byteorder == "little":
        words.byteswap()
    return words
