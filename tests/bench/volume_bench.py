#!/usr/bin/python3
"""How long a scan and a plan of a large SR on thick LVM take, in the VM, and how many commands of LVM they need.

    volume_bench.py [--images 2000] [--repeat 3] [--verbs tree plan]     COPPICE_BINARY names the program

The SR of scan_bench.py, each image in a volume of its own that is not active. The volumes are written into the group's metadata
in one go. Figures are of warm caches, in the form of a Markdown table.
"""

import argparse
import os
import pickle
import random
import shutil
import subprocess
import sys
import tempfile
import uuid

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "support", "py"))
sys.path.insert(0, HERE)

import command_log  # noqa: E402
import oracles  # noqa: E402
import scan_bench  # noqa: E402
from byte_source import SECTOR  # noqa: E402
from thick_sizes import EXTENT, extents  # noqa: E402
from volume_group import Volume, VolumeGroup, mapper_name  # noqa: E402

RUN_IN_VM = os.path.join(HERE, "..", "vm", "run-in-vm")
DISK = "64G"
PREFIXES = {".vhd": "VHD-", ".qcow2": "QCOW2-"}


def volume_name(file):
    stem, kind = os.path.splitext(file)
    return PREFIXES[kind] + stem


class Builder(scan_bench.Builder):
    """`stored`: as the storage manager writes it."""

    def __init__(self, directory, rng, group):
        super().__init__(directory, rng)
        self.group = group

    def stored(self, name):
        if name.endswith(".vhd"):
            return mapper_name(self.group.name, volume_name(name))
        return self.group.path(volume_name(name))


def make(root, images):
    """What crosses over to the VM, which reads files slowly: where each image has its data, and all data in one file."""
    group = VolumeGroup(str(uuid.UUID(int=random.Random(2).getrandbits(128), version=4)), ("/dev/vmdisk0",))
    directory = os.path.join(root, "images")
    os.mkdir(directory)
    builder = Builder(directory, random.Random(1), group)
    builder.build(images)
    made = []
    with open(os.path.join(root, "data"), "wb") as packed:
        for name in sorted(os.listdir(directory)):
            path = os.path.join(directory, name)
            pieces = []
            for offset, piece in data(path):
                pieces.append((offset, packed.tell(), len(piece)))
                packed.write(piece)
            made.append((name, os.stat(path).st_size, name in builder.hidden, pieces))
    with open(os.path.join(root, "made"), "wb") as file:
        pickle.dump((group, made), file)


def data(path):
    """(offset, bytes) of what is no hole."""
    with open(path, "rb") as file:
        end, at = os.fstat(file.fileno()).st_size, 0
        while at < end:
            try:
                at = os.lseek(file.fileno(), at, os.SEEK_DATA)
            except OSError:  # none is left
                return
            hole = os.lseek(file.fileno(), at, os.SEEK_HOLE)
            yield at, os.pread(file.fileno(), hole - at, at)
            at = hole


def install(root):
    with open(os.path.join(root, "made"), "rb") as file:
        group, made = pickle.load(file)
    volumes = [Volume(volume_name(name), extents(size), writable=not hidden) for name, size, hidden, _ in made]
    group.create()
    group.define(volumes, random.Random(3))
    with group.opened(), open(os.path.join(root, "data"), "rb") as packed:
        for (name, size, _, pieces), volume in zip(made, volumes):
            for offset, place, length in pieces:
                piece = os.pread(packed.fileno(), length, place)
                group.write(volume, offset, piece)
                if name.endswith(".vhd") and offset + length == size:
                    group.write(volume, volume.extents * EXTENT - SECTOR, piece[-SECTOR:])
    return group, len(volumes)


def inside(root, options):
    group, count = install(root)
    scratch = "/run/volume-bench"
    print(f"{count} images, median of {options.repeat}\n")
    print("| verb | seconds | peak memory, MiB | commands of LVM |\n| --- | --- | --- | --- |")
    for verb in options.verbs:
        seconds, memory = scan_bench.measure("vg:" + group.name, scratch, verb, options.repeat)
        with command_log.logged() as commands:
            oracles.coppice_json(verb, "vg:" + group.name, "--xapi", "none", "--state-dir", scratch, "--run-dir", scratch)
        print(f"| `{verb} --json` | {seconds:.3f} | {memory / (1 << 20):.0f} | {len(commands)}: "
              f"{', '.join(command.program for command in commands)} |", flush=True)
    if group.active():
        raise SystemExit(f"active: {group.active()}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--verbs", nargs="+", default=["tree", "plan"])
    parser.add_argument("--inside", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.inside:
        return inside(options.inside, options)
    root = tempfile.mkdtemp(prefix="coppice-bench-", dir=os.environ.get("RUN_IN_VM_TMP", "/var/tmp"))
    try:
        make(root, options.images)
        environment = {**os.environ, "LVM_SYSTEM_DIR": os.path.join(HERE, "..", "lvm", "system")}
        return subprocess.run([RUN_IN_VM, "--timeout", "540", "--mem", "2048", "--disk", DISK, "--", "/usr/bin/python3", "-B",
                               os.path.abspath(__file__), "--inside", root, "--repeat", str(options.repeat), "--verbs",
                               *options.verbs], env=environment, check=False).returncode
    finally:
        shutil.rmtree(root)


if __name__ == "__main__":
    sys.exit(main())
