"""A program that has a chain open for reading and keeps what it has read of its tables: qemu-nbd, asked over its socket."""

import os
import socket
import struct
import subprocess

import oracles

OPTION_MAGIC, REQUEST_MAGIC, REPLY_MAGIC = 0x49484156454F5054, 0x25609513, 0x67446698
EXPORT_NAME, READ, DISCONNECT = 1, 0, 2
NO_ZEROES = 2
MOST = 1 << 20


class KeptOut(Exception):
    """The image locks of others did not let it in."""


class NbdReader:
    """`path` is a QCOW2 leaf; its backing images are opened as their headers name them."""

    def __init__(self, path, place):
        self.socket_path = os.path.join(place, f"nbd-{os.getpid()}-{id(self)}")
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(self.socket_path)
        listener.listen()
        # Handed over listening, as systemd does: connecting needs no second try, and its end is the end of a waiting read.
        self.process = subprocess.Popen(
            ["/bin/sh", "-c", 'LISTEN_PID=$$ LISTEN_FDS=1 exec "$@" 3<&0 </dev/null', "sh", "qemu-nbd", "-r", "-f", "qcow2", path],
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

    def read(self, offset, length):
        self.connection.sendall(struct.pack(">IHHQQI", REQUEST_MAGIC, 0, READ, 1, offset, length))
        magic, error, _ = struct.unpack(">IIQ", self._receive(16))
        if magic != REPLY_MAGIC or error:
            raise oracles.Failure(f"qemu-nbd cannot read {length} bytes at {offset}: error {error}")
        return self._receive(length)

    def read_all(self):
        return b"".join(self.read(at, min(MOST, self.size - at)) for at in range(0, self.size, MOST))

    def close(self):
        """What it has said."""
        self.connection.close()
        self.process.terminate()
        return self.process.communicate()[1]
