#!/usr/bin/python3
"""The program merges while another process works on the same SR as sm does, with locks, flags, run files and QEMU's image locks.

    beside_sm.py [--seed N] [--count N] [--jobs N]     COPPICE_BINARY names the program, COPPICE_SM_ACTIONS the actions of each case

In cases of odd seeds the program is run again and again; in those of even ones it is one service, that stops itself over and over.
Neither waits for the other without end, nothing of sm's fails because we merge, locks are held in their order, every disk reads as its
owner last wrote it, and when sm is done the program finishes. Needs a build with COPPICE_FAULTS.
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
import held_locks  # noqa: E402
import oracles  # noqa: E402
import seeded_runner  # noqa: E402
from image_maker import KIB, MIB  # noqa: E402
from known_chain import KnownChain, Layer  # noqa: E402
from stopped_program import StoppedProgram, finished_run  # noqa: E402
from stopping_service import StoppingService  # noqa: E402

ACTIONS = int(os.environ.get("COPPICE_SM_ACTIONS", "100"))
ENDS = (0, 1, 4, 5, 6)  # done, a step failed, refused, not found, busy
LIMIT = 300  # seconds: more than sm and we together may wait


def some_pieces(rng):
    return sorted((at, KIB * 4 * rng.randrange(1, 64)) for at in rng.sample(range(0, 4 * MIB - MIB, 256 * KIB), rng.randrange(2, 8)))


def layers(rng):
    """Three to five trees: a trunk of hidden images with one or two disks on it."""
    result = []
    for _ in range(rng.randrange(3, 6)):
        for number in range(rng.randrange(1, 3)):
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


class Manager:
    """The process that works as sm does."""

    def __init__(self, sr, scratch, seed):
        self.sr, self.root, self.expected = sr, os.path.join(scratch, "sm"), os.path.join(scratch, "expected")
        self.locks = os.path.join(self.root, "var/lock/sm")
        os.makedirs(self.locks)
        self.told = open(os.path.join(scratch, "trace"), "w+", encoding="utf-8")
        self.process = subprocess.Popen([sys.executable, "-B", os.path.join(SUPPORT, "sm_process.py"), sr, self.root, self.expected,
                                         str(seed), str(ACTIONS)], stdout=subprocess.PIPE, stderr=self.told, text=True)
        self.deadline = time.monotonic() + LIMIT
        if self.process.stdout.readline() != "ready\n":
            raise oracles.Failure("sm could not begin")

    def works(self):
        if time.monotonic() > self.deadline:
            raise oracles.Failure("sm waits without end")
        return self.process.poll() is None

    def lines(self):
        """What it said so far, the last line complete."""
        with open(self.told.name, encoding="utf-8") as file:
            return file.read().split("\n")[:-1]

    def begun(self):
        """How many actions."""
        return sum(not line.startswith(("waits", "goes on")) for line in self.lines())

    def act(self, most):
        """Until it has begun up to `most` actions, or waits, perhaps for us. How many it has begun."""
        pause, before = threading.Event(), self.begun()
        while self.works() and self.begun() < before + most and not self.waits():
            pause.wait(0.001)
        return self.begun() - before

    def waits(self):
        return (self.lines() or [""])[-1].startswith("waits")

    def require_well(self):
        """Counts of what it did."""
        output = self.process.stdout.read()
        if self.process.wait():
            raise oracles.Failure(f"sm: status {self.process.returncode}")
        counts = json.loads(output.splitlines()[-1])
        return {name if name.startswith("longest") else f"sm: {name}": count for name, count in counts.items()}

    def close(self):
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()
        self.told.close()


def run_beside(command, manager, rng, counts):
    """One run of the program. Half of them are stopped somewhere, until sm has done something, or waits for us."""
    if rng.random() < 0.5:
        return finished_run(command, "beside sm")
    with StoppedProgram(command, int(rng.expovariate(1 / 12)), "beside sm") as program:
        if not program.stopped:
            return program.ended
        counts["stopped"] += 1
        look_at_locks(program, manager, counts)
        counts["actions while stopped"] += manager.act(rng.randrange(1, 6))
        return program.go_on()


def look_at_locks(program, manager, counts):
    held = held_locks.require_order(program.process.pid, manager.locks, os.path.basename(manager.sr))
    for name in {name for _, name in held}:
        counts[f"stopped with {name}"] += 1


def runs_beside(ours, rng, manager, counts):
    while manager.works():
        ended = run_beside(ours.command(*verb(rng)), manager, rng, counts)
        ended.require_status(*ENDS)
        counts["runs"] += 1
        counts["steps"] += len(ended.json.get("done", []))


def order(rng):
    """What a kick does, or what an administrator wants."""
    if rng.random() < 0.5:
        return json.dumps({"version": 1, "verb": "kick"})
    return json.dumps({"version": 1, "verb": "coalesce", "collect": True, "coalesce": True, "leaf_coalesce": True,
                       "direction": rng.choice(["auto", "down", "up"])})


def service_beside(ours, rng, manager, counts):
    """Services one after the other, each for some actions of sm."""
    while manager.works():
        gaps = [1 + int(rng.expovariate(1 / 6)) for _ in range(2000)]
        rate = ["--rate", str(rng.choice([1, 4, 16]) * MIB)] if rng.random() < 0.7 else []
        with StoppingService(ours.directory, [*ours.options(), "--config", ours.scratch, *rate], manager.told.name + ".service", gaps) as service:
            tend(service, manager.begun() + rng.randrange(20, 100), rng, manager, counts)
            service.end()
            counts["services"] += 1


def tend(service, until, rng, manager, counts):
    pause, asked = threading.Event(), 0
    while manager.works() and (begun := manager.begun()) < until:
        if service.stopped():
            counts["stopped"] += 1
            look_at_locks(service, manager, counts)
            counts["actions while stopped"] += manager.act(rng.randrange(1, 6))
            service.go_on()
        elif begun > asked:
            asked = begun + rng.randrange(1, 6)
            service.ask(order(rng))
        else:
            pause.wait(0.001)


def case(seed, scratch):
    rng = random.Random(seed)
    sr = os.path.join(scratch, str(uuid.UUID(int=rng.getrandbits(128), version=4)))
    KnownChain(sr, rng, layers(rng))
    ours = crash_case.CrashSr(sr, scratch, {})
    counts = collections.Counter({"actions of sm": ACTIONS})
    manager = Manager(sr, scratch, seed)
    os.environ["COPPICE_TEST_SM_ROOT"] = manager.root
    try:
        (runs_beside if seed % 2 else service_beside)(ours, rng, manager, counts)
        counts.update(manager.require_well())
        ours.disks = {file.split(".")[0]: chain_reader.fingerprint(manager.expected, file) for file in os.listdir(manager.expected)}
        ours.require_finished("behind sm")
        left = [name for _, _, names in os.walk(os.path.join(manager.root, "run/nonpersistent/sm")) for name in names]
        if left:
            raise oracles.Failure(f"run files are left: {left}")
    except oracles.Failure as failure:
        raise oracles.Failure(f"{failure}\n" + "\n".join(manager.lines()[-60:])) from failure
    finally:
        manager.close()
    return counts


def before():
    oracles.binary()
    crash_case.require_faulty_build(seeded_runner.scratch_root())


if __name__ == "__main__":
    seeded_runner.main(case, description=__doc__.splitlines()[0], count=20, before=before)
