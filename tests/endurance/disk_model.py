"""What the disks of the simulated toolstack hold, byte for byte, kept apart from every image."""

import hashlib

from chain_reader import CHUNK

ZEROS = bytes(CHUNK)


class Disk:
    def __init__(self, uuid, kind, size, chunks=None, snapshot=False):
        self.uuid, self.format, self.size, self.snapshot = uuid, kind, size, snapshot
        self.chunks = dict(chunks or {})  # number of a chunk -> its bytes, which never change in place

    @property
    def file(self):
        return f"{self.uuid}.{self.format}"

    def copy(self, uuid, snapshot):
        return Disk(uuid, self.format, self.size, self.chunks, snapshot)

    def write(self, offset, data):
        while data:
            index, inside = divmod(offset, CHUNK)
            part = data[: CHUNK - inside]
            old = self.chunks.get(index, ZEROS)
            self.chunks[index] = old[:inside] + part + old[inside + len(part) :]
            offset, data = offset + len(part), data[len(part) :]

    def fingerprint(self):
        """As chain_reader.Chain.fingerprint() of an image that holds the same."""
        digest = hashlib.sha256(str(self.size).encode())
        for index in sorted(self.chunks):
            if self.chunks[index] != ZEROS:
                digest.update(index.to_bytes(8, "big"))
                digest.update(self.chunks[index])
        return digest.hexdigest()

    def raw(self):
        """The pieces of the whole disk, in order."""
        for index in range(-(-self.size // CHUNK)):
            yield self.chunks.get(index, ZEROS)[: self.size - index * CHUNK]
