"""What must not grow with the number of cycles: descriptors, threads, memory, rows of the journal, and files."""

import os
import sqlite3
import statistics
from collections import Counter

import oracles
import sr_state

MIB = 1 << 20
# Memory of an allocator does not stand still: SQLite's page caches fill up to their bounds, and free pieces are not given
# back in the same order in which they were taken. The medians of a third of all samples hide single ones of these.
MEMORY_TOLERANCE = MIB
# SQLite cannot close a descriptor while another connection of the process has a lock on the same file: it keeps it, and takes it
# for the next connection (3.40, os_unix.c: setPendingFd, findReusableFd). So there are as many as there were connections at once:
# of the loop, of the worker, of who answers questions; one more, because those for reading and for writing are kept apart.
MOST_JOURNALS = 4


class Samples:
    """Of one process, each taken when it rests."""

    def __init__(self, service):
        self.service, self.memory = service, []
        service.wait_until(lambda: service.status()["state"] == "idle", "idle")
        self.descriptors, self.threads = None, None

    def take(self):
        """Waits until nothing more is open than at the first sample: a look of the service itself may be under way."""
        service = self.service
        if self.descriptors is None:
            self.descriptors, self.threads = self._smallest()
        try:
            service.wait_until(lambda: self._now()[0] == self.descriptors, "the descriptors of rest")
        except oracles.Failure as error:
            now = self._now()[0]
            more, fewer = (list((Counter(a) - Counter(b)).elements()) for a, b in ((now, self.descriptors), (self.descriptors, now)))
            raise oracles.Failure(f"{error}\nmore than at first: {more}, fewer: {fewer}") from error
        if (journals := self._now()[1]) > MOST_JOURNALS:
            raise oracles.Failure(f"the journal is open {journals} times")
        service.wait_until(lambda: service.memory()[1] == self.threads, f"{self.threads} threads")
        self.memory.append(self._resting_memory())

    def _now(self):
        """(descriptors without those of the journal, number of these)"""
        seen = self.service.descriptors()
        others = [path for path in seen if not path.endswith("/journal.db")]
        return others, len(seen) - len(others)

    def _smallest(self):
        """Of what is seen in a while: descriptors that come and go belong to looks."""
        seen = []
        service = self.service
        service.wait_until(lambda: seen.append((self._now()[0], service.memory()[1])) or len(seen) >= 100, "samples")
        return min((one for one, _ in seen), key=len), min(threads for _, threads in seen)

    def _resting_memory(self):
        seen = []

        def look():
            before, memory, after = self._now()[0], self.service.memory()[0], self._now()[0]
            if before == after == self.descriptors:
                seen.append(memory)
            return len(seen) >= 5

        self.service.wait_until(look, "five looks at a resting service")
        return min(seen)

    def verdict(self):
        """A text; throws where it grows. The first two samples are of a process that warms up."""
        warm = self.memory[2:]
        if len(warm) < 6:
            raise oracles.Failure(f"{len(warm)} samples say nothing of a trend")
        third = len(warm) // 3
        first, last = statistics.median(warm[:third]), statistics.median(warm[-third:])
        text = (f"{len(self.descriptors)} descriptors and {self._now()[1]} of the journal, {self.threads} threads, {first / MIB:.2f} MiB at first, "
                f"{last / MIB:.2f} MiB at last")
        series = " ".join(f"{memory / MIB:.2f}" for memory in self.memory)
        if last > first + MEMORY_TOLERANCE:
            raise oracles.Failure(f"memory grows: {text}: {series}")
        if all(after > before for before, after in zip(warm, warm[1:])) and warm[-1] - warm[0] > MIB // 4:
            raise oracles.Failure(f"memory grows with every sample: {text}: {series}")
        return f"{text} ({series})"


def rows(state_dir):
    """Of every table, {name: number}."""
    path = os.path.join(state_dir, os.listdir(state_dir)[0], "journal.db")
    connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=30)
    try:
        tables = [name for name, in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        result = {name: connection.execute(f"SELECT count(*) FROM {name}").fetchone()[0] for name in tables}
        result["unfinished"], = connection.execute("SELECT count(*) FROM operation WHERE ended IS NULL").fetchone()
        result["present"], = connection.execute("SELECT count(*) FROM node_version WHERE gone IS NULL AND last_seen IS NULL").fetchone()
        return result
    finally:
        connection.close()


def pending_edits(state_dir):
    return rows(state_dir)["pending_edit"]


def require_bounded_rows(found, images, actions, failed):
    """`failed`: whether steps of the last cycle failed, so that there may be retries."""
    for table, expected in (("verdict", images), ("present", images), ("pending_edit", 0), ("unfinished", 0), ("hold", 0),
                            ("tree_scan", 1), ("identity", 1)):
        if found[table] != expected:
            raise oracles.Failure(f"journal: {found[table]} rows of {table}, expected {expected}: {found}")
    # Each snapshot makes two images and each deletion one step that merges and one that collects; kills add some.
    for table, most in (("operation", 8 * actions + 100), ("node_version", 12 * actions + 100), ("event", 4 * actions + 100),
                        ("speed", 1000), ("setting", 1), ("operation_source", 12 * found["operation"]),
                        ("retry", actions + failed)):
        if found[table] > most:
            raise oracles.Failure(f"journal: {found[table]} rows of {table}, more than {most} for {actions} actions: {found}")


def require_no_leftovers(scratch, sr, files, run_files):
    """`files`: what stood in the state and run directories at first."""
    for name in os.listdir(sr):
        if not sr_state.NAME.match(name):
            raise oracles.Failure(f"{name} is left in the SR")
    now = service_files(scratch)
    if now != files:
        raise oracles.Failure(f"files of the service: {sorted(now ^ files)} have come or gone")
    if os.listdir(run_files):
        raise oracles.Failure(f"run files of merges are left: {os.listdir(run_files)}")


def service_files(scratch):
    return {os.path.join(parent, name) for top in ("state", "run") for parent, _, names in os.walk(os.path.join(scratch, top))
            for name in names}
