"""The last word on every disk: foreign programs read it whole."""

import hashlib
import os

import libvhdi_reader
import oracles
import qemu_maker
from image_maker import DRIVERS


def require_foreign_readers_agree(sr, tools, scratch):
    """QCOW2 chains by qemu-img, VHD chains by libvhdi; against what was written."""
    read = 0
    for disk in tools.disks.values():
        expected = hashlib.sha256()
        for piece in disk.raw():
            expected.update(piece)
        chain = tools.chain(disk)
        if disk.format == "qcow2":
            output = os.path.join(scratch, "foreign.raw")
            qemu_maker.convert([(path, DRIVERS[path.rsplit(".", 1)[1]]) for path in chain], output)
            found = oracles.file_sha256(output)
            os.unlink(output)
        else:
            digest = hashlib.sha256()
            libvhdi_reader.read_all(chain, digest.update)
            found = digest.hexdigest()
        if found != expected.hexdigest():
            raise oracles.Failure(f"{sr}: a foreign reader reads {disk.file} differently")
        read += 1
    if not read:
        raise oracles.Failure("no disk is left to be read")
