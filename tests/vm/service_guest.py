"""What service_test.py runs in the VM, with the shipped units: a service from attach to power-off. One SR, two merges.

    service_guest.py first       ends with a power-off in the middle of a merge
    service_guest.py second      the next boot, with the same disks
"""

import fcntl
import json
import os
import random
import signal
import subprocess
import sys

from guest_units import drop_in, install, prop, read, require, run, run_steps, state, wait_for_state, wait_until, write
from service_sr import (BATCH, COLLECTOR, DISK, EXPECTED, FAST, MOUNT, SERVICE, SLOW, SR, STATE, STATE_DISK, add_merge, attach,
                        copied, coppice, fingerprints, images, merges, require_same, set_rate, wait_for_copying, wait_for_rest)

NOBODY = 65534
STOCK_CALLS = "/run/stock-calls"
STOCK_UNIT = "[Service]\nType=oneshot\nExecStart=/opt/xensource/sm/cleanup.py -g -u %I\n"
ABORT = f"/run/sm/ipc/{SR}/abort"
ENDED = os.path.join(STATE, "ended")  # one line for each end of the service: result and exit code
# Shorter than what is shipped, so that the test need not wait; the stop has 5 s, after which systemd kills and says "timeout".
IMPATIENT = f"""[Service]
RestartSec=1
WatchdogSec=15
TimeoutStopSec=5
ExecStopPost=/bin/sh -c 'echo "$SERVICE_RESULT $EXIT_CODE" >>{ENDED}'
"""


def expected():
    return json.loads(read(EXPECTED))


def main_pid():
    pid = int(prop(SERVICE, "MainPID"))
    require(pid, f"the service does not run: {state(SERVICE)}, {prop(SERVICE, 'Result')}")
    return pid


def restarts():
    return int(prop(SERVICE, "NRestarts"))


def require_clean_end():
    require(prop(SERVICE, "Result") == "success", f"the service has ended with {prop(SERVICE, 'Result')}")
    require(read(ENDED).splitlines()[-1] == "success exited", f"the ends of the service: {read(ENDED)}")


def open_lock(name):
    os.makedirs(f"/run/lock/sm/{SR}", exist_ok=True)
    return open(f"/run/lock/sm/{SR}/{name}", "a", encoding="ascii")


def can_lock(file):
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def detach_and_check():
    """While the service runs; it is stopped behind the SR, a little later."""
    pid = main_pid()
    run("umount", MOUNT)
    require(main_pid() == pid, "the service has ended before it could keep anything")
    os.close(os.open(DISK, os.O_RDWR | os.O_EXCL))  # fails as long as the file system is mounted in any namespace
    os.rmdir(MOUNT)


# One batch for each start of the service in a merge, and some more.
BATCHES = (7, 3)


def fill(number):
    """Gives the SR a merge, and nothing else, and notes what its disks hold.

    Away from where coppice-srs looks, so that the service comes to a complete SR.
    """
    run("mount", DISK, "/mnt")
    for image in images("/mnt"):
        os.unlink(f"/mnt/{image}")
    add_merge("/mnt", "ab"[number] * 7, BATCHES[number], random.Random(int(os.environ["SERVICE_SEED"]) + number))
    write(EXPECTED, json.dumps(fingerprints("/mnt")))
    run("umount", "/mnt")


def prepare_host():
    """a host with sm's collector and coppice, and an SR that has work"""
    for disk in (DISK, STATE_DISK):
        run("mkfs.ext4", "-q", "-E", "nodiscard", disk)
    os.makedirs(STATE)
    run("mount", STATE_DISK, STATE)
    fill(0)
    write("/usr/lib/systemd/system/SMGC@.service", STOCK_UNIT)
    write("/opt/xensource/sm/cleanup.py", f'#!/bin/sh\necho "$@" >>{STOCK_CALLS}\n', 0o755)
    set_rate(SLOW)
    install(os.environ["COPPICE_BUILD"])
    drop_in("coppice@.service", IMPATIENT)
    run("systemctl", "start", "coppice.target")


def attaching_starts_it():
    """an SR that is attached gets its service, which says that it is ready and what it does"""
    attach()
    wait_for_state(SERVICE, "active")
    wait_for_copying()
    wait_until(lambda: "coalesce" in prop(SERVICE, "StatusText"), "the status text names the step")
    require(os.sched_getscheduler(main_pid()) == os.SCHED_IDLE, "the service does not run in the idle class")


def later_mounts_are_seen():
    """what is mounted below /run/sr-mount while it runs is mounted for it, too, and unmounted"""
    place = "/run/sr-mount/later"

    def seen():
        return f" {place} " in read(f"/proc/{main_pid()}/mountinfo")

    os.makedirs(place)
    run("mount", "-t", "tmpfs", "later", place)
    require(seen(), "the mount is not seen")
    run("umount", place)
    require(not seen(), "the mount is kept")
    os.rmdir(place)


def a_kick_of_sm_is_ours():
    """SMGC@ hands its kick to the service, and is activating for as long as that works"""
    require(state(COLLECTOR) == "inactive", f"SMGC@ is {state(COLLECTOR)} before it was started")
    run("systemctl", "start", "--no-block", COLLECTOR)
    wait_for_state(COLLECTOR, "activating")
    wait_for_copying()
    require(state(COLLECTOR) == "activating", "SMGC@ has ended before the work did")
    require(not read(STOCK_CALLS), "the collector of sm was started beside the service")


def killed_it_resumes():
    """after kill -9 in a merge systemd starts it again, and the merge goes on at its cursor"""
    cursor = wait_until(lambda: merges()[-1]["bytes_done"], "a cursor is recorded")
    before = restarts()
    os.kill(main_pid(), signal.SIGKILL)
    wait_until(lambda: restarts() > before, "the service is started again")
    wait_for_copying()
    operation = merges()[-1]
    require(operation["resumed"] and operation["bytes_done"] >= cursor, f"the merge began anew: {operation}")
    wait_for_state(COLLECTOR, "inactive")


def hung_it_is_killed():
    """a service that hangs is killed by the watchdog and started again"""
    before = restarts()
    os.kill(main_pid(), signal.SIGSTOP)
    wait_until(lambda: restarts() > before, "the watchdog has the service started again")
    require("watchdog" in read(ENDED).splitlines()[-1], f"it has ended otherwise: {read(ENDED)}")
    wait_for_copying()


def sm_detaches_it_at_work():
    """sm detaches the SR in the middle of a merge: the service gives way to its flag, keeps nothing mounted, and ends"""
    with open_lock("gc_active") as lock:
        write(ABORT, f"{os.getpid()}\n")
        wait_until(lambda: can_lock(lock), "the service lets go of gc_active")
        require(state(SERVICE) == "active", "the service has ended instead of giving way")
        require(len(images()) == 2, "the merge had ended already: this test has tested nothing")
        os.unlink(ABORT)
        detach_and_check()
    wait_for_state(SERVICE, "inactive")
    require_clean_end()
    attach()
    wait_for_state(SERVICE, "active")
    wait_for_copying()


def stopping_is_quick():
    """a stop in the middle of a merge is done in time, is no failure, and loses nothing"""
    run("systemctl", "stop", SERVICE)
    require_clean_end()
    require(len(images()) == 2, "the merge had ended already: this test has tested nothing")
    require_same(expected(), "after a stop")


def without_service_sm_collects():
    """where no service runs, SMGC@ starts the collector of sm as before"""
    run("systemctl", "start", COLLECTOR)
    require(read(STOCK_CALLS) == f"-g -u {SR}\n", f"the collector of sm was called with {read(STOCK_CALLS)!r}")


def other_users_are_seen():
    """from its sandbox the service sees who has an image open, whoever that is, and lets go on when they close it"""
    with open(os.path.join(MOUNT, images()[-1]), "rb") as image:
        holder = subprocess.Popen(["sleep", "infinity"], stdin=image, user=NOBODY)
    try:
        run("systemctl", "start", SERVICE)
        named = f" {holder.pid} (sleep)"
        wait_until(lambda: any(named in entry["text"] for entry in coppice("status")["skipped"]), "the holder is seen")
        require(copied() == 0, "the image is worked on")
    finally:
        holder.kill()
        holder.wait()
    wait_for_copying()


def stopping_smgc_makes_it_give_way():
    """when SMGC@ is stopped, the service gives way; when it is started, the service goes on to the end of its work"""
    run("systemctl", "start", "--no-block", COLLECTOR)
    wait_for_state(COLLECTOR, "activating")
    run("systemctl", "stop", COLLECTOR)
    wait_until(lambda: coppice("status")["operation"] is None, "the service gives way")
    require(len(images()) == 2, "the merge had ended already: this test has tested nothing")
    require(state(COLLECTOR) == "inactive", f"SMGC@ is {state(COLLECTOR)} after a stop")
    set_rate(FAST)
    run("systemctl", "start", COLLECTOR)  # returns when the cycle has ended
    require(len(images()) == 1, f"SMGC@ has ended before the work did: {images()}")
    require(read(STOCK_CALLS).count("\n") == 1, "the collector of sm was started beside the service")
    require_same(expected(), "after the merge")
    wait_for_rest(1)
    require(merges()[-1]["resumed"] and merges()[-1]["state"] == "done", f"history: {merges()}")
    # Less than all where a batch was complete when the service was killed, but not yet behind the cursor.
    require((BATCHES[0] - 3) * BATCH <= merges()[-1]["copied_bytes"] <= BATCHES[0] * BATCH, f"history: {merges()}")


def detaching_stops_it():
    """an SR is detached under an idle service, which keeps nothing of it, and the service ends"""
    detach_and_check()
    wait_for_state(SERVICE, "inactive")
    require_clean_end()


def power_off():
    """power-off in the middle of a merge"""
    write(ENDED, "")
    fill(1)
    set_rate(SLOW)
    attach()
    wait_for_copying()
    os.sync()
    run("systemctl", "poweroff", "--no-block")
    signal.pause()


def find_it_clean():
    """after the power-off: it ended by itself, the disks hold what they held, and the merge goes on"""
    os.makedirs(STATE, exist_ok=True)
    run("mount", STATE_DISK, STATE)
    attach()
    require(read(ENDED) == "success exited\n", f"how the service has ended: {read(ENDED)!r}")
    require(len(images()) == 2, f"the merge was not interrupted: {images()}")
    require_same(expected(), "after power-off")
    install(os.environ["COPPICE_BUILD"])
    done = coppice("run", "--once")["done"]
    require([step["resumed"] for step in done if step["op"] != "collect"] == [True], f"done: {done}")
    require_same(expected(), "after the merge")


BOOTS = {
    "first": (prepare_host, attaching_starts_it, later_mounts_are_seen, a_kick_of_sm_is_ours, killed_it_resumes, hung_it_is_killed,
              sm_detaches_it_at_work, stopping_is_quick, without_service_sm_collects, other_users_are_seen,
              stopping_smgc_makes_it_give_way, detaching_stops_it, power_off),
    "second": (find_it_clean,),
}

if __name__ == "__main__":
    sys.exit(run_steps(BOOTS[sys.argv[1]], (SERVICE, COLLECTOR, "coppice-srs.service"),
                       [("coppice", verb, SR, "--json") for verb in ("status", "history")]))
