#!/usr/bin/python3
"""The storage manager on one file SR with QCOW2 disks, as a process of its own: it attaches, writes, detaches, makes snapshots, deletes,
attaches the SR anew and asks the collector to end, under its own locks and in its own order.

    sm_process.py SR ROOT EXPECTED SEED ACTIONS

ROOT stands for /. Says "ready" when it has taken down what the disks hold; before, nobody else may work on them. What every disk has to
hold in the end is written to EXPECTED, as raw files, and a line of JSON tells how often it did what, how often beside a merge, and how
long it had to wait. An action that finds nothing to do does not count as one of ACTIONS.
Whatever keeps it waiting for longer than the storage manager waits, and every command that fails, ends it with status 1.
"""

import collections
import json
import os
import random
import shutil
import subprocess
import sys
import threading
import time
import uuid

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import qemu_maker  # noqa: E402
import stock_collector  # noqa: E402
from nbd_reader import NbdGuest  # noqa: E402
from qcow2_reader import Qcow2Layer  # noqa: E402
from sm_locks import LIMIT, SmLocks, tell  # noqa: E402

SECTOR = 512
MERGE_COMES = 0.3  # seconds
DEEPEST = 30  # images of a chain
FEWEST, MOST = 2, 12  # disks


def tool(*argv):
    done = subprocess.run(argv, capture_output=True, text=True, timeout=LIMIT)
    if done.returncode:
        raise AssertionError(f"{' '.join(argv)}: {done.stderr}")
    return done.stdout


def state(path):
    """Of the file: which it is, and when its bytes last changed."""
    try:
        status = os.stat(path)
    except FileNotFoundError:
        return None
    return status.st_ino, status.st_size, status.st_mtime_ns


class StorageManager:
    def __init__(self, sr, root, seed):
        self.sr, self.rng = sr, random.Random(f"sm {seed}")
        self.host = SmLocks(root, os.path.basename(sr))
        self.guests, self.opened, self.bytes, self.counts = {}, {}, {}, collections.Counter()
        for file in os.listdir(sr):
            layer = Qcow2Layer(os.path.join(sr, file))
            if not layer.hidden:
                self.bytes[file.split(".")[0]] = None
            layer.close()
        for disk in self.bytes:
            self.bytes[disk] = bytearray(self.content(disk))

    def path(self, disk):
        return os.path.join(self.sr, disk + ".qcow2")

    def content(self, disk):
        output = os.path.join(os.path.dirname(self.sr), f"sm-{disk}")
        tool("qemu-img", "convert", "-O", "raw", self.path(disk), output)
        with open(output, "rb") as file:
            data = file.read()
        os.unlink(output)
        return data

    def ancestors(self, disk):
        found, names = [], [disk + ".qcow2"]
        while names:
            file = os.path.basename(names[0])
            found.append(file.split(".")[0])
            layer = Qcow2Layer(os.path.join(self.sr, file))
            names = layer.parent_names
            layer.close()
        return found

    def cancel_merges(self, disk):
        """Before tapdisk opens a chain: the merges in it are asked to end, and waited for."""
        for image in self.ancestors(disk):
            if os.path.exists(os.path.join(self.sr, "coalesce_" + image)):
                self.host.end_merge(image)
                self.counts["merges ended"] += 1

    def open(self, disk):
        """tapdisk. Not every one takes image locks."""
        chain = [self.path(image) for image in self.ancestors(disk)]
        self.guests[disk] = NbdGuest(chain, os.path.dirname(self.sr), locks=self.rng.random() < 0.5)
        self.opened[disk] = {path: state(path) for path in chain[1:]}

    def require_untouched(self, disk):
        """What a guest has open, nobody writes to, renames or deletes."""
        for path, opened in self.opened[disk].items():
            now = state(path)
            if now != opened:
                raise AssertionError(f"{path} was changed below the open disk {disk}: {opened}, {now}")

    def read(self, disk):
        """Some of it: what the guest has not looked at yet, it does not remember."""
        length = 4 * SECTOR * self.rng.randrange(1, 64)
        offset = SECTOR * self.rng.randrange((len(self.bytes[disk]) - length) // SECTOR)
        if self.guests[disk].read(offset, length) != self.bytes[disk][offset : offset + length]:
            raise AssertionError(f"{disk} reads differently at {offset}, {length} bytes")

    def close(self, disk):
        self.require_untouched(disk)
        guest = self.guests.pop(disk)
        try:
            if guest.read_all() != self.bytes[disk]:
                raise AssertionError(f"{disk} reads differently from what was written")
        finally:
            guest.close()

    def attach(self, disk):
        with self.host.sr_held():
            pass  # attaching alone; activating does not hold it
        with self.host.held(disk, "vdi"):
            if self.rng.random() < 0.3:
                self.host.try_sr()
            self.cancel_merges(disk)
            self.open(disk)

    def detach(self, disk):
        with self.host.held(disk, "vdi"):
            self.close(disk)

    def write(self, disk):
        data = self.rng.randbytes(SECTOR * self.rng.randrange(1, 200))
        offset = SECTOR * self.rng.randrange((len(self.bytes[disk]) - len(data)) // SECTOR)
        self.guests[disk].write(offset, data)
        self.bytes[disk][offset : offset + len(data)] = data

    def snapshot(self, disk):
        """An attached disk is paused meanwhile. A copy of the disk becomes visible beside it, or only a hidden base is left."""
        self.make_snapshot(disk, len(self.bytes) < MOST and self.rng.random() < 0.5)

    def make_snapshot(self, disk, copied):
        """The copy, where one is wanted and the chain is not too long for it."""
        copy = None
        with self.host.sr_held():
            paused = disk in self.guests
            if paused:
                with self.host.held(disk, "vdi"):
                    self.close(disk)
            # Without -U: fails on what anybody says to write.
            depth = tool("qemu-img", "info", "--backing-chain", "--output=json", self.path(disk)).count('"backing-filename"') + 1
            if depth < DEEPEST:
                base = str(uuid.UUID(int=self.rng.getrandbits(128), version=4))
                os.link(self.path(disk), self.path(base))
                self.child(base, self.path(disk))
                if copied:
                    copy = str(uuid.UUID(int=self.rng.getrandbits(128), version=4))
                    self.child(base, self.path(copy))
                    self.bytes[copy] = bytearray(self.bytes[disk])
                stock_collector.set_hidden(self.path(base), True)
            if paused:
                with self.host.held(disk, "vdi"):
                    self.open(disk)
        return copy

    def child(self, base, path):
        tool("qemu-img", "create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", base + ".qcow2", path + ".new")
        qemu_maker.set_hidden(path + ".new", False)
        os.rename(path + ".new", path)

    def delete(self, disk):
        with self.host.sr_held():
            if self.rng.random() < 0.5:
                os.unlink(self.path(disk))
            else:
                stock_collector.set_hidden(self.path(disk), True)
            del self.bytes[disk]
            self.host.forget(disk)

    def abort(self, _):
        with self.host.collector_ended():
            pass

    def attach_sr(self, _):
        """What a reset before it does: no collector may be in the middle of its work."""
        with self.host.collector_ended(), self.host.held(self.host.sr, "running"), self.host.sr_held():
            pass

    def wait_for_merge(self):
        """Until one is somewhere on its way. There may be nothing left to merge."""
        if self.merges():
            return
        tell("waits for a merge")
        deadline, pause = time.monotonic() + MERGE_COMES, threading.Event()
        while not self.merges() and time.monotonic() < deadline:
            pause.wait(0.002)
        tell("goes on")

    def merges(self):
        return {name.split("_")[1] for name in os.listdir(self.sr) if name.startswith("coalesce_")}

    def some(self, disks):
        """More often than not one whose chain is worked on."""
        merged = self.merges()
        if merged and self.rng.random() < 0.6:
            disks = [disk for disk in disks if disk and merged & set(self.ancestors(disk))] or disks
        return self.rng.choice(disks)

    def possible(self):
        """What there is to be done, {action: disks}."""
        running = sorted(self.guests)
        resting = sorted(self.bytes.keys() - self.guests.keys())
        may_run = resting if 3 * len(running) < len(self.bytes) else []  # nothing is merged below one that runs
        collector = [None] if self.host.collector_works() else []
        return {self.attach: may_run, self.write: running, self.read: running, self.detach: running, self.snapshot: sorted(self.bytes),
                self.delete: resting if len(self.bytes) > FEWEST else [], self.abort: collector, self.attach_sr: collector}

    def act(self):
        if self.rng.random() < 0.3:
            self.wait_for_merge()
        possible = {action: disks for action, disks in self.possible().items() if disks}
        weights = [WEIGHTS[action.__name__] for action in possible]
        action, = self.rng.choices(list(possible), weights)
        disk = self.some(possible[action])
        beside = " beside a merge" if self.merges() else ""
        tell(f"{action.__name__} {disk or ''}{beside}")
        self.counts[action.__name__ + beside] += 1
        action(disk)


WEIGHTS = {"attach": 5, "write": 2, "read": 1, "detach": 5, "snapshot": 5, "delete": 2, "abort": 1, "attach_sr": 1}


def main(sr, root, expected, seed, actions):
    manager = StorageManager(sr, root, seed)
    print("ready", flush=True)
    try:
        for _ in range(int(actions)):
            manager.act()
        for disk in list(manager.guests):
            manager.detach(disk)
    finally:
        for guest in manager.guests.values():
            guest.close()
    shutil.rmtree(expected, ignore_errors=True)
    os.makedirs(expected)
    for disk, content in manager.bytes.items():
        with open(os.path.join(expected, disk + ".raw"), "wb") as file:
            file.write(content)
    print(json.dumps(manager.counts | manager.host.longest), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
