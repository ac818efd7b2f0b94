"""Positioned reads from a file; behind its end stand zeros."""

import os

SECTOR = 512


class BadImage(Exception):
    """The bytes contradict the format, or ask for something a reader must refuse."""


class ByteSource:
    fd = -1

    def __init__(self, path):
        self.path = path
        self.fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self.size = os.lseek(self.fd, 0, os.SEEK_END)  # of block devices, too

    def close(self):
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    def __del__(self):
        self.close()  # a reader that has failed in its constructor cannot

    def read(self, offset, length):
        """Exactly `length` bytes; what lies behind the end of the file reads as zeros."""
        data = os.pread(self.fd, length, offset) if offset < self.size else b""
        while len(data) < length and offset + len(data) < self.size:
            more = os.pread(self.fd, length - len(data), offset + len(data))
            if not more:
                break
            data += more
        return data if len(data) == length else data + bytes(length - len(data))

    def read_inside(self, offset, length, what):
        """As read(), but the whole range must lie inside the file."""
        if offset < 0 or offset + length > self.size:
            raise BadImage(f"{self.path}: {what} at {offset}+{length} is behind the end of the file ({self.size})")
        return self.read(offset, length)


class Layer:
    """What the readers of all formats share: where the data stands that runs() point at."""

    source = None
    elsewhere = None  # a file of its own for the data

    @property
    def data_source(self):
        return self.elsewhere or self.source

    def close(self):
        for source in (self.source, self.elsewhere):
            if source:
                source.close()
