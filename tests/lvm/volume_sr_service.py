"""The service on an SR on LVM: what it leaves behind when it is told to stop in a merge and cannot come to rest."""

import os
import signal
import subprocess
import threading
import time

import oracles
import vhd_writer
from stopped_thread import stop_thread, wait_dead
from volume_sr import VolumeSrMaker
from volume_sr_program import PLACE, Program, require
from volume_sr_settled import require_last, require_settled, require_unharmed
from volume_state import VolumeState

LOCKS = "/var/lock/sm"
RUN_FILES = "/run/nonpersistent/sm"
LOG = f"{PLACE}/service.log"
TIME = 120  # seconds
ENTRY = "coalesce_"


def make(directory, rng):
    """A merge of more bytes than the service may move in the time of a test."""
    maker = VolumeSrMaker(directory, rng, snapshots=False)
    parent = maker.chain(("vhd", True, 8 << 20), ("vhd", True))
    for _ in range(2):
        maker.image("vhd", parent.size, parent, False)
    return maker.build()


def wait_until(condition, what):
    end = time.monotonic() + TIME
    wake = threading.Event()
    while not condition():
        require(time.monotonic() < end, f"never: {what}")
        wake.wait(0.2)


def service(program, *options):
    os.makedirs(PLACE, exist_ok=True)
    with open(LOG, "w", encoding="utf-8") as log:
        return subprocess.Popen([oracles.binary(), "run", program.sr, *program.options(), *options], stderr=log,
                                stdin=subprocess.DEVNULL)


def notes(group):
    """What tells the storage manager that a merge is going on."""
    directory = f"{RUN_FILES}/{group.sr}"
    files = os.listdir(directory) if os.path.isdir(directory) else []
    return [name for name in group.lvs() if name.startswith(ENTRY)] + [name for name in files if name.startswith("gc_running_")]


def make_forked(directory, rng):
    """Nothing to do as long as both disks are there."""
    maker = VolumeSrMaker(directory, rng, snapshots=False)
    parent = maker.chain(("vhd", True, 8 << 20))
    for _ in range(2):
        maker.image("vhd", parent.size, parent, False)
    return maker.build()


def status(program):
    return oracles.coppice_json("status", program.sr, *program.options(), ok=(0, 5, 7))


def is_copying(program):
    """Then nothing is just being made active, which a kill would leave so."""
    if not os.path.exists(f"{PLACE}/run"):
        return False
    operation = status(program).get("operation")
    return operation is not None and operation["bytes_done"] > 0


def woken(sr):
    """A disk is deleted as the storage manager does it first: hidden, by way of its device. Nobody kicks."""
    group = sr.install()
    program = Program(group)
    before = VolumeState(group)
    gone, stays = before.visible()
    process = service(program, "--idle", "1d")
    try:
        wait_until(lambda: os.path.exists(f"{PLACE}/run") and status(program).get("state") == "idle", "it rests")
        require(len(group.lvs()) == 3, f"there was something to do: {sorted(group.lvs())}")
        with group.activated([gone.file]):
            vhd_writer.set_hidden(group.path(gone.file), True)
        wait_until(lambda: len(group.lvs()) == 1 and status(program)["state"] == "idle",
                   "it has seen that a disk is hidden, merged the other one, and rests")
        process.send_signal(signal.SIGTERM)
        require(process.wait(timeout=TIME) == 0, "the service did not end well")
    finally:
        if process.returncode is None:
            process.kill()
    require(not group.active(), f"active: {group.active()}")
    after = VolumeState(group, sound=True)
    require(after.fingerprints() == {stays.uuid: before.fingerprints()[stays.uuid]}, f"read {after.fingerprints()}")
    require_last(program, "after the service")
    return {"lvs": len(after.lvs)}


def stopped(sr):
    group = sr.install()
    os.makedirs(LOCKS, exist_ok=True)
    os.makedirs(RUN_FILES, exist_ok=True)
    before = VolumeState(group)
    program = Program(group)
    process = service(program, "--rate", "1")  # byte a second: behind the first batch it waits
    try:
        wait_until(lambda: is_copying(program), "a merge goes on")
        require(len(notes(group)) == 2, f"notes of a merge: {notes(group)}")
        others = [int(tid) for tid in os.listdir(f"/proc/{process.pid}/task") if int(tid) != process.pid]
        for tid in others:
            stop_thread(tid)
        process.send_signal(signal.SIGTERM)
        wait_dead(others)
        require(process.wait(timeout=TIME) == 0, "the service did not end well")
    finally:
        if process.returncode is None:
            process.kill()
    with open(LOG, encoding="utf-8") as log:
        require("did not come to rest" in log.read(), "the case is another one: the service came to rest")
    # By a process that outlives it.
    wait_until(lambda: not notes(group), "the notes are gone")
    require_unharmed(before, VolumeState(group, leaks_allowed=True), "after the stop")
    result = program.run()
    require_settled(before, VolumeState(group, sound=True), result, "the next run")
    require_last(program, "the next run")
    return {"threads": len(others)}
