#!/usr/bin/python3
"""A day of one service beside a busy toolstack, with time passing faster: every disk keeps its content, and nothing leaks.

    day.py [--seed N] [--seconds S] [--actions N] [--keep]     COPPICE_BINARY names the program

The 24 hours take S real seconds (28 unless said otherwise) and what the checkpoints need, one behind each; or end earlier after N
actions. In the first nine the service is killed now and then; the others see one process, whose memory, descriptors and rows are
looked at. Needs a build with COPPICE_FAULTS, and root for a file system of its own.
"""

import argparse
import collections
import contextlib
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
import traceback
import uuid

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.normpath(os.path.join(HERE, "../support/py")))

import leaks  # noqa: E402
import oracles  # noqa: E402
import seeded_runner  # noqa: E402
import sr_state  # noqa: E402
from disk_checks import require_foreign_readers_agree  # noqa: E402
from image_maker import MIB  # noqa: E402
from loop_fs import LoopFs, require_mounts  # noqa: E402
from sm_host import SmHost  # noqa: E402
from toolstack import HalfDone, Toolstack, random_size  # noqa: E402
from watched_service import ServiceDied, WatchedService  # noqa: E402

DAY = 24 * 3600
TREES = 12
FEWEST, MOST = 10, 32  # visible disks
HOURS_WITH_KILLS, QUIET_HOURS = 9, 15
FEWEST_ACTIONS = 8  # between two checkpoints, however slow the machine is


class Day:
    def __init__(self, seed, scratch, seconds, actions):
        self.rng, self.scratch, self.seconds, self.most_actions = random.Random(seed), scratch, seconds, actions
        self.counts = collections.Counter()
        self.file_system = LoopFs(os.path.join(scratch, "fs"), 768 * MIB)
        self.sr = os.path.join(self.file_system.root, str(uuid.UUID(int=self.rng.getrandbits(128), version=4)))
        self.filler = os.path.join(self.file_system.root, "filler")
        os.mkdir(self.sr)
        os.mkdir(os.path.join(scratch, "etc"))
        self.host = SmHost(os.path.join(scratch, "host"), os.path.basename(self.sr))
        self.service = WatchedService(scratch, self.sr, DAY / seconds, sm_root=self.host.root)
        self.service.half_edited = lambda: leaks.pending_edits(os.path.join(scratch, "state")) != 0
        self.set_window(None)
        self.tools = Toolstack(self.sr, self.host, self.rng, self.service)
        self.holds = []
        self.slowest = (0, "")

    def close(self):
        self.tools.close()
        self.service.close()
        self.file_system.close()

    # The plot

    def run(self):
        for index in range(TREES):
            self.tools.create("vhd" if index % 2 else "qcow2", random_size(self.rng))
        for _ in range(3 * TREES):
            self.act([self.write, self.write, self.snapshot])
        self.service.start()
        self.hours_with_kills()
        self.service.end(signal.SIGTERM)
        self.service.start()
        self.quiet_hours()
        self.last_evening()

    def live(self, choices):
        """For an hour, and then until a checkpoint has come to its end."""
        end, first = time.monotonic() + self.seconds / 24, self.counts["actions"]
        while self.counts["actions"] - first < FEWEST_ACTIONS or (
                time.monotonic() < end and self.counts["actions"] - first < self.most_actions / 24):
            self.with_recovery(lambda: self.act(choices))
        while not self.with_recovery(self.checkpoint):
            self.counts["deaths in checkpoints"] += 1

    def hours_with_kills(self):
        for _ in range(HOURS_WITH_KILLS):
            self.live(self.everyday() + [self.kill, self.terminate, self.doom, self.doom])

    def quiet_hours(self):
        self.checkpoint()
        self.warm_up()
        self.files = leaks.service_files(self.scratch)
        samples = leaks.Samples(self.service)
        for hour in range(1, QUIET_HOURS + 1):
            self.live(self.everyday())
            samples.take()
            print(f"  {hour}: {len(self.tools.disks)} disks, {self.counts['actions']} actions, "
                  f"{samples.memory[-1] / MIB:.2f} MiB, {leaks.rows(os.path.join(self.scratch, 'state'))}", flush=True)
        print(samples.verdict(), flush=True)

    def warm_up(self):
        """Everything once that takes memory for good when it is first done: threads, caches, the tables of libraries."""
        for kind in ("vhd", "qcow2"):
            before = set(self.tools.disks)
            disk = self.tools.create(kind, 8 * MIB)
            for _ in range(3):
                self.tools.snapshot(disk)
                self.tools.write(disk)
            for name in sorted(self.tools.disks.keys() - before - {disk.uuid}):
                self.tools.delete(self.tools.disks[name], at_once=False)
            self.order()
            self.tools.delete(disk, at_once=True)
        self.ask()
        self.checkpoint()

    def everyday(self):
        return ([self.write] * 8 + [self.snapshot] * 5 + [self.delete] * 5 + [self.start_guest] * 2 + [self.stop_guest] * 3 +
                [self.look] * 4 + [self.clone, self.create, self.hold, self.release, self.pause, self.resume, self.kick, self.yield_,
                                   self.window, self.abort, self.damage, self.repair, self.fill, self.make_room, self.ask, self.order])

    def act(self, choices):
        action = self.rng.choice(choices)
        self.counts["actions"] += 1
        self.counts[action.__name__.strip("_")] += 1
        begun = time.monotonic()
        try:
            action()
        finally:
            self.slowest = max(self.slowest, (time.monotonic() - begun, action.__name__))
        if self.service.process:
            self.service.pause(self.rng.random() * self.rng.choice([0.01, 0.05, 0.2]))

    def with_recovery(self, what):
        """A service that has died in `what` is started again, and puts everything right before the toolstack goes on."""
        try:
            what()
            return True
        except ServiceDied:
            self.recover()
        except HalfDone:
            self.service.process.wait(timeout=60)
            self.recover()
        return False

    def recover(self, changes=None):
        while True:
            try:
                if self.service.process and not self.service.alive():
                    self.counts["deaths"] += 1
                    self.service.end(signal.SIGKILL)
                if not self.service.process:
                    self.service.start(changes)
                self.service.ask("kick", wait=True, ok=(0, 1, 6, 7))
                return
            except ServiceDied:
                changes = None

    def checkpoint(self):
        """Everything is given free; the service does what it can; then nothing may be left, and every disk is read."""
        tools, service = self.tools, self.service
        for disk in list(tools.running):
            tools.stop_guest(tools.disks[disk])
        self.make_room()
        tools.repair_image()
        for hold in self.holds[:]:
            self.let_go(hold)
        service.ask("resume")
        self.set_window(None)
        for attempt in range(10):
            done = service.ask("run", collect=True, coalesce=True, leaf_coalesce=True)
            if not done["done"] and not done["failed"]:
                break
        else:
            raise oracles.Failure(f"the service does not come to an end: {json.dumps(done)}")
        service.ask("kick", wait=True)
        state = sr_state.SrState(self.sr)
        what = f"checkpoint after {self.counts['actions']} actions"
        sr_state.require_same_disks({uuid: disk.fingerprint() for uuid, disk in tools.disks.items()}, state, what)
        sr_state.require_visible(tools.disks, state, what)
        sr_state.require_tidy(state, {entry["vdi"]: entry["reason"] for entry in done["skipped"]}, what)
        sr_state.require_sound(state, what)
        require_only_siblings(done["skipped"], what)
        self.counts["checkpoints"] += 1
        self.images = len(state.nodes)

    def last_evening(self):
        state = os.path.join(self.scratch, "state")
        leaks.require_bounded_rows(leaks.rows(state), self.images, self.counts["actions"], 0)
        leaks.require_no_leftovers(self.scratch, self.sr, self.files, self.host.run_files)
        require_foreign_readers_agree(self.sr, self.tools, self.scratch)
        places = self.service.places()
        plan = oracles.coppice_json("plan", self.sr, *places, env=self.service.environment)
        if plan["steps"]:
            raise oracles.Failure(f"something is left to do: {plan}")
        require_only_siblings(plan["skipped"], "plan")
        self.service.end(signal.SIGTERM)
        again = oracles.coppice_json("run", self.sr, "--once", *places, env=self.service.environment)
        if again["done"] or again["failed"]:
            raise oracles.Failure(f"the run after the last found something to do: {again}")

    # What the toolstack does

    def write(self):
        if disk := self.tools.some(lambda disk: not disk.snapshot and not self.full()):
            self.tools.write(disk)

    def snapshot(self):
        if len(self.tools.disks) < MOST and not self.full() and (disk := self.tools.some(lambda disk: not disk.snapshot)):
            self.tools.snapshot(disk)

    def clone(self):
        if len(self.tools.disks) < MOST and not self.full() and (disk := self.tools.some(lambda disk: disk.snapshot)):
            self.tools.snapshot(disk, as_snapshot=False)

    def create(self):
        if len(self.tools.disks) < MOST and not self.full():
            self.tools.create(self.rng.choice(["vhd", "qcow2"]), random_size(self.rng))

    def delete(self):
        if len(self.tools.disks) > FEWEST and (disk := self.tools.some(lambda disk: disk.uuid not in self.tools.running)):
            self.tools.delete(disk, at_once=self.full() or self.rng.random() < 0.5)  # a header may be a hole

    def start_guest(self):
        if disk := self.tools.some(lambda disk: not disk.snapshot and disk.uuid not in self.tools.running):
            self.tools.run_guest(disk)

    def stop_guest(self):
        if disk := self.tools.some(lambda disk: disk.uuid in self.tools.running):
            self.tools.stop_guest(disk)

    def look(self):
        if disk := self.tools.some():
            self.tools.look(disk)

    # What an administrator does

    def hold(self):
        if disk := self.tools.some():
            for_ever = {} if self.rng.random() < 0.5 else {"until": int(self.service.now()) + self.rng.randrange(60, 7200)}
            hold = self.service.ask("hold", vdi=disk.uuid, owner="day", reason="a backup", **for_ever)["hold"]
            self.holds.append(hold["id"])

    def release(self):
        if self.holds:
            self.let_go(self.rng.choice(self.holds))

    def let_go(self, hold):
        self.service.ask("release", hold=hold, ok=(0, 5))  # it may have been forgotten since it expired
        self.holds.remove(hold)

    def pause(self):
        until = {} if self.rng.random() < 0.3 else {"until": int(self.service.now()) + self.rng.randrange(60, 3600)}
        self.service.ask("pause", owner="day", until_danger=self.rng.random() < 0.3, **until)

    def resume(self):
        self.service.ask("resume")

    def kick(self):
        self.service.ask("kick", wait=self.rng.random() < 0.5, ok=(0, 1, 6, 7))

    def yield_(self):
        self.service.ask("yield")

    def ask(self):
        for verb in ("status", "metrics"):
            self.service.ask(verb)
        if disk := self.tools.some():
            self.service.ask("explain", vdi=disk.uuid, ok=(0, 5))

    def order(self):
        self.service.ask("coalesce", collect=True, coalesce=True, leaf_coalesce=True, ok=(0, 1, 3, 4, 6, 7))

    def window(self):
        begin = self.rng.randrange(24)
        self.set_window(f"{begin:02}:00-{(begin + self.rng.randrange(1, 12)) % 24:02}:00" if self.rng.random() < 0.6 else None)

    def set_window(self, window):
        path = os.path.join(self.scratch, "etc", "coppice.conf")
        with open(path, "w", encoding="ascii") as file:
            file.write(f"idle = 1800\n{'window = ' + window if window else ''}\n")
        if self.service.alive():
            self.service.process.send_signal(signal.SIGHUP)

    # What goes wrong

    def abort(self):
        with self.host.collector_ended():
            pass

    def damage(self):
        self.tools.break_image()

    def repair(self):
        self.tools.repair_image()

    def full(self):
        return os.path.exists(self.filler)

    def fill(self):
        """But for a little."""
        with open(self.filler, "wb") as file, contextlib.suppress(OSError):  # full is full, whoever took the rest meanwhile
            os.posix_fallocate(file.fileno(), 0, max(4096, self.file_system.free() - self.rng.randrange(4 * MIB)))

    def make_room(self):
        if self.full():
            os.unlink(self.filler)

    def kill(self):
        self.service.end(signal.SIGKILL)
        self.recover()

    def terminate(self):
        self.service.end(signal.SIGTERM)
        self.recover()

    def doom(self):
        """A service that will kill itself in the middle of something."""
        self.service.end(signal.SIGTERM)
        self.recover(changes=self.rng.randrange(1, 400))


def require_only_siblings(skipped, what):
    """A parent of several children is the only thing that keeps anything from being merged when all is calm."""
    left = [entry for entry in skipped if entry["reason"] != "siblings"]
    if left:
        raise oracles.Failure(f"{what}: left alone although nothing is in the way: {left}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--seconds", type=float, default=28)
    parser.add_argument("--actions", type=int, default=10**9)
    parser.add_argument("--keep", action="store_true", help="leave the scratch directory, without the SR, when it fails")
    options = parser.parse_args()
    oracles.binary()
    require_mounts()
    seed = options.seed if options.seed is not None else random.SystemRandom().randrange(10**9)
    print(f"seed {seed}, 24 h in {options.seconds:.0f} s", flush=True)
    scratch = tempfile.mkdtemp(prefix="coppice-day-", dir=seeded_runner.scratch_root())
    day, failed = None, False
    try:
        day = Day(seed, scratch, options.seconds, options.actions)
        day.run()
    except Exception:  # every kind of failure is a finding to report with its seed
        failed = True
        print(f"seed {seed}: FAILED\n{traceback.format_exc()}", flush=True)
        if day and day.service.process:
            print(day.service.last_words(), flush=True)
    finally:
        if day:
            print("slowest: {1}, {0:.1f} s".format(*day.slowest))
            print(", ".join(f"{name} {day.counts[name]}" for name in sorted(day.counts)))
            day.close()
        if not (failed and options.keep):
            shutil.rmtree(scratch, ignore_errors=True)
        else:
            print(f"kept: {scratch}")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
