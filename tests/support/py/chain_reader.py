#!/usr/bin/python3
"""What a guest reads at a leaf: an independent reader of chains of VHD, QCOW2 and raw images inside one directory.

    chain_reader.py DIR FILE [--sha256 | --fingerprint | --output RAW | --json]

`--sha256` hashes the whole guest disk; `--fingerprint` hashes its size and its non-zero parts only, so that it is quick on
disks of any size. Parents are looked for beside the child (a relative name is followed from the child's directory, the
directory part of an absolute one is not believed: images are moved together).
"""

import argparse
import hashlib
import json
import os
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from byte_source import BadImage  # noqa: E402
from qcow2_reader import Qcow2Layer  # noqa: E402
from raw_reader import RawLayer  # noqa: E402
from vhd_reader import VhdLayer  # noqa: E402

CHUNK = 65536
ZERO_MEGABYTE = bytes(1 << 20)
LAYERS = {".vhd": VhdLayer, ".qcow2": Qcow2Layer, ".raw": RawLayer}
FORMATS = {"qcow2": Qcow2Layer, "vpc": VhdLayer, "raw": RawLayer}


def open_layer(path, format_name=None):
    kind = FORMATS.get(format_name) or LAYERS.get(os.path.splitext(path)[1])
    if kind is None:
        raise BadImage(f"{path}: neither .vhd nor .qcow2 nor .raw")
    return kind(path)


def parent_path(directory, child, names):
    here = os.path.dirname(child)
    for name in names:
        candidate = os.path.join(here, os.path.basename(name) if name.startswith("/") else name)
        candidate = os.path.realpath(candidate)
        if os.path.exists(candidate) and os.path.commonpath([candidate, os.path.realpath(directory)]) == os.path.realpath(directory):
            return candidate
    raise BadImage(f"{child}: no parent among {names}")


def open_chain(directory, file_name):
    """Layers, newest first."""
    path = os.path.realpath(os.path.join(directory, file_name))
    layers, seen = [], set()
    format_name = None
    try:
        while True:
            if path in seen:
                raise BadImage(f"{path}: the chain is a cycle")
            seen.add(path)
            layer = open_layer(path, format_name)
            if layers and layers[-1].format == "vhd" and layers[-1].parent_uuid != (layer.uuid or bytes(16)):
                raise BadImage(f"{path}: not the parent that {layers[-1].source.path} was made on")
            layers.append(layer)
            if not layer.parent_names:
                return layers
            format_name = getattr(layer, "parent_format", None)
            if layer.format == "vhd":
                format_name = "raw" if layer.parent_is_raw else "vpc"
            path = parent_path(directory, path, layer.parent_names)
    except Exception:
        for layer in layers:
            layer.close()
        raise


def flatten(layers, begin, end):
    """(begin, end, kind, payload, layer), ascending, without what reads as zero because nobody maps it."""
    found, gaps = [], [(begin, end)]
    for layer in layers:
        remaining = []
        for low, high in gaps:
            position = low
            for run in layer.runs(low, high):
                if run[0] > position:
                    remaining.append((position, run[0]))
                if run[2] != "zero":
                    found.append((*run, layer))
                position = run[1]
            if position < min(high, layer.size):
                remaining.append((position, min(high, layer.size)))
        gaps = remaining
        if not gaps:
            break
    found.sort(key=lambda run: run[0])
    return found


class Chain:
    def __init__(self, directory, file_name):
        self._hold(open_chain(directory, file_name))

    @classmethod
    def of(cls, layers):
        """Of layers that are open, newest first, whatever names they store."""
        chain = cls.__new__(cls)
        chain._hold(layers)
        return chain

    def _hold(self, layers):
        self.layers, self.size = layers, layers[0].size

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        for layer in self.layers:
            layer.close()

    def pieces(self):
        """(guest offset, bytes) of all that is mapped as data, ascending, at most 1 MiB each."""
        cached = (None, None)
        for begin, end, kind, payload, layer in flatten(self.layers, 0, self.size):
            if kind == "compressed":
                if cached[0] != (id(layer), payload):
                    cached = ((id(layer), payload), layer.decompress(payload))
                guest, data = cached[1]
                yield begin, data[begin - guest : end - guest]
                continue
            for position in range(begin, end, 1 << 20):
                length = min(1 << 20, end - position)
                yield position, layer.data_source.read(payload + position - begin, length)

    def sha256(self):
        digest, position = hashlib.sha256(), 0
        for begin, data in self.pieces():
            feed_zeros(digest, begin - position)
            digest.update(data)
            position = begin + len(data)
        feed_zeros(digest, self.size - position)
        return digest.hexdigest()

    def fingerprint(self):
        """Equal for equal disks (same size, same bytes), whatever maps them; the cost is that of the data alone."""
        digest = hashlib.sha256(str(self.size).encode())
        index, buffer = -1, bytearray(CHUNK)
        for begin, data in self.pieces():
            while data:
                place = begin % CHUNK
                part = data[: CHUNK - place]
                if begin // CHUNK != index:
                    feed_chunk(digest, index, buffer)
                    index, buffer = begin // CHUNK, bytearray(CHUNK)
                buffer[place : place + len(part)] = part
                begin, data = begin + len(part), data[len(part) :]
        feed_chunk(digest, index, buffer)
        return digest.hexdigest()

    def write_raw(self, path):
        with open(path, "wb") as output:
            for begin, data in self.pieces():
                output.seek(begin)
                output.write(data)
            output.truncate(self.size)


def feed_zeros(digest, count):
    while count > 0:
        part = min(count, len(ZERO_MEGABYTE))
        digest.update(ZERO_MEGABYTE[:part] if part < len(ZERO_MEGABYTE) else ZERO_MEGABYTE)
        count -= part


def feed_chunk(digest, index, buffer):
    if index >= 0 and buffer.count(0) != len(buffer):
        digest.update(index.to_bytes(8, "big"))
        digest.update(buffer)


def sha256(directory, file_name):
    with Chain(directory, file_name) as chain:
        return chain.sha256()


def fingerprint(directory, file_name):
    with Chain(directory, file_name) as chain:
        return chain.fingerprint()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument("directory")
    parser.add_argument("file")
    parser.add_argument("--sha256", action="store_true")
    parser.add_argument("--fingerprint", action="store_true")
    parser.add_argument("--output")
    parser.add_argument("--json", action="store_true", help="layers and sizes")
    options = parser.parse_args()
    try:
        with Chain(options.directory, options.file) as chain:
            if options.sha256:
                print(chain.sha256())
            if options.fingerprint:
                print(chain.fingerprint())
            if options.output:
                chain.write_raw(options.output)
            if options.json:
                layers = [{"file": os.path.basename(layer.source.path), "format": layer.format, "size": layer.size,
                           "hidden": layer.hidden, "parents": list(layer.parent_names)} for layer in chain.layers]
                print(json.dumps(layers, indent=1))
    except (BadImage, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
