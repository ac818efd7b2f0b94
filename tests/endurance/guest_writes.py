"""Writes as a running guest's data path makes them: a VHD in place, as tapdisk does; a QCOW2 through qemu-io."""

import os
import struct
import tempfile

import qemu_maker
import vhd_reader
from byte_source import SECTOR
from image_maker import DRIVERS


def write_vhd(path, writes):
    """`writes`: (offset, bytes), aligned to sectors. New blocks replace the footer, which then follows them."""
    layer = vhd_reader.VhdLayer(path)
    footer = layer.source.read(layer.source.size - SECTOR, SECTOR)
    end = layer.source.size - SECTOR
    layer.close()
    with open(path, "r+b", buffering=0) as file:
        for offset, data in writes:
            while data:
                block, inside = divmod(offset, layer.block_size)
                part = data[: layer.block_size - inside]
                if layer.bat[block] == vhd_reader.UNSET:
                    end = _add_block(file, layer, block, end, footer)
                _fill(file, layer, layer.bat[block] * SECTOR, inside, part)
                offset, data = offset + len(part), data[len(part) :]
        os.fsync(file.fileno())


def _add_block(file, layer, block, end, footer):
    """Where the footer stands now."""
    begin = end + -(end + layer.bitmap_bytes) % 4096
    after = begin + layer.bitmap_bytes + layer.block_size
    file.seek(after)
    file.write(footer)
    file.seek(end)
    file.write(bytes(begin + layer.bitmap_bytes - end))
    layer.bat[block] = begin // SECTOR
    file.seek(layer.table_offset + 4 * block)
    file.write(struct.pack(">I", layer.bat[block]))
    return after


def _fill(file, layer, begin, inside, data):
    file.seek(begin + layer.bitmap_bytes + inside)
    file.write(data)
    file.seek(begin)
    bits = int.from_bytes(file.read(layer.bitmap_bytes), "big")
    first, count = inside // SECTOR, len(data) // SECTOR
    bits |= ((1 << count) - 1) << (layer.bitmap_bytes * 8 - first - count)
    file.seek(begin)
    file.write(bits.to_bytes(layer.bitmap_bytes, "big"))


def write_qcow2(paths, writes):
    """`paths`: of the chain, newest first."""
    lines, sources = [], []
    try:
        for offset, data in writes:
            source = tempfile.NamedTemporaryFile(prefix="coppice-guest-")
            sources.append(source)
            source.write(data)
            source.flush()
            lines.append(f"write -s {source.name} {offset} {len(data)}")
        node = qemu_maker.node([(path, DRIVERS[path.rsplit('.', 1)[1]]) for path in paths])
        done = qemu_maker.run("qemu-io", node, text_in="\n".join(lines) + "\n", ok=(0, 1))
        if done.returncode or "rror" in done.stdout + done.stderr or "failed" in done.stdout + done.stderr:
            raise qemu_maker.ToolFailed(f"qemu-io {paths[0]}: {done.stdout[-300:]} {done.stderr[-300:]}")
    finally:
        for source in sources:
            source.close()
