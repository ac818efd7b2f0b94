#!/usr/bin/python3
"""What a merge costs beside what the storage and others need for the same bytes.

    merge_bench.py [--size MIB] [--repeat 5] [--cold] [--only WORD] [--keep DIR]     COPPICE_BINARY names the program

For each case and run, one after the other on the same file system: a plain copy of the child's bytes with fdatasync (the limit), the
peer, and the program; each on copies made for it. The peer is `qemu-img commit`; of VHDs, VHD_UTIL where that names a vhd-util. Prints
a Markdown table of medians. Caches are warm, or with --cold (root) dropped before each run.
"""

import argparse
import os
import random
import shutil
import statistics
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

KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30


class Case:
    """Two images: `pieces` are (offset, length) of what the child holds, `full` whether the parent has data below them."""

    def __init__(self, name, kind, pieces, *, full=False, disk=None, cluster=None):
        self.name, self.kind, self.pieces, self.full, self.cluster = name, kind, pieces, full, cluster
        self.disk = disk or max(offset + length for offset, length in pieces)
        self.bytes = sum(length for _, length in pieces)

    def build(self, directory, rng):
        parent, child = (f"{uuid.UUID(int=rng.getrandbits(128), version=4)}.{self.kind}" for _ in range(2))
        getattr(self, "_build_" + self.kind)(directory, parent, child, rng)
        return parent, child

    def _parent_pieces(self):
        return [(0, self.disk)] if self.full else []

    def _build_vhd(self, directory, parent, child, rng):
        base = vhd_writer.VhdWriter(self.disk, rng=rng, hidden=True)
        top = vhd_writer.VhdWriter(self.disk, rng=rng, parent=vhd_writer.Parent(parent, base.uuid))
        for disk, name, pieces in ((base, parent, self._parent_pieces()), (top, child, self.pieces)):
            for offset, length in pieces:
                for at in range(offset, offset + length, MIB):
                    disk.write(at, rng.randbytes(min(MIB, offset + length - at)))
            disk.save(os.path.join(directory, name), shuffle=False)

    def _build_qcow2(self, directory, parent, child, rng):
        options = ["-o", f"cluster_size={self.cluster}"] if self.cluster else []
        for name, below, pieces in ((parent, None, self._parent_pieces()), (child, parent, self.pieces)):
            path = os.path.join(directory, name)
            backing = ["-b", below, "-F", "qcow2"] if below else []
            qemu_maker.run("qemu-img", "create", "-q", "-f", "qcow2", *options, *backing, path, str(self.disk))
            lines = [f"write -q -P {rng.randrange(1, 256)} {at} {min(8 * MIB, offset + length - at)}"
                     for offset, length in pieces for at in range(offset, offset + length, 8 * MIB)]
            if lines:
                qemu_maker.run("qemu-io", "-f", "qcow2", path, text_in="\n".join(lines) + "\n")
        qemu_maker.set_hidden(os.path.join(directory, parent), True)


def cases(size):
    def spread(unit, space):
        return [(at * space, unit) for at in range(size // unit)]
    whole = [(0, size)]
    for kind, cluster in (("vhd", None), ("qcow2", None), ("qcow2", 2 * MIB)):
        shape = f"{kind}{' 2 MiB clusters' if cluster else ''}"
        yield Case(f"{shape}, sequential into empty", kind, whole, cluster=cluster)
        yield Case(f"{shape}, sequential into full", kind, whole, full=True, cluster=cluster)
    yield Case("qcow2, scattered 64 KiB into empty", "qcow2", spread(64 * KIB, 640 * KIB))
    yield Case("vhd, runs of 4 KiB into empty", "vhd", [(at * 8 * KIB, 4 * KIB) for at in range(size // 4 // (4 * KIB))])


class Bench:
    def __init__(self, scratch, cold):
        self.scratch, self.cold = scratch, cold

    def timed(self, argv, directory):
        """(seconds, processor seconds) of a program, whose result is on disk at the end."""
        os.sync()
        if self.cold:
            with open("/proc/sys/vm/drop_caches", "w", encoding="ascii") as file:
                file.write("3\n")
        started = time.monotonic()
        process = subprocess.Popen(argv, cwd=directory, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        trouble = process.stderr.read()
        _, status, used = os.wait4(process.pid, 0)
        seconds = time.monotonic() - started
        if os.waitstatus_to_exitcode(status) != 0:
            raise SystemExit(f"{' '.join(argv)}: {trouble.decode(errors='replace')}")
        return seconds, used.ru_utime + used.ru_stime

    def on_copy(self, template, argv):
        """`argv`, with the directory in place of None, on a copy of the images."""
        sr = os.path.join(self.scratch, str(uuid.uuid4()))
        shutil.rmtree(sr, ignore_errors=True)
        subprocess.run(["cp", "-r", "--sparse=always", "--reflink=never", template, sr], check=True)
        try:
            return self.timed([word or sr for word in argv], sr)
        finally:
            shutil.rmtree(sr)

    def limit(self, size):
        source, target = (os.path.join(self.scratch, name) for name in ("bytes", "copy"))
        if not os.path.exists(source) or os.path.getsize(source) != size:
            with open(source, "wb") as file:
                for at in range(0, size, MIB):
                    file.write(random.randbytes(min(MIB, size - at)))
        try:
            return self.timed(["dd", f"if={source}", f"of={target}", "bs=4M", "conv=fdatasync", "status=none"], self.scratch)
        finally:
            os.unlink(target)

    def ours(self, template):
        state = os.path.join(self.scratch, "state")
        try:
            return self.on_copy(template, [oracles.binary(), "coalesce", None, "--leaf", "--direction", "down", "--xapi", "none",
                                           "--state-dir", state, "--run-dir", os.path.join(self.scratch, "run"), "--exclusive"])
        finally:
            shutil.rmtree(state, ignore_errors=True)

    def peer(self, case, template, child):
        if case.kind == "qcow2":
            return self.on_copy(template, ["qemu-img", "commit", "-q", "-d", child])
        if os.environ.get("VHD_UTIL"):
            return self.on_copy(template, [os.environ["VHD_UTIL"], "coalesce", "-n", child])
        return None

    def row(self, case, rng, repeat):
        template = os.path.join(self.scratch, "template")
        os.mkdir(template)
        _, child = case.build(template, rng)
        runs = {"limit": [], "peer": [], "ours": []}
        for _ in range(repeat):
            runs["limit"].append(self.limit(case.bytes))
            runs["peer"].append(self.peer(case, template, child))
            runs["ours"].append(self.ours(template))
        shutil.rmtree(template)

        def median(who, what):
            return statistics.median(run[what] for run in runs[who]) if runs[who][0] else None

        def figure(value, digits=2):
            return "not measured" if value is None else f"{value:.{digits}f}"
        limit, peer, ours = (median(who, 0) for who in runs)
        print(f"| {case.name}, {case.bytes // MIB} MiB | {figure(limit)} | {figure(peer)} | {figure(ours)} | {figure(ours / limit)} | "
              f"{figure(peer and ours / peer)} | {figure(median('peer', 1))} | {figure(median('ours', 1))} |", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument("--size", type=int, default=512, help="MiB in the child")
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--cold", action="store_true")
    parser.add_argument("--only", default="", help="cases whose name has this in it")
    parser.add_argument("--keep", default=None, help="directory to work in, on the file system to be measured")
    options = parser.parse_args()
    scratch = tempfile.mkdtemp(prefix="coppice-merge-bench-", dir=options.keep or "/var/tmp")
    try:
        bench = Bench(scratch, options.cold)
        print("| case | copy, s | peer, s | ours, s | ours/copy | ours/peer | CPU of peer, s | CPU of ours, s |")
        print("| --- " * 8 + "|")
        for case in cases(options.size * MIB):
            if options.only in case.name:
                bench.row(case, random.Random(case.name), options.repeat)
    finally:
        shutil.rmtree(scratch)


if __name__ == "__main__":
    sys.exit(main())
