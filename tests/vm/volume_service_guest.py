"""What volume_service_test.py runs in the VM, with the shipped units: the service of an SR on LVM, from attach to detach.

    volume_service_guest.py FILE        the SR, pickled
"""

import json
import os
import pickle
import re
import shutil
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "support", "py"))
from guest_units import drop_in, install, prop, read, require, run, run_steps, state, wait_for_state, wait_until, write  # noqa: E402
from volume_group import Volume  # noqa: E402
from volume_state import VolumeState  # noqa: E402

with open(sys.argv[1], "rb") as pickled:
    MADE = pickle.load(pickled)
SR = MADE.uuid
SERVICE = f"coppice@{SR}.service"
COLLECTOR = "SMGC@" + SR.replace("-", r"\x2d") + ".service"
FILE_SERVICE = "coppice@6a2d4f10-8c1e-4b57-9d3a-5e0f7c1b2a94.service"  # of any other SR
LINK = f"/run/systemd/system/{SERVICE}.d/lvm.conf"
STOCK_CALLS = "/run/stock-calls"
STOCK_UNIT = "[Service]\nType=oneshot\nExecStart=/opt/xensource/sm/cleanup.py -g -u %I\n"
SETTINGS = "/etc/coppice/coppice.conf"
ENDED = "/var/lib/ended"  # one line for each end of the service: result and exit code
# A stop has 5 s, after which systemd kills and says "timeout".
IMPATIENT = f"""[Service]
TimeoutStopSec=5
ExecStopPost=+/bin/sh -c 'echo "$SERVICE_RESULT $EXIT_CODE" >>{ENDED}'
"""
# Each start of the service copies a batch of the merge, and waits then, for as long as it takes.
SLOW, FAST = 1, 1 << 40
LARGEST_EXPOSURE = 2.5
world = {}  # what the steps share: the group, and what it was like


def coppice(verb, *options, may_fail=False):
    return json.loads(run("coppice", verb, SR, "--json", *options, may_fail=may_fail))


def is_copying():
    operation = coppice("status", may_fail=True).get("operation")
    return operation is not None and operation["bytes_done"] > 0


def wait_for_copying():
    wait_until(lambda: state(SERVICE) == "active" and is_copying(), "a merge goes on")


def set_rate(rate):
    write(SETTINGS, f"rate = {rate}\n")
    if state(SERVICE) == "active":
        run("systemctl", "reload", SERVICE)


def images():
    return [name for name in world["group"].lvs() if name.startswith("VHD-")]


def require_clean_end(count):
    require(prop(SERVICE, "Result") == "success", f"the service has ended with {prop(SERVICE, 'Result')}")
    require(read(ENDED) == "success exited\n" * count, f"the ends of the service: {read(ENDED)}")
    require(len(images()) == len(MADE.images), "the merge had ended already: this test has tested nothing")


def attach():
    """What sm does that can be seen."""
    run("lvchange", "-ay", f"{world['group'].name}/MGT")


def detach():
    run("lvchange", "-an", f"{world['group'].name}/MGT")


def prepare_host():
    """a host with LVM as in dom0, sm's collector and coppice, and an SR that has work and is not attached"""
    for directory in ("/etc/lvm", "/etc/lvm/master"):
        os.makedirs(directory, exist_ok=True)
        shutil.copy(os.path.join(HERE, "..", "lvm", "system", "lvm.conf"), directory)
    for name in ("LVM_SYSTEM_DIR", "DM_DISABLE_UDEV"):
        os.environ.pop(name, None)
    MADE.others.append((Volume("MGT", 1), bytes(4096)))
    world["group"] = MADE.install()
    world["before"] = VolumeState(world["group"])
    write("/usr/lib/systemd/system/SMGC@.service", STOCK_UNIT)
    write("/opt/xensource/sm/cleanup.py", f'#!/bin/sh\necho "$@" >>{STOCK_CALLS}\n', 0o755)
    set_rate(SLOW)
    install(os.environ["COPPICE_BUILD"])
    drop_in("coppice@.service", IMPATIENT)
    run("systemctl", "start", "coppice.target")
    wait_for_state("coppice-srs.service", "active")


def attaching_starts_it():
    """an SR on LVM that is attached gets its service, which says that it is ready and what it does"""
    require(state(SERVICE) == "inactive" and not os.path.lexists(LINK), "there is a service already")
    attach()
    wait_for_copying()
    wait_until(lambda: "coalesce" in prop(SERVICE, "StatusText"), "the status text names the step")


def its_sandbox_is_open_as_far_as_needed():
    """an administrator sees what the service gets beyond others; it is as tight as was said, and others are tighter"""
    require(f"# {LINK}\n" in run("systemctl", "cat", SERVICE), "systemctl cat does not show the settings for LVM")
    require(not run("systemd-analyze", "verify", SERVICE), "systemd has something to say")
    said = run("systemd-analyze", "security", "--no-pager", SERVICE)
    exposure = re.search(r"Overall exposure level .*: ([0-9.]+) ", said)
    print(f"   exposure {exposure[1]}")
    require(float(exposure[1]) <= LARGEST_EXPOSURE, said)
    require((prop(SERVICE, "PrivateDevices"), prop(FILE_SERVICE, "PrivateDevices")) == ("no", "yes"), "PrivateDevices=")
    require("blk-availability.service" in prop(SERVICE, "After").split(), "volumes may become inactive under the service")


def a_kick_of_sm_is_ours():
    """SMGC@ hands its kick to the service, and is activating for as long as that works"""
    run("systemctl", "start", "--no-block", COLLECTOR)
    wait_for_state(COLLECTOR, "activating")
    require(is_copying() and not read(STOCK_CALLS), "the collector of sm was started beside the service")


def detaching_stops_it_at_work():
    """an SR that is detached in the middle of a merge has no service any more, and no settings"""
    detach()
    wait_for_state(SERVICE, "inactive")
    require_clean_end(1)
    wait_until(lambda: not os.path.lexists(os.path.dirname(LINK)), "the settings for LVM are removed")


def stopping_is_quick():
    """attached again, it resumes; a stop in the middle of a merge is done in time, and is no failure"""
    attach()
    wait_for_copying()
    run("systemctl", "stop", SERVICE)
    require_clean_end(2)
    require(os.path.lexists(LINK), "the settings for LVM are gone while the SR is attached")


def it_ends_its_work():
    """the service goes on to the end of its work, and leaves nothing active"""
    set_rate(FAST)
    run("systemctl", "start", SERVICE)
    run("systemctl", "start", COLLECTOR)  # returns when the cycle has ended
    require(not read(STOCK_CALLS), "the collector of sm was started beside the service")
    wait_until(lambda: coppice("status")["state"] == "idle", "it rests")
    merges = [operation for operation in coppice("history")["operations"] if operation["op"] != "collect"]
    require([(merge["state"], merge["resumed"]) for merge in merges] == [("done", True)], f"history: {merges}")
    group = world["group"]
    require(len(images()) == len(MADE.images) - 1, f"SMGC@ has ended before the work did: {images()}")
    require(group.active() == {"MGT"}, f"active: {group.active()}")
    require(not group.refcounts(), f"counted: {group.refcounts()}")
    after = VolumeState(group, sound=True)
    require(after.fingerprints() == world["before"].fingerprints(), f"read {after.fingerprints()}")
    require(not after.journals(), f"entries: {after.journals()}")


def detaching_stops_it():
    """an SR is detached under an idle service, which ends, and nothing of the SR is active"""
    detach()
    wait_for_state(SERVICE, "inactive")
    wait_until(lambda: not os.path.lexists(os.path.dirname(LINK)), "the settings for LVM are removed")
    require(read(ENDED) == "success exited\n" * 3, f"the ends of the service: {read(ENDED)}")
    require(not world["group"].active(), f"active: {world['group'].active()}")
    require(prop(SERVICE, "PrivateDevices") == "yes", "the settings for LVM are still in effect")


STEPS = (prepare_host, attaching_starts_it, its_sandbox_is_open_as_far_as_needed, a_kick_of_sm_is_ours,
         detaching_stops_it_at_work, stopping_is_quick, it_ends_its_work, detaching_stops_it)

if __name__ == "__main__":
    sys.exit(run_steps(STEPS, (SERVICE, COLLECTOR, "coppice-srs.service"),
                       [("coppice", verb, SR, "--json") for verb in ("status", "history")]))
