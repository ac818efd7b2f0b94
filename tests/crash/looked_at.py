#!/usr/bin/python3
"""What sm, guests and administrators may do with the images of a QCOW2 merge while it pours, at every few changes that it makes.

    looked_at.py [--seed N] [--count N] [--jobs N]     COPPICE_BINARY names the program

sm counts the chain of a disk (qemu-img info, without -U) before it makes a snapshot: that works whenever sm may do it, which is when
nobody holds `sr`. Who reads a disk reads the right bytes, also with tables that were read long before. Nobody writes to what is
merged. Needs a build that knows COPPICE_TEST_STOP_AFTER_CHANGES.
"""

import collections
import contextlib
import fcntl
import os
import random
import sqlite3
import subprocess
import sys
import uuid

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "support", "py"))

import crash_case  # noqa: E402
import oracles  # noqa: E402
import qemu_maker  # noqa: E402
import seeded_runner  # noqa: E402
import sr_state  # noqa: E402
from image_maker import KIB, MIB  # noqa: E402
from known_chain import DOWN, FEW, SHAPES, KnownChain, Layer  # noqa: E402
from nbd_reader import KeptOut, NbdReader  # noqa: E402
from stopped_program import StoppedProgram  # noqa: E402

ENDS = (0, 1, 4, 6)  # done, failed, refused, busy
SPREAD = [(at, 64 * KIB) for at in range(64 * KIB, 4 * MIB, 256 * KIB)]


def tool(*argv):
    return subprocess.run(argv, capture_output=True, text=True, timeout=120)


def compress(path):
    """The root, in larger clusters than those of its child, so that the child masks parts of clusters."""
    if tool("qemu-img", "convert", "-c", "-O", "qcow2", "-o", "cluster_size=256k", path, path + ".new").returncode:
        raise AssertionError("qemu-img cannot compress")
    os.rename(path + ".new", path)
    qemu_maker.set_hidden(path, True)


def compressed_root():
    return [Layer("qcow2", True, [(0, 4 * MIB)]), Layer("qcow2", True, SPREAD, 0), *(Layer("qcow2", False, FEW, 1) for _ in range(2))]


# name -> (layers and verb, whether the root is compressed, index of the image poured into, of those emptied)
CASES = {
    "inner down": (SHAPES["inner down qcow2"], False, 0, [1]),
    "inner down into compressed": ((compressed_root, DOWN), True, 0, [1]),
    "inner up": (SHAPES["inner up qcow2"], False, 1, [0]),
    "leaf down": (SHAPES["leaf down qcow2"], False, 0, [1]),
    "leaf up": (SHAPES["leaf up qcow2"], False, 1, [0]),
}


class Merge:
    """A merge of the program beside sm, stopped; what is there and who may do what with it."""

    def __init__(self, case, sr, template):
        _, _, self.into, self.emptied = case
        self.sr, self.chain = sr, sr.chain
        self.root = os.path.join(sr.scratch, "sm")
        self.before = {layer: self.content(layer, template) for layer in [self.into, *self.emptied]}
        self.leaf = sr.path(len(self.chain.layers) - 1)

    def content(self, layer, directory=None):
        with open(os.path.join(directory or self.sr.directory, self.chain.layers[layer].name), "rb") as file:
            return file.read()

    def holds_sr(self):
        """Whether the program is in a passage, which sm would wait for."""
        path = os.path.join(self.root, "var/lock/sm", os.path.basename(self.sr.directory), "sr")
        if not os.path.exists(path):
            return False
        with open(path, "r+b") as file:
            try:
                fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
        return False

    def is_pouring(self):
        """Between two passages, with something poured already; not yet all of it, to the knowledge of the journal."""
        if self.holds_sr() or not os.path.exists(self.sr.path(self.into)) or self.content(self.into) == self.before[self.into]:
            return False
        journal = os.path.join(self.sr.scratch, "state", os.path.basename(self.sr.directory), "journal.db")
        with contextlib.closing(sqlite3.connect(journal)) as database:
            return "running" in [state for state, in database.execute("SELECT state FROM operation")]


class SmSr(crash_case.CrashSr):
    def path(self, layer):
        return os.path.join(self.directory, self.chain.layers[layer].name)


def require(condition, what, trouble=""):
    if not condition:
        raise oracles.Failure(f"{what}\n{trouble}")


def look(merge, what, counts):
    sr, into = merge.sr, merge.sr.path(merge.into)
    if not os.path.exists(merge.leaf) or merge.holds_sr():
        counts["in a passage"] += 1
        return
    done = tool("qemu-img", "info", "--backing-chain", "--output=json", merge.leaf)
    require(done.returncode == 0, f"{what}: sm could not count the chain", done.stderr)
    counts["counted"] += 1
    if not merge.is_pouring():
        return
    counts["while pouring"] += 1
    for layer in [merge.into, *merge.emptied]:
        path = sr.path(layer)
        require(tool("qemu-io", "-f", "qcow2", "-c", "read 0 512", path).returncode != 0, f"{what}: {path} could be written to")
        require(tool("qemu-img", "resize", "-f", "qcow2", path, "64M").returncode != 0, f"{what}: {path} could be resized")
        require(tool("qemu-img", "check", "-f", "qcow2", "-r", "all", path).returncode != 0, f"{what}: {path} could be repaired")
    alone = "lock" not in tool("qemu-img", "check", "-f", "qcow2", into).stderr  # leaks are no trouble
    visible = not merge.chain.layers[merge.into].hidden
    require(alone != visible, f"{what}: {into} {'can' if alone else 'cannot'} be read")
    if merge.chain.layers[merge.into].hidden and len(merge.chain.layers) > 2:
        # sm resizes a disk without activating it; a guest that starts is let in as soon as the merge has heard of it.
        opened = tool("qemu-io", "-f", "qcow2", "-c", "read 0 512", merge.leaf)
        require(opened.returncode == 0, f"{what}: the leaf cannot be opened for writing", opened.stderr)


def read_beside(merge, program, bytes_before, at_once, what, counts):
    """A program has opened the leaf, and reads it again and again until the merge has ended in some way, or only then: with little in
    its memory but how long the files were when it opened them."""
    try:
        reader = NbdReader(merge.leaf, merge.sr.scratch)
    except KeptOut:
        require(not merge.chain.layers[merge.into].hidden or merge.holds_sr(), f"{what}: the leaf cannot be read")
        program.go_on().require_status(*ENDS)
        counts["kept out"] += 1
        return
    try:
        if at_once:
            require(reader.read_all() == bytes_before, f"{what}: the leaf reads differently")
            program.start_again()
            while program.process.poll() is None:
                require(reader.read_all() == bytes_before, f"{what}: the leaf reads differently while the merge goes on")
                counts["read beside"] += 1
        else:
            counts["opened beside"] += 1
        program.go_on().require_status(*ENDS)
        require(reader.read_all() == bytes_before, f"{what}: the leaf reads differently behind the merge")
    finally:
        reader.close()


def raw(path, scratch):
    output = os.path.join(scratch, "raw")
    if tool("qemu-img", "convert", "-O", "raw", path, output).returncode:
        raise AssertionError(f"{path} cannot be read")
    with open(output, "rb") as file:
        return file.read()


def case(seed, scratch):
    name = list(CASES)[(seed - 1) % len(CASES)]
    (layers, verb), compressed, *_ = CASES[name]
    rng = random.Random(seed)
    template = os.path.join(scratch, "template", str(uuid.UUID(int=rng.getrandbits(128), version=4)))
    chain = KnownChain(template, rng, layers())
    if compressed:
        compress(chain.path(chain.layers[0]))
    disks = sr_state.SrState(template).fingerprints()
    content = raw(chain.path(chain.layers[-1]), scratch)
    os.makedirs(os.path.join(scratch, "sm/var/lock/sm"))
    os.environ["COPPICE_TEST_SM_ROOT"] = os.path.join(scratch, "sm")
    counts, changes = collections.Counter(), 0
    while True:
        sr = SmSr.copy_of(template, disks, scratch)
        sr.chain = chain
        merge = Merge(CASES[name], sr, template)
        with StoppedProgram(sr.command(*verb), changes, name) as program:
            if not program.stopped:
                break
            if changes % 2 == 0 or not os.path.exists(merge.leaf):
                look(merge, program.what, counts)
                program.go_on().require_status(*ENDS)
            else:
                read_beside(merge, program, content, changes % 4 == 1, program.what, counts)
        sr.require_finished(program.what)
        changes += 1 + rng.randrange(3)
    # A visible image is changed in passages only.
    pouring = 1 if chain.layers[CASES[name][2]].hidden else 0
    require(counts["counted"] >= 3 and counts["while pouring"] >= pouring, f"{name}: too little was seen: {counts}")
    return counts


def before():
    oracles.binary()
    crash_case.require_faulty_build(seeded_runner.scratch_root())


if __name__ == "__main__":
    seeded_runner.main(case, description=__doc__.splitlines()[0], count=len(CASES), before=before)
