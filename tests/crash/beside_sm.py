#!/usr/bin/python3
"""The program merges while another process works on the same SR as sm does, with locks, flags, run files and QEMU's image locks.

    beside_sm.py [--seed N] [--count N] [--jobs N]     COPPICE_BINARY names the program, COPPICE_SM_ACTIONS the actions of each case

Neither waits for the other without end, nothing of sm's fails because we merge, every disk reads as its owner last wrote it, and when sm
is done the program finishes. Needs a build with COPPICE_FAULTS.
"""

import collections
import json
import os
import random
import subprocess
import sys
import threading
import time
import uuid

HERE = os.path.dirname(os.path.abspath(__file__))
SUPPORT = os.path.join(HERE, "..", "support", "py")
sys.path.insert(0, SUPPORT)

import chain_reader  # noqa: E402
import crash_case  # noqa: E402
import oracles  # noqa: E402
import seeded_runner  # noqa: E402
from image_maker import KIB, MIB  # noqa: E402
from known_chain import KnownChain, Layer  # noqa: E402
from stopped_program import StoppedProgram, finished_run  # noqa: E402

ACTIONS = int(os.environ.get("COPPICE_SM_ACTIONS", "40"))
ENDS = (0, 1, 4, 5, 6)  # done, a step failed, refused, not found, busy
WAITS = 0.4  # seconds that a stopped run gives sm at most
LIMIT = 300  # seconds: more than sm and we together may wait


def some_pieces(rng):
    return sorted((at, KIB * 4 * rng.randrange(1, 64)) for at in rng.sample(range(0, 4 * MIB - MIB, 256 * KIB), rng.randrange(2, 8)))


def layers(rng):
    """One to three trees: a trunk of hidden images with one or two disks on it."""
    result = []
    for _ in range(rng.randrange(1, 4)):
        for number in range(rng.randrange(1, 4)):
            result.append(Layer("qcow2", True, some_pieces(rng), len(result) - 1 if number else None))
        top = len(result) - 1
        result += [Layer("qcow2", False, some_pieces(rng), top) for _ in range(rng.randrange(1, 3))]
    return result


def verb(rng):
    if rng.random() < 0.5:
        words = ["run", "--once"]
    else:
        words = ["coalesce", "--leaf", "--direction", rng.choice(["auto", "down", "up"])]
    return words + (["--rate", str(rng.choice([1, 4, 16]) * MIB)] if rng.random() < 0.7 else [])


def run_beside(command, trace, rng, counts):
    """One run of the program. Half of them are stopped somewhere, until sm has done something, or waits for us."""
    if rng.random() < 0.5:
        return finished_run(command, "beside sm")
    with StoppedProgram(command, int(rng.expovariate(1 / 12)), "beside sm") as program:
        if not program.stopped:
            return program.ended
        counts["stopped"] += 1
        goal, deadline, pause = os.path.getsize(trace) + 40 * rng.randrange(1, 4), time.monotonic() + WAITS, threading.Event()
        while os.path.getsize(trace) < goal and time.monotonic() < deadline:
            pause.wait(0.005)
        return program.go_on()


def act_beside(ours, rng, trace, manager, counts):
    """Until sm has ended; what it said."""
    deadline = time.monotonic() + LIMIT
    while manager.poll() is None:
        if time.monotonic() > deadline:
            raise oracles.Failure("sm waits without end")
        ended = run_beside(ours.command(*verb(rng)), trace, rng, counts)
        ended.require_status(*ENDS)
        counts["runs"] += 1
        counts["steps"] += len(ended.json.get("done", []))
    output = manager.stdout.read()
    if manager.returncode:
        raise oracles.Failure(f"sm: status {manager.returncode}")
    return json.loads(output.splitlines()[-1])


def case(seed, scratch):
    rng = random.Random(seed)
    sr = os.path.join(scratch, str(uuid.UUID(int=rng.getrandbits(128), version=4)))
    root, expected, trace = (os.path.join(scratch, name) for name in ("sm", "expected", "trace"))
    KnownChain(sr, rng, layers(rng))
    os.makedirs(os.path.join(root, "var/lock/sm"))
    os.environ["COPPICE_TEST_SM_ROOT"] = root
    ours = crash_case.CrashSr(sr, scratch, {})
    counts = collections.Counter()
    with open(trace, "w+", encoding="utf-8") as told:
        manager = subprocess.Popen([sys.executable, "-B", os.path.join(SUPPORT, "sm_process.py"), sr, root, expected, str(seed), str(ACTIONS)],
                                   stdout=subprocess.PIPE, stderr=told, text=True)
        try:
            if manager.stdout.readline() != "ready\n":
                raise oracles.Failure("sm could not begin")
            done = act_beside(ours, rng, trace, manager, counts)
            counts.update({f"sm: {name}": count for name, count in done.items()})
            counts["actions of sm"] += ACTIONS
            ours.disks = {file.split(".")[0]: chain_reader.fingerprint(expected, file) for file in os.listdir(expected)}
            ours.require_finished("behind sm")
            left = [name for _, _, names in os.walk(os.path.join(root, "run/nonpersistent/sm")) for name in names]
            if left:
                raise oracles.Failure(f"run files are left: {left}")
        except oracles.Failure as failure:
            told.seek(0)
            raise oracles.Failure(f"{failure}\n{told.read()}") from failure
        finally:
            manager.kill()
            manager.wait()
            manager.stdout.close()
    return counts


def before():
    oracles.binary()
    crash_case.require_faulty_build(seeded_runner.scratch_root())


if __name__ == "__main__":
    seeded_runner.main(case, description=__doc__.splitlines()[0], count=16, before=before)
