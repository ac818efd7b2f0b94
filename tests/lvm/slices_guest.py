"""In a VM: runs the program on one slice of the disk after the other, each time as after a boot.

    slices_guest.py FILE        a line of JSON for each job, see slices.py

The file: `jobs`; `seconds`, after which none is begun. A job: `number`; `group`; `pvs` and `state`, [offset, size] on /dev/vmdisk0
(without `state`, an empty journal in memory); `verbs`, what is to be done, one after the other: verbs of the program, and act()'s
own; `verbs_after_cut`, the same in a second boot; `log` [offset, size] on /dev/vmdisk1, where what is written is recorded
(dm-log-writes); `ask_lvm`, whether to tell what LVM says of the group.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import time
import traceback

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "support", "py"))
sys.path.insert(0, HERE)
import oracles  # noqa: E402
import volume_group  # noqa: E402
from sm_snapshots import NoSpace, SmSnapshots  # noqa: E402
from thick_sizes import EXTENT  # noqa: E402
from volume_group import run  # noqa: E402

PLACE = "/run/coppice-test"
SECTOR = 512
LOGGED = "logged"  # the device whose writes are recorded


class Slices:
    """Devices, gone again at the end."""

    def __init__(self, job):
        self.job, self.made = job, []

    def __enter__(self):
        below, job = "/dev/vmdisk0", self.job
        if "log" in job:
            run("modprobe", "dm-log-writes")
            log = self._linear("log", "/dev/vmdisk1", job["log"])
            size = int(run("blockdev", "--getsz", below))
            below = self._make(LOGGED, f"0 {size} log-writes {below} {log}")
        self.pvs = [self._linear(f"pv{number}", below, pv) for number, pv in enumerate(job["pvs"])]
        if "state" in job:
            self._mount(self._linear("state", below, job["state"]))
        return self

    def _make(self, name, table):
        run("dmsetup", "create", name, "--table", table)
        self.made.append(name)
        return "/dev/mapper/" + name

    def _linear(self, name, disk, stretch):
        return self._make(name, f"0 {stretch[1] // SECTOR} linear {disk} {stretch[0] // SECTOR}")

    def _mount(self, device):
        """Without barriers: what flushes the disk is what flushes the volumes, and the journal is on a disk without a cache."""
        os.makedirs(PLACE, exist_ok=True)
        run("mount", "-t", "ext4", "-o", "nobarrier", device, PLACE)

    def mark(self, text):
        run("dd", "if=/dev/null", f"of=/dev/mapper/{LOGGED}", "conv=fsync,notrunc", "status=none")
        run("dmsetup", "message", LOGGED, "0", "mark", text)

    def __exit__(self, *_):
        if os.path.ismount(PLACE):
            run("umount", PLACE)
        for name in reversed(self.made):
            run("dmsetup", "remove", "--retry", name)


def forget_boot():
    for directory in (PLACE, "/run/coppice-run", volume_group.REFCOUNTS):
        shutil.rmtree(directory, ignore_errors=True)


def act(group, verb, words, options, before):
    if verb == "take-snapshots":
        return take_snapshots(group, words)
    if verb == "leave-lacking":
        return leave(group, extents_lacking(before[-1]) or 0)
    if verb == "leave-planned":
        return leave(group, needed_by(before[-1]["steps"]) - group.figures()[1])
    if verb == "merge-as-told":
        verb, words = "coalesce", ["--leaf", *before[-1]["snapshot"]["coalesces"]]
        if len(words) == 1:
            return {}
    return oracles.coppice_json(verb, "vg:" + group.name, *words, *options, ok=(0, 7))


def leave(group, more):
    """So many more extents free, or fewer."""
    if more:
        run("lvresize", "-f", "-q", "-l", f"{-more:+d}", f"{group.name}/{volume_group.FILLER}")
    return {}


def extents_lacking(outcome):
    """As the program says it of what waits for space; None where nothing does."""
    texts = [entry["text"] for entry in outcome["skipped"] if entry["reason"] == "no-space"]
    return min((int(re.search(r"lacks ([0-9]+) extents", text)[1]) for text in texts), default=None)


def needed_by(steps):
    """Extents that are free before the first of them, so that each has what it needs."""
    least = freed = 0
    for step in steps:
        least = max(least, step["space_needed"] // EXTENT - freed)
        freed += step["space_freed"] // EXTENT
    return least


def take_snapshots(group, vdis):
    """One after the other, up to the first that is refused."""
    taken, refused = [], None
    for vdi in vdis:
        try:
            SmSnapshots(group).take(vdi)
            taken.append(vdi)
        except NoSpace:
            refused = vdi
            break
    return {"taken": taken, "refused": refused}


def do(job):
    group = volume_group.VolumeGroup(job["group"].removeprefix("VG_XenStorage-"))
    options = ["--state-dir", f"{PLACE}/state", "--run-dir", "/run/coppice-run", "--xapi", "none"]
    told = {"results": []}
    with Slices(job) as slices:
        if "log" in job:
            slices.mark("start")
        try:
            for verb, *words in job["verbs_after_cut" if os.environ["VM_BOOT"] == "2" else "verbs"]:
                told["results"].append(act(group, verb, words, options, told["results"]))
        finally:
            told["active"], told["refcounts"] = sorted(group.active()), group.refcounts()
            if told["active"]:
                run("vgchange", "-an", group.name)
        if "log" in job:
            slices.mark("end")
        if job.get("ask_lvm"):
            run("vgck", group.name)
            told["lvs"] = {name: [lv.id, lv.size, sorted(lv.tags), lv.writable] for name, lv in group.lvs().items()}
            told["figures"] = group.figures()
    return told


def main(path):
    with open(path, encoding="utf-8") as file:
        task = json.load(file)
    begin = time.monotonic()
    for job in task["jobs"]:
        started = time.monotonic()
        if started - begin > task["seconds"]:
            break
        forget_boot()
        try:
            told = do(job)
        except Exception:  # every kind of failure is a finding, told where it is known what the job was
            told = {"trouble": traceback.format_exc()}
        print(json.dumps({"number": job["number"], "boot": os.environ["VM_BOOT"],
                          "seconds": time.monotonic() - started, **told}), flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
