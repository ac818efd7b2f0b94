#!/usr/bin/python3
"""How long a scan and a plan of a large SR take, and how much memory they need.

    scan_bench.py [--images 5000] [--keep DIR] [--repeat 5]     COPPICE_BINARY names the program

Builds a file SR of short snapshot trees, half VHD and half QCOW2, in the form of a Markdown table. Figures are of warm caches.
"""

import argparse
import os
import platform
import random
import resource
import shutil
import statistics
import struct
import subprocess
import sys
import tempfile
import time
import uuid

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "support", "py"))

import oracles  # noqa: E402
import qemu_maker  # noqa: E402
import vhd_writer  # noqa: E402

GIB = 1 << 30
TREE = 10  # images of one tree: a chain of hidden ones, two leaves on top
DISK = 8 * GIB


class Builder:
    def __init__(self, directory, rng):
        self.directory, self.rng = directory, rng
        self.template = None
        self.hidden = set()  # names

    def new_uuid(self):
        return str(uuid.UUID(int=self.rng.getrandbits(128), version=4))

    def stored(self, name):
        """What a child records of its parent of this file."""
        return name

    def tree(self, kind, count):
        parent, parent_uuid = None, None
        for index in range(count):
            name = f"{self.new_uuid()}.{kind}"
            hidden = index < count - 2
            if hidden:
                self.hidden.add(name)
            made = getattr(self, f"add_{kind}")(name, parent, parent_uuid, hidden)
            if hidden:
                parent, parent_uuid = name, made

    def add_vhd(self, name, parent, parent_uuid, hidden):
        above = vhd_writer.Parent(self.stored(parent), parent_uuid) if parent else None
        disk = vhd_writer.VhdWriter(DISK, rng=self.rng, parent=above, hidden=hidden)
        for _ in range(4):
            disk.write(self.rng.randrange(DISK // 65536) * 65536, self.rng.randbytes(65536))
        disk.save(os.path.join(self.directory, name))
        return disk.uuid

    def add_qcow2(self, name, parent, _, hidden):
        """Copies of one image made by qemu-img, with the parent's name (all are equally long) put in."""
        placeholder = self.stored("0" * 36 + ".qcow2")
        if self.template is None:
            path = os.path.join(self.directory, "template")
            qemu_maker.create(path, DISK, parent=placeholder, parent_format="qcow2")
            text = "\n".join(f"write -P {i + 1} {self.rng.randrange(DISK // 65536) * 65536} 65536" for i in range(4))
            qemu_maker.run("qemu-io", "-c", "quit", qemu_maker.node([(path, "qcow2")]))
            qemu_maker.run("qemu-io", qemu_maker.node([(path, "qcow2")]), text_in=text)
            qemu_maker.set_hidden(path, True)
            self.template = path
        path = os.path.join(self.directory, name)
        subprocess.run(["cp", "--sparse=always", self.template, path], check=True)
        with open(path, "r+b") as file:
            head = bytearray(file.read(1024))
            if parent:  # as long as the placeholder
                head = bytearray(bytes(head).replace(placeholder.encode(), self.stored(parent).encode()))
            else:
                struct.pack_into(">QI", head, 8, 0, 0)
            file.seek(0)
            file.write(head)
        if not hidden or not parent:
            qemu_maker.set_hidden(path, hidden)

    def build(self, images):
        for index in range(0, images, TREE):
            self.tree("vhd" if index // TREE % 2 else "qcow2", min(TREE, images - index))
        if self.template:
            os.unlink(self.template)


def measure(sr, scratch, verb, repeat):
    """(median seconds, largest resident set in bytes)"""
    seconds, memory = [], 0
    for _ in range(repeat + 1):
        started = time.monotonic()
        process = subprocess.Popen([oracles.binary(), verb, sr, "--json", "--xapi", "none", "--state-dir",
                                    os.path.join(scratch, "state"), "--run-dir", os.path.join(scratch, "run")],
                                   stdout=subprocess.DEVNULL)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            raise SystemExit(f"coppice {verb}: status {process.returncode}")
        seconds.append(time.monotonic() - started)
        memory = max(memory, usage.ru_maxrss * 1024)
    return statistics.median(seconds[1:]), memory


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument("--images", type=int, default=5000)
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--keep", help="build the SR here and leave it, or use what an earlier run has left")
    options = parser.parse_args()
    oracles.binary()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    scratch = tempfile.mkdtemp(prefix="coppice-bench-")
    directory = options.keep or os.path.join(scratch, str(uuid.uuid4()))
    try:
        if not os.path.isdir(directory):
            os.makedirs(directory)
            Builder(directory, random.Random(1)).build(options.images)
        count = len(os.listdir(directory))
        print(f"{count} images, {platform.machine()}, {os.cpu_count()} CPUs, median of {options.repeat}\n")
        print("| verb | seconds | images per second | peak memory, MiB |\n| --- | --- | --- | --- |")
        for verb in ("tree", "plan"):
            seconds, memory = measure(directory, scratch, verb, options.repeat)
            print(f"| `{verb} --json` | {seconds:.3f} | {count / seconds:.0f} | {memory / (1 << 20):.0f} |", flush=True)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


if __name__ == "__main__":
    main()
