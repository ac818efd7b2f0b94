"""A raw image: the file is the disk."""

import os

from byte_source import SECTOR, ByteSource, Layer


class RawLayer(Layer):
    format = "raw"
    hidden = False
    parent_names = ()
    parent_uuid = None
    uuid = None

    def __init__(self, path):
        self.source = ByteSource(path)
        self.size = (self.source.size + SECTOR - 1) // SECTOR * SECTOR

    def runs(self, begin, end):
        """Everything is mapped; holes are told as zeros so that a large sparse file costs nothing."""
        end = min(end, self.size)
        position = begin
        while position < end:
            try:
                data = os.lseek(self.source.fd, position, os.SEEK_DATA)
            except OSError:
                data = end
            data = min(max(data, position), end)
            if data > position:
                yield (position, data, "zero", None)
            if data >= end:
                return
            hole = min(os.lseek(self.source.fd, data, os.SEEK_HOLE), end)
            if hole == self.source.size and end > hole:
                hole = end
            yield (data, hole, "data", data)
            position = hole
