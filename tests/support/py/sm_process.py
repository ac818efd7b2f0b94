#!/usr/bin/python3
"""The storage manager on one file SR with QCOW2 disks, as a process of its own: it attaches, writes, detaches, makes snapshots, deletes
and asks the collector to end, under its own locks and in its own order.

    sm_process.py SR ROOT EXPECTED SEED ACTIONS

ROOT stands for /. Says "ready" when it has taken down what the disks hold; before, nobody else may work on them. What every disk has to
hold in the end is written to EXPECTED, as raw files, and a line of JSON tells how often it did what, and how often beside a merge.
Whatever keeps it waiting for longer than the storage manager waits, and every command that fails, ends it with status 1.
"""

import collections
import contextlib
import fcntl
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

LIMIT = 60  # seconds; an abort may take that long, a handshake has no limit
SECTOR = 512
MERGE_COMES = 0.3  # seconds
DEEPEST = 30  # images of a chain


class Late(Exception):
    """Something has kept the storage manager waiting for too long."""


def wait_until(condition, what):
    """Looks again and again, as the storage manager does."""
    deadline, pause = time.monotonic() + LIMIT, threading.Event()
    while not condition():
        if time.monotonic() > deadline:
            raise Late(what)
        pause.wait(0.01)


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
        self.sr, self.name, self.rng = sr, os.path.basename(sr), random.Random(f"sm {seed}")
        self.locks = os.path.join(root, "var/lock/sm")
        self.flags = os.path.join(root, "var/run/sm/ipc", self.name)
        self.run_files = os.path.join(root, "run/nonpersistent/sm", self.name)
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

    def lock_file(self, space, name):
        directory = os.path.join(self.locks, space)
        os.makedirs(directory, exist_ok=True)
        return open(os.path.join(directory, name), "w+", encoding="ascii")

    @contextlib.contextmanager
    def locked(self, space, name):
        with self.lock_file(space, name) as file:
            # Waits in the kernel; who watches over this process ends it when it never comes.
            fcntl.lockf(file, fcntl.LOCK_EX)
            yield

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
            if not os.path.exists(os.path.join(self.sr, "coalesce_" + image)):
                continue
            file = os.path.join(self.run_files, "gc_running_" + image)
            os.makedirs(self.run_files, exist_ok=True)
            with open(file, "w", encoding="ascii"):
                pass
            wait_until(lambda place=file: not os.path.exists(place), f"the merge of {image} does not end")
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
        if disk not in self.guests:
            return
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
        if disk in self.guests:
            return
        with self.locked(self.name, "sr"):
            pass  # attaching alone; activating does not hold it
        with self.locked(disk, "vdi"):
            self.cancel_merges(disk)
            self.open(disk)

    def detach(self, disk):
        if disk not in self.guests:
            return
        with self.locked(disk, "vdi"):
            self.close(disk)

    def write(self, disk):
        if disk not in self.guests:
            return
        data = self.rng.randbytes(SECTOR * self.rng.randrange(1, 200))
        offset = SECTOR * self.rng.randrange((len(self.bytes[disk]) - len(data)) // SECTOR)
        self.guests[disk].write(offset, data)
        self.bytes[disk][offset : offset + len(data)] = data

    def snapshot(self, disk):
        """An attached disk is paused meanwhile. A copy of the disk becomes visible beside it, or only a hidden base is left."""
        with self.locked(self.name, "sr"):
            paused = disk in self.guests
            if paused:
                with self.locked(disk, "vdi"):
                    self.close(disk)
            # Without -U: fails on what anybody says to write.
            depth = tool("qemu-img", "info", "--backing-chain", "--output=json", self.path(disk)).count('"backing-filename"') + 1
            if depth < DEEPEST:
                base = str(uuid.UUID(int=self.rng.getrandbits(128), version=4))
                os.link(self.path(disk), self.path(base))
                self.child(base, self.path(disk))
                if self.rng.random() < 0.5:
                    copy = str(uuid.UUID(int=self.rng.getrandbits(128), version=4))
                    self.child(base, self.path(copy))
                    self.bytes[copy] = bytearray(self.bytes[disk])
                stock_collector.set_hidden(self.path(base), True)
            if paused:
                with self.locked(disk, "vdi"):
                    self.open(disk)

    def child(self, base, path):
        tool("qemu-img", "create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", base + ".qcow2", path + ".new")
        qemu_maker.set_hidden(path + ".new", False)
        os.rename(path + ".new", path)

    def delete(self, disk):
        if disk in self.guests or len(self.bytes) < 2:
            return
        with self.locked(self.name, "sr"):
            if self.rng.random() < 0.5:
                os.unlink(self.path(disk))
            else:
                stock_collector.set_hidden(self.path(disk), True)
            del self.bytes[disk]

    def abort(self, _):
        """Until the collector is proven to be gone."""
        flag = os.path.join(self.flags, "abort")

        def gone():
            with self.lock_file(self.name, "gc_active") as file:
                try:
                    fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    return False
            return True
        if gone():
            return
        os.makedirs(self.flags, exist_ok=True)
        with open(flag, "w", encoding="ascii") as file:
            file.write(f"{os.getpid()}\n")
        try:
            wait_until(gone, "the collector does not end")
        finally:
            os.unlink(flag)

    def wait_for_merge(self):
        """Until one is somewhere on its way. There may be nothing left to merge."""
        deadline, pause = time.monotonic() + MERGE_COMES, threading.Event()
        while not self.merges() and time.monotonic() < deadline:
            pause.wait(0.002)
        if self.merges():
            pause.wait(self.rng.uniform(0, 0.05))

    def merges(self):
        return any(name.startswith("coalesce_") for name in os.listdir(self.sr))

    def act(self):
        if self.rng.random() < 0.7:
            self.wait_for_merge()
        disk = self.rng.choice(sorted(self.bytes))
        action = self.rng.choice(2 * [self.attach, self.write, self.read, self.detach, self.snapshot] + [self.detach, self.delete, self.abort])
        beside = " beside a merge" if self.merges() else ""
        print(f"{action.__name__} {disk}{beside}", file=sys.stderr, flush=True)
        self.counts[action.__name__ + beside] += 1
        action(disk)


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
    print(json.dumps(manager.counts), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
