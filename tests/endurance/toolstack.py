"""A toolstack beside the service: makes, snapshots, clones, writes, runs and deletes disks as sm does, under sm's locks, and knows
what every disk must read like."""

import contextlib
import os
import uuid

import chain_reader
import oracles
import qemu_maker
import vhd_writer
from disk_model import Disk
from guest_writes import write_qcow2, write_vhd
from image_maker import KIB, MIB
from vhd_reader import VhdLayer

GRAIN = 4 * KIB
DEEPEST = 14


class HalfDone(Exception):
    """The service has died inside a passage: what it left is to be recovered first."""


class Toolstack:
    def __init__(self, sr, host, rng, service):
        self.sr, self.host, self.rng, self.service = sr, host, rng, service
        self.disks = {}
        self.running = {}  # uuid of a disk -> descriptors of its chain, as tapdisk has them
        self.broken = None  # (path, its first and last bytes, uuids of the disks that read through it)

    # What the rest is made of

    def new_uuid(self):
        return str(uuid.UUID(int=self.rng.getrandbits(128), version=4))

    def path(self, file):
        return os.path.join(self.sr, file)

    def chain(self, disk):
        """Paths, newest first."""
        layers = chain_reader.open_chain(self.sr, disk.file)
        for layer in layers:
            layer.close()
        return [layer.source.path for layer in layers]

    def require_whole(self, uuid=""):
        """Of this disk, or of all: only a dead service leaves these where somebody else has the lock of the VDI, or that of the SR."""
        if any(name.startswith((f"leaf_{uuid}", f"OLD_{uuid}")) for name in os.listdir(self.sr)):
            raise HalfDone

    @contextlib.contextmanager
    def sr_locked(self):
        with self.host.lock(self.host.sr, "sr"):
            self.require_whole()
            yield

    @contextlib.contextmanager
    def activating(self, disk):
        """Under the lock of the VDI, with the merges in its chain ended, as before tapdisk opens it."""
        with self.host.lock(disk.uuid, "vdi"):
            self.require_whole(disk.uuid)
            for path in self.chain(disk):
                name, kind = os.path.splitext(os.path.basename(path))
                if kind == ".qcow2" and os.path.exists(self.path(f"coalesce_{name}")):
                    self._end_merge(name)
            yield

    def _end_merge(self, name):
        file = self.host.run_file(name)
        with contextlib.suppress(FileNotFoundError):
            with open(file, "r+", encoding="ascii") as flag:
                flag.truncate(0)
        self.service.wait_until(lambda: not os.path.exists(file), f"the merge into {name} ends when asked")

    def usable(self, disk):
        return self.broken is None or disk.uuid not in self.broken[2]

    def some(self, condition=lambda disk: True):
        found = [disk for _, disk in sorted(self.disks.items()) if self.usable(disk) and condition(disk)]
        return self.rng.choice(found) if found else None

    # Disks

    def create(self, kind, size):
        disk = Disk(self.new_uuid(), kind, size)
        self._make_image(disk.file, disk, None)
        self.disks[disk.uuid] = disk
        return disk

    def _make_image(self, file, disk, parent):
        """Appears under its name when it is complete."""
        path, scratch = self.path(file), os.path.join(self.service.scratch, file)
        if disk.format == "qcow2":
            qemu_maker.create(scratch, disk.size, parent=parent, parent_format=parent and "qcow2")
            if self.rng.random() < 0.5:
                qemu_maker.set_hidden(scratch, False)
        else:
            above = None
            if parent:
                layer = VhdLayer(self.path(parent))
                above = vhd_writer.Parent(parent, layer.uuid, int(os.stat(self.path(parent)).st_mtime))
                layer.close()
            vhd_writer.VhdWriter(disk.size, rng=self.rng, parent=above).save(scratch)
        qemu_maker.run("cp", "--sparse=always", scratch, path + ".new")
        os.rename(path + ".new", path)
        os.unlink(scratch)

    def hide(self, file):
        (qemu_maker if file.endswith("qcow2") else vhd_writer).set_hidden(self.path(file), True)

    def snapshot(self, disk, *, as_snapshot=True):
        """A running one is paused meanwhile, and opens its new chain."""
        with self.sr_locked(), self.host.lock(disk.uuid, "vdi"):
            self.require_whole()
            if len(self.chain(disk)) > DEEPEST:
                return
            was_running = disk.uuid in self.running
            if was_running:
                self._close(disk)
            base = f"{self.new_uuid()}.{disk.format}"
            os.rename(self.path(disk.file), self.path(base))
            copy = disk.copy(self.new_uuid(), as_snapshot)
            self._make_image(copy.file, copy, base)
            self._make_image(disk.file, disk, base)
            self.hide(base)
            self.disks[copy.uuid] = copy
            if was_running:
                self._open(disk)

    def delete(self, disk, *, at_once):
        """Or as sm does it: hidden, for the collector."""
        with self.sr_locked(), self.host.lock(disk.uuid, "vdi"):
            self.require_whole()
            if at_once:
                os.unlink(self.path(disk.file))
            else:
                self.hide(disk.file)
            del self.disks[disk.uuid]
        self.host.forget(disk.uuid)

    # Guests

    def run_guest(self, disk):
        with self.activating(disk):
            self._open(disk)

    def _open(self, disk):
        leaf, *parents = self.chain(disk)
        self.running[disk.uuid] = [os.open(leaf, os.O_RDWR), *(os.open(path, os.O_RDONLY) for path in parents)]

    def _close(self, disk):
        for fd in self.running.pop(disk.uuid):
            os.close(fd)

    def stop_guest(self, disk):
        self._close(disk)

    def write(self, disk):
        with contextlib.ExitStack() as stack:
            if disk.uuid not in self.running:
                stack.enter_context(self.activating(disk))
            writes = list(self._writes(disk.size))
            if disk.format == "vhd":
                write_vhd(self.path(disk.file), writes)
            else:
                write_qcow2(self.chain(disk), writes)
            for offset, data in writes:
                disk.write(offset, data)

    def _writes(self, size):
        for _ in range(self.rng.randrange(1, 4)):
            length = min(size, GRAIN * self.rng.choice([1, 2, 16, 48]))
            place = self.rng.randrange((size - length) // GRAIN + 1) * GRAIN
            data = self.rng.randbytes(GRAIN) * (length // GRAIN) if self.rng.random() < 0.8 else bytes(length)
            yield place, data

    # Somebody else's faults

    def break_image(self):
        """Whether one was broken: only while no collector works, and none has begun to edit its header."""
        disk = self.some(lambda disk: disk.uuid not in self.running)
        if disk is None or self.broken:
            return
        with self.sr_locked(), self.host.lock(self.host.sr, "gc_active", wait=False) as alone:
            if not alone or self.service.half_edited():
                return
            path = self.rng.choice(self.chain(disk))
            concerned = {other.uuid for other in self.disks.values() if path in self.chain(other)}
            if concerned & self.running.keys():
                return
            with open(path, "r+b") as file:
                head = file.read(4096)
                file.seek(-512, os.SEEK_END)
                tail = (file.tell(), file.read(512))
                file.seek(0)
                file.write(self.rng.randbytes(512))
                file.seek(tail[0])
                file.write(self.rng.randbytes(512))
            self.broken = (path, (head, tail), concerned)

    def repair_image(self):
        if not self.broken:
            return
        path, (head, (place, tail)), _ = self.broken
        with self.sr_locked(), self.host.collector_ended():
            with open(path, "r+b") as file:
                file.write(head)
                file.seek(place)
                file.write(tail)
            self.broken = None

    # What is seen

    def look(self, disk):
        """By the independent reader, beside whatever goes on."""
        with contextlib.ExitStack() as stack:
            if disk.uuid not in self.running:
                stack.enter_context(self.activating(disk))
            found = chain_reader.fingerprint(self.sr, disk.file)
        if found != disk.fingerprint():
            raise oracles.Failure(f"the disk {disk.file} reads differently, chain {self.chain(disk)}")

    def close(self):
        for disk in list(self.running):
            self._close(self.disks[disk])


def random_size(rng):
    return rng.choice([MIB, 2 * MIB, 3 * MIB + 4 * KIB, 8 * MIB, 24 * MIB])
