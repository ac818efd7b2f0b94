"""Makes QCOW2 images with qemu-img and qemu-io, many operations in one qemu-io process, and reads images with qemu-img."""

import json
import os
import stat
import struct
import subprocess

HIDDEN_EXTENSION = 0x76617465


class ToolFailed(Exception):
    pass


def run(*argv, text_in=None, ok=(0,), directory=None):
    done = subprocess.run(argv, input=text_in, capture_output=True, text=True, timeout=120, cwd=directory)
    if done.returncode not in ok:
        raise ToolFailed(f"{' '.join(argv)}: status {done.returncode}: {done.stderr.strip()} {done.stdout.strip()[-300:]}")
    return done


def create(path, size, *, options=(), parent=None, parent_format=None):
    """`parent` is stored as given and is not opened; a data file is made, and looked for in the image's directory."""
    argv = ["qemu-img", "create", "-q", "-f", "qcow2"]
    if options:
        argv += ["-o", ",".join(options)]
    if parent:
        argv += ["-u", "-b", parent, "-F", parent_format]
    run(*argv, os.path.basename(path), str(size), directory=os.path.dirname(path) or None)


class Batch:
    """Collects qemu-io commands on several images and runs them in one process."""

    def __init__(self, directory, rng):
        self.directory, self.rng, self.lines, self.patterns = directory, rng, [], []

    def pattern_files(self):
        """Sources of random bytes, of odd lengths so that they do not line up with clusters."""
        if not self.patterns:
            for index in range(4):
                path = os.path.join(self.directory, f".pattern{index}")
                with open(path, "wb") as file:
                    file.write(self.rng.randbytes(512 * self.rng.randrange(3, 700) + self.rng.randrange(512)))
                self.patterns.append(path)
        return self.patterns

    def open(self, path, data_file=None):
        data = f",data-file.driver=file,data-file.filename={data_file}" if data_file else ""
        self.lines.append(f"open -o driver=qcow2,discard=unmap{data} {path}")

    def close(self):
        self.lines.append("close")

    def write(self, offset, length, *flags):
        if self.rng.random() < 0.7 and "-z" not in flags:
            source = f"-s {self.rng.choice(self.pattern_files())}"
        else:
            source = "" if "-z" in flags else f"-P {self.rng.randrange(1, 256)}"
        self.lines.append(f"write {' '.join(flags)} {source} {offset} {length}")

    def discard(self, offset, length):
        self.lines.append(f"discard {offset} {length}")

    def truncate(self, size):
        self.lines.append(f"truncate {size}")

    def run(self):
        if self.lines:
            done = run("qemu-io", text_in="\n".join(self.lines) + "\n", ok=(0, 1))
            trouble = [line for line in (done.stdout + done.stderr).splitlines() if "rror" in line or "failed" in line]
            if trouble:
                raise ToolFailed(f"qemu-io: {trouble[:3]} in {self.lines[:40]}")
        for path in self.patterns:
            os.unlink(path)
        self.lines, self.patterns = [], []


def set_hidden(path, hidden):
    """Sets XCP-ng's extension as its storage manager does: the last one, the backing name moved up behind it."""
    with open(path, "r+b") as file:
        head = file.read(112)
        version, name_offset, name_size, cluster_bits = struct.unpack_from(">IQII", head, 4)
        position = struct.unpack_from(">I", head, 100)[0] if version == 3 else 72
        file.seek(0)
        first = bytearray(file.read(1 << cluster_bits))
        first += bytes((1 << cluster_bits) - len(first))
        start, extensions = position, b""
        while position + 8 <= (name_offset or len(first)):
            kind, length = struct.unpack_from(">II", first, position)
            size = 8 + (length + 7) // 8 * 8
            if kind == 0:
                break
            if kind != HIDDEN_EXTENSION:
                extensions += first[position : position + size]
            position += size
        name = first[name_offset : name_offset + name_size] if name_offset else b""
        extensions += struct.pack(">IIB7x", HIDDEN_EXTENSION, 8, 1 if hidden else 0) + bytes(8)
        if start + len(extensions) + len(name) > len(first):
            raise ToolFailed(f"{path}: no room for the hidden extension")
        first[start:] = (extensions + name).ljust(len(first) - start, b"\0")
        if name:
            struct.pack_into(">Q", first, 8, start + len(extensions))
        file.seek(0)
        file.write(first)


def rebase(path, parent, parent_format):
    """Changes the stored name only."""
    run("qemu-img", "rebase", "-u", "-f", "qcow2", "-F", parent_format, "-b", parent, path)


def node(layers):
    """A block node description of a chain, newest first, as (path, driver[, data file]): stored names are not followed."""
    below = None
    for path, driver, *data_file in reversed(layers):
        storage = "host_device" if stat.S_ISBLK(os.stat(path).st_mode) else "file"
        below = {"driver": driver, "file": {"driver": storage, "filename": path}} | (
            {"backing": below} if driver == "qcow2" else {})
        if data_file and data_file[0]:
            below["data-file"] = {"driver": "file", "filename": data_file[0]}
    return "json:" + json.dumps(below)


def convert(layers, output):
    run("qemu-img", "convert", "-U", "-O", "raw", node(layers), output)


def check(path):
    """(exit status, what qemu-img check found) of one image without its parents."""
    done = run("qemu-img", "check", "-U", "--output=json", node([(path, "qcow2")]), ok=(0, 2, 3))
    return done.returncode, json.loads(done.stdout)
