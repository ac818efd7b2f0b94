"""Which locks of sm another process holds, seen from outside, and whether they are in order (docs/design/sm.md)."""

import os

import oracles


def held_locks(pid, locks):
    """{(namespace, name)} of the lock files below `locks` that the process has locked; it should be stopped."""
    found = set()
    directory = f"/proc/{pid}/fd"
    for fd in os.listdir(directory):
        try:
            path = os.readlink(os.path.join(directory, fd)).removesuffix(" (deleted)")
            with open(f"/proc/{pid}/fdinfo/{fd}", encoding="ascii") as file:
                locked = "lock:" in file.read()
        except FileNotFoundError:
            continue
        if locked and path.startswith(locks + "/"):
            found.add(tuple(os.path.relpath(path, locks).split("/")))
    return found


def waits_in_kernel(locks):
    """Whether an open-file-description lock on one of the lock files is waited for. sm's own are classic ones."""
    files = {os.stat(os.path.join(parent, name)).st_ino for parent, _, names in os.walk(locks) for name in names
             if os.path.exists(os.path.join(parent, name))}
    with open("/proc/locks", encoding="ascii") as file:
        waiting = [line.split() for line in file if "-> OFDLCK" in line]
    return any(int(fields[6].split(":")[2]) in files for fields in waiting)


def require_order(pid, locks, sr):
    """`gc_active`, then `running`, then `sr`, then those of VDIs, of which a guarded leaf may be held while `sr` is not. What they
    are."""
    held = held_locks(pid, locks)
    vdis = {space for space, name in held if name == "vdi"}
    if vdis and not {(sr, "gc_active"), (sr, "running")} <= held:
        raise oracles.Failure(f"a VDI is locked before the SR's work has begun: {held}")
    if (sr, "sr") in held and (sr, "gc_active") not in held:
        raise oracles.Failure(f"the SR is locked before the collector is: {held}")
    if len(vdis) > 1 and (sr, "sr") not in held:
        raise oracles.Failure(f"several VDIs are locked without the SR: {held}")
    if waits_in_kernel(locks):
        raise oracles.Failure("the program waits for a lock of sm, instead of trying")
    return held
