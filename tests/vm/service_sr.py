"""The SR of the service tests: on a disk of the VM, with work that takes seconds at the rate that the tests set."""

import json
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support", "py"))
import sr_state  # noqa: E402
import vhd_writer  # noqa: E402
from guest_units import prop, run, wait_until, write  # noqa: E402

MIB = 1 << 20
SR = "6a2d4f10-8c1e-4b57-9d3a-5e0f7c1b2a94"
MOUNT = f"/run/sr-mount/{SR}"
SERVICE = f"coppice@{SR}.service"
# As sm starts it: the instance is escaped.
COLLECTOR = "SMGC@" + SR.replace("-", r"\x2d") + ".service"
DISK, STATE_DISK = "/dev/vmdisk0", "/dev/vmdisk1"
STATE = "/var/lib/coppice"
EXPECTED = os.path.join(STATE, "expected.json")  # what the disks hold, for the second boot
PIECE = 2 * MIB
SETTINGS = "/etc/coppice/coppice.conf"
# A merge copies 32 MiB, makes that durable, and then waits until the rate allows more. Each start of the service copies once more at
# once, so that a merge lasts for as many starts; in between there is more than a minute for what must happen in its middle.
BATCH, SLOW, FAST = 32 * MIB, MIB // 2, 1 << 40


def add_merge(directory, name, batches, rng):
    """A hidden root and its leaf `name`, with so many batches to copy in either direction."""
    size = 2 * batches * BATCH
    places, parent = rng.sample(range(size // PIECE), size // PIECE), None
    for number in (1, 2):
        image = f"{name}{number}-1111-4111-8111-111111111111.vhd"
        disk = vhd_writer.VhdWriter(size, rng=rng, parent=parent, hidden=number == 1)
        # Every other place, so that nothing is covered by a newer layer and need not be copied.
        for place in sorted(places[number - 1::2]):
            disk.write(place * PIECE, rng.randbytes(4096) * (PIECE // 4096))
        disk.save(f"{directory}/{image}")
        parent = vhd_writer.Parent(image, disk.uuid)


def attach():
    """As sm does it: a directory, then the file system on it."""
    os.makedirs(MOUNT, exist_ok=True)
    run("mount", DISK, MOUNT)


def fingerprints(directory):
    return sr_state.SrState(directory).fingerprints()


def require_same(disks, what):
    sr_state.require_same_disks(disks, sr_state.SrState(MOUNT), what)


def images(directory=MOUNT):
    return sorted(file for file in os.listdir(directory) if file.endswith(".vhd"))


def coppice(verb, *options):
    return json.loads(run("coppice", verb, SR, "--json", *options))


def copied():
    """Bytes of the running merge that are done; 0 where none runs."""
    # Without a service the answer is an error object.
    operation = json.loads(run("coppice", "status", SR, "--json", may_fail=True)).get("operation")
    return operation["bytes_done"] if operation else 0


def set_rate(rate):
    """For a running service as well, which goes on at its cursor."""
    write(SETTINGS, f"rate = {rate}\n")
    if prop(SERVICE, "ActiveState") == "active":
        run("systemctl", "reload", SERVICE)


def wait_for_copying():
    wait_until(lambda: prop(SERVICE, "ActiveState") == "active" and copied() > 0, "something is copied")


def wait_for_rest(image_count):
    wait_until(lambda: len(images()) == image_count and coppice("status")["state"] == "idle", f"{image_count} images remain")


def merges():
    """Of the history, oldest first."""
    return [operation for operation in coppice("history")["operations"] if operation["op"] != "collect"]
