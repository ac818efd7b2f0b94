"""A volume group of a thick SR on disks of the VM: LVs are defined and filled in one go, and LVM itself says what there is.

LVM's commands take a third of a second each in the VM, so that LVs are not made one by one: all of them are written into the
group's metadata at once (vgcfgrestore), in random places, and filled through their PVs while nothing is active.
"""

import contextlib
import fcntl
import json
import os
import subprocess
from dataclasses import dataclass, field

from thick_sizes import EXTENT

BLKFLSBUF = 0x1261
ID_PIECES = (6, 4, 4, 4, 4, 4, 6)
ID_CHARACTERS = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
FILLER = "filler"
REFCOUNTS = "/var/run/sm/refcount"


class CommandFailed(Exception):
    pass


def run(*argv):
    done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120, check=False)
    if done.returncode:
        raise CommandFailed(f"{' '.join(argv)}: status {done.returncode}: {done.stderr.strip()}")
    return done.stdout


def rows(command, fields, *argv):
    """What a report command says, as dictionaries of texts."""
    kind = {"lvs": "lv", "vgs": "vg", "pvs": "pv"}[command]
    text = run(command, "--reportformat", "json", "--units", "b", "--nosuffix", "-o", fields, *argv)
    return json.loads(text)["report"][0][kind]


def mapper_name(group, lv):
    return group.replace("-", "--") + "-" + lv.replace("-", "--")


@dataclass
class Volume:
    name: str
    extents: int
    tags: tuple = ()
    writable: bool = True
    pieces: list = field(default_factory=list)  # (PV, its first extent, number of extents)


@dataclass
class Lv:
    """As LVM reports it; `id` survives renaming."""
    name: str
    id: str
    size: int
    tags: frozenset
    writable: bool
    active: bool


class VolumeGroup:
    def __init__(self, sr, disks=("/dev/vmdisk0", "/dev/vmdisk1")):
        self.sr, self.name, self.disks = sr, "VG_XenStorage-" + sr, disks

    def create(self):
        """In place of whatever group was on these disks, whose bytes stay."""
        for row in rows("vgs", "vg_name"):
            run("vgremove", "-ff", "-y", "-q", "-q", row["vg_name"])
        run("vgcreate", "-q", "--metadatasize", "10M", self.name, *self.disks)
        found = sorted(rows("pvs", "pv_name,pe_start,pv_pe_count"), key=lambda row: row["pv_name"])
        self.starts = [int(row["pe_start"]) for row in found]
        self.capacity = [int(row["pv_pe_count"]) for row in found]

    # Contents

    def define(self, volumes, rng, leave_free=None):
        """Gives the empty group these LVs; each in one piece, or in several where the dice say so.

        `leave_free`: the number of extents that stay free; the LV FILLER takes all others.
        """
        volumes = self.placed(volumes, rng, leave_free)
        path = "/run/volume-group"
        run("vgcfgbackup", "-q", "-f", path, self.name)
        with open(path, encoding="utf-8") as file:
            text = file.read()
        end = text.rindex("\n}")
        texts = "".join(described(volume, rng) for volume in volumes)
        with open(path, "w", encoding="utf-8") as file:
            file.write(f"{text[:end]}\nlogical_volumes {{\n{texts}}}\n{text[end:]}")
        run("vgcfgrestore", "-q", "-f", path, self.name)

    def placed(self, volumes, rng, leave_free=None):
        """The volumes with their places, and the filler, if there is one."""
        free = self._place(volumes, rng)
        return volumes if leave_free is None else volumes + [self._filler(free, leave_free)]

    def _place(self, volumes, rng):
        """Returns what stays free: [[first extent, behind the last one]] of each PV."""
        free = [[[0, count]] for count in self.capacity]
        wanted = []
        for volume in volumes:
            volume.pieces, left = [], volume.extents
            while left:
                count = left if rng.random() < 0.7 else rng.randrange(1, left + 1)
                wanted.append((volume, count))
                left -= count
        for volume, count in rng.sample(wanted, len(wanted)):
            pv = rng.randrange(len(free))
            if free[pv][-1][1] - free[pv][-1][0] < count + 2:
                pv = max(range(len(free)), key=lambda other: free[other][-1][1] - free[other][-1][0])
            last = free[pv][-1]
            gap = rng.randrange(3) if rng.random() < 0.3 else 0
            volume.pieces.append((pv, last[0] + gap, count))
            free[pv][-1:] = [[last[0], last[0] + gap]] * (gap > 0) + [[last[0] + gap + count, last[1]]]
        return free

    def _filler(self, free, leave_free):
        filler = Volume(FILLER, 0)
        for pv, stretches in enumerate(free):
            for first, end in stretches:
                left = min(leave_free, end - first)
                leave_free -= left
                if first + left < end:
                    filler.pieces.append((pv, first + left, end - first - left))
        filler.extents = sum(count for _, _, count in filler.pieces)
        return filler

    @contextlib.contextmanager
    def opened(self):
        """The PVs, to write(); nothing may be active."""
        self.files = [os.open(disk, os.O_RDWR | os.O_CLOEXEC) for disk in self.disks]
        try:
            yield self
            for file in self.files:
                os.fsync(file)
                fcntl.ioctl(file, BLKFLSBUF)
        finally:
            for file in self.files:
                os.close(file)

    def write(self, volume, offset, data):
        """Inside opened()."""
        before = 0
        for pv, first, count in volume.pieces:
            low, high = max(offset, before), min(offset + len(data), before + count * EXTENT)
            if low < high:
                place = self.starts[pv] + first * EXTENT + low - before
                os.pwrite(self.files[pv], data[low - offset : high - offset], place)
            before += count * EXTENT
        if offset + len(data) > before:
            raise ValueError(f"{volume.name}: {len(data)} bytes at {offset} do not fit into {before}")

    # What LVM says

    def lvs(self):
        """{name: Lv}"""
        found = {}
        for row in rows("lvs", "lv_name,lv_uuid,lv_size,lv_tags,lv_attr,lv_active", self.name):
            tags = frozenset(row["lv_tags"].split(",")) - {""}
            found[row["lv_name"]] = Lv(row["lv_name"], row["lv_uuid"], int(row["lv_size"]), tags,
                                       row["lv_attr"][1] == "w", row["lv_active"] != "")
        return found

    def figures(self):
        """(sequence number, free extents, extents)"""
        row = rows("vgs", "vg_seqno,vg_free_count,vg_extent_count", self.name)[0]
        return int(row["vg_seqno"]), int(row["vg_free_count"]), int(row["vg_extent_count"])

    def sequence_number(self):
        return self.figures()[0]

    def active(self):
        """{LV name} by the devices that there are, whoever made them."""
        prefix = self.name.replace("-", "--") + "-"
        return {name[len(prefix) :].replace("--", "-") for name in os.listdir("/dev/mapper") if name.startswith(prefix)} | {
            f"left behind: {name}" for name in run("dmsetup", "info", "-c", "--noheadings", "-o", "name").split()
            if name.startswith(prefix) and not os.path.exists("/dev/mapper/" + name)}

    def refcounts(self):
        """{uuid: text}"""
        directory, found = f"{REFCOUNTS}/lvm-{self.sr}", {}
        for name in os.listdir(directory) if os.path.isdir(directory) else ():
            with open(os.path.join(directory, name), encoding="utf-8") as file:
                found[name] = file.read()
        return found

    def path(self, lv):
        return f"/dev/{self.name}/{lv}"

    @contextlib.contextmanager
    def activated(self, names):
        """Those that are not active yet, until the end."""
        names = [f"{self.name}/{name}" for name in sorted(set(names) - self.active())]
        if names:
            run("lvchange", "-ay", *names)
        try:
            yield
        except BaseException:
            # A reader that has failed may have something open; what it found says more than that.
            with contextlib.suppress(CommandFailed):
                self._deactivate(names)
            raise
        self._deactivate(names)

    def _deactivate(self, names):
        if names:
            run("lvchange", "-an", *names)


def random_id(rng):
    digits = "".join(rng.choice(ID_CHARACTERS) for _ in range(32))
    pieces, at = [], 0
    for length in ID_PIECES:
        pieces.append(digits[at : at + length])
        at += length
    return "-".join(pieces)


def described(volume, rng):
    """As vgcfgbackup(8) has it."""
    status = ["READ", *(["WRITE"] if volume.writable else []), "VISIBLE"]
    text = (f'{volume.name} {{\nid = "{random_id(rng)}"\nstatus = {json.dumps(status)}\nflags = []\n'
            f"tags = {json.dumps(volume.tags)}\nsegment_count = {len(volume.pieces)}\n")
    start = 0
    for number, (pv, first, count) in enumerate(volume.pieces, 1):
        text += (f'segment{number} {{\nstart_extent = {start}\nextent_count = {count}\ntype = "striped"\nstripe_count = 1\n'
                 f'stripes = ["pv{pv}", {first}]\n}}\n')
        start += count
    return text + "}\n"
