"""Sizes of LVs on a thick SR, from the storage manager's rules (package 3.2.12-21.x), and the ends of images on volumes."""

import struct

from byte_source import SECTOR

KIB, MIB, TIB = 1 << 10, 1 << 20, 1 << 40
EXTENT = 4 * MIB
VHD_BLOCK = 2 * MIB


def round_up(unit, value):
    """One unit for nothing, as sm has it."""
    return max(1, -(-value // unit)) * unit


def extents(size):
    return round_up(EXTENT, size) // EXTENT


def empty_vhd(size):
    blocks = size // MIB // 2
    return round_up(4096, round_up(512, 3072 + blocks * 4) + blocks // 8)


def empty_qcow2(size, cluster=64 * KIB, entry=8, refcount_bits=16):
    """What QEMU adds to the data of a full image. `entry`: bytes of an L2 entry."""
    aligned = round_up(cluster, size)
    tables = round_up(1, -(-aligned // (cluster * (cluster // entry))))
    others = 1 + tables + -(-tables * 8 // cluster) + aligned // cluster
    blocks = table = 0
    while True:
        wanted = -(-(others + table + blocks) // (cluster * 8 // refcount_bits))
        wanted_table = -(-wanted * 8 // cluster)
        if (wanted, wanted_table) == (blocks, table):
            return (others + blocks + table) * cluster - aligned
        blocks, table = wanted, wanted_table


def full(kind, size):
    """Of a disk that a guest may write to everywhere."""
    if kind == "raw":
        return round_up(EXTENT, size)
    if kind == "vhd":
        return round_up(EXTENT, size + empty_vhd(max(size, 2 * TIB)) + -(-size // VHD_BLOCK) * 4096)
    return round_up(EXTENT, size + empty_qcow2(max(size, 64 * KIB)))


def thin(kind, size):
    if kind == "raw":
        return round_up(EXTENT, size)
    return round_up(EXTENT, empty_vhd(max(size, 2 * TIB)) if kind == "vhd" else empty_qcow2(max(size, 64 * KIB)))


def full_end(size, cluster, extended, refcount_bits):
    """Of a QCOW2 image with this geometry that is full."""
    return round_up(cluster, size) + empty_qcow2(size, cluster, 16 if extended else 8, refcount_bits)


def inflated(layer):
    """The LV in which the image of this open layer can be written to everywhere."""
    usual = full(layer.format, layer.size)
    if layer.format == "vhd" and layer.type != 2:
        # What is not there yet comes behind what is; holes stay, and data begins at multiples of 4 KiB.
        span = round_up(4 * KIB, layer.bitmap_bytes) + layer.block_size
        missing = sum(entry == 0xFFFFFFFF for entry in layer.bat[: -(-layer.size // layer.block_size)])
        return max(usual, round_up(EXTENT, vhd_end(layer) + missing * span))
    if layer.format != "qcow2":
        return usual
    return max(usual, round_up(EXTENT, full_end(layer.size, layer.cluster, layer.extended, refcount_bits(layer))))


def compressed(layer):
    """Guest bytes in compressed clusters: their data takes less."""
    if layer.format != "qcow2":
        return 0
    return sum(end - begin for begin, end, kind, _ in layer.runs(0, layer.size) if kind == "compressed")


def refcount_bits(layer):
    return 1 << struct.unpack(">I", layer.source.read(96, 4))[0] if layer.version == 3 else 16


def image_end(layer):
    """Of the bytes that the image of an open layer uses."""
    return {"raw": lambda: layer.size, "vhd": lambda: vhd_end(layer), "qcow2": lambda: qcow2_end(layer)}[layer.format]()


def qcow2_end(layer):
    """The end of the last cluster that is counted."""
    source, bits = layer.source, refcount_bits(layer)
    table, clusters = struct.unpack(">QI", source.read(48, 12))
    per_block = layer.cluster * 8 // bits
    places = struct.unpack(f">{clusters * layer.cluster // 8}Q", source.read(table, clusters * layer.cluster))
    for index in reversed(range(len(places))):
        block = source.read(places[index], layer.cluster).rstrip(b"\0") if places[index] else b""
        if block:
            # Counts of less than a byte begin at its low bits.
            last = (len(block) - 1) * 8 // bits if bits >= 8 else (len(block) * 8 - 1 - (8 - block[-1].bit_length())) // bits
            return (index * per_block + last + 1) * layer.cluster
    return layer.cluster


def vhd_end(layer):
    """Of what a VHD uses, with one footer behind it; of an open layer."""
    if layer.type == 2:
        return layer.size + SECTOR
    source = layer.source
    table_end = layer.table_offset + round_up(SECTOR, 4 * layer.entries)
    end = max(SECTOR + 1024, table_end)
    batmap = source.read(table_end, SECTOR)
    if batmap[:8] == b"tdbatmap":
        place, sectors = struct.unpack_from(">QI", batmap, 8)
        end = max(end, table_end + SECTOR, place + sectors * SECTOR)
    if layer.type == 4:
        header = source.read(struct.unpack_from(">Q", source.read(0, SECTOR), 16)[0], 1024)
        for slot in range(8):
            code, room, _, _, place = struct.unpack_from(">4sIIIQ", header, 576 + 24 * slot)
            if code != bytes(4):
                end = max(end, place + (room * SECTOR if room < SECTOR else room))
    blocks = [entry for entry in layer.bat if entry != 0xFFFFFFFF]
    if blocks:
        end = max(end, max(blocks) * SECTOR + layer.bitmap_bytes + layer.block_size)
    return end + SECTOR
