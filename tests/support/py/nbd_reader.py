"""A program that has a chain open and keeps what it has read of its tables: qemu-nbd, asked over its socket."""

import os
import socket
import struct
import subprocess

import oracles

OPTION_MAGIC, REQUEST_MAGIC, REPLY_MAGIC = 0x49484156454F5054, 0x25609513, 0x67446698
EXPORT_NAME, READ, WRITE = 1, 0, 1
NO_ZEROES = 2
MOST = 1 << 20


class KeptOut(Exception):
    """The image locks of others did not let it in."""


class NbdReader:
    """`path` is a QCOW2 leaf; its backing images are opened as their headers name them."""

    def __init__(self, path, place):
        self._start(path, place, ["-r", "-f", "qcow2", path])

    def _start(self, path, place, arguments):
        self.socket_path = os.path.join(place, f"nbd-{os.getpid()}-{id(self)}")
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(self.socket_path)
        listener.listen()
        # Handed over listening, as systemd does: connecting needs no second try, and its end is the end of a waiting read.
        self.process = subprocess.Popen(
            ["/bin/sh", "-c", 'LISTEN_PID=$$ LISTEN_FDS=1 exec "$@" 3<&0 </dev/null', "sh", "qemu-nbd", *arguments],
            stdin=listener.fileno(), stderr=subprocess.PIPE, text=True)
        self.connection = socket.socket(socket.AF_UNIX)
        self.connection.connect(self.socket_path)
        listener.close()
        os.unlink(self.socket_path)
        try:
            self._greet()
        except OSError:
            trouble = self.close()
            if "lock" in trouble:
                raise KeptOut(trouble) from None
            raise oracles.Failure(f"qemu-nbd {path}: {trouble}") from None

    def _receive(self, length):
        data = bytearray()
        while len(data) < length:
            part = self.connection.recv(length - len(data))
            if not part:
                raise ConnectionError("qemu-nbd has closed the connection")
            data += part
        return bytes(data)

    def _greet(self):
        self._receive(18)
        self.connection.sendall(struct.pack(">IQII", 1 | NO_ZEROES, OPTION_MAGIC, EXPORT_NAME, 0))
        self.size, _ = struct.unpack(">QH", self._receive(10))

    def _ask(self, what, offset, length, data=b""):
        self.connection.sendall(struct.pack(">IHHQQI", REQUEST_MAGIC, 0, what, 1, offset, length) + data)
        magic, error, _ = struct.unpack(">IIQ", self._receive(16))
        if magic != REPLY_MAGIC or error:
            raise oracles.Failure(f"qemu-nbd cannot {'write' if data else 'read'} {length} bytes at {offset}: error {error}")

    def read(self, offset, length):
        self._ask(READ, offset, length)
        return self._receive(length)

    def read_all(self):
        return b"".join(self.read(at, min(MOST, self.size - at)) for at in range(0, self.size, MOST))

    def close(self):
        """What it has said."""
        self.connection.close()
        self.process.terminate()
        return self.process.communicate()[1]


def without_locks(paths):
    """Options that open the chain of QCOW2 images `paths`, the leaf first, without QEMU's image locks."""
    options, prefix = [], ""
    for path in paths:
        options += [f"{prefix}driver=qcow2", f"{prefix}file.driver=file", f"{prefix}file.filename={path}", f"{prefix}file.locking=off"]
        prefix += "backing."
    return ",".join(options)


class NbdGuest(NbdReader):
    """The same for a guest that writes, too. `chain` are its images, the leaf first; `locks`: whether it takes QEMU's image locks."""

    def __init__(self, chain, place, locks=True):
        self._start(chain[0], place, ["-f", "qcow2", chain[0]] if locks else ["--image-opts", without_locks(chain)])

    def write(self, offset, data):
        self._ask(WRITE, offset, len(data), data)
