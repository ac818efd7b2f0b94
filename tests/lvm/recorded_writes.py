"""What dm-log-writes has recorded of a disk, and what stands on it when the power goes at some moment."""

import importlib.machinery
import importlib.util
import os

from stored_group import DATA_START, SECTOR

_PATH = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "vm", "log-writes-replay")
_loader = importlib.machinery.SourceFileLoader("log_writes_replay", _PATH)
replay = importlib.util.module_from_spec(importlib.util.spec_from_loader("log_writes_replay", _loader))
_loader.exec_module(replay)

KEPT, LOST, MIXED = "what the disk has taken is kept", "what was not flushed is lost", "some of what was not flushed is lost"
MODES = (KEPT, LOST, MIXED)


class Recording:
    """`volumes`: where PVs begin, as stretches of the recorded disk. The rest of it counts as a disk without a cache."""

    def __init__(self, path, volumes):
        self.log, self.volumes = os.open(path, os.O_RDONLY | os.O_CLOEXEC), volumes
        self.entries = list(replay.entries(self.log))
        marks = {entry.mark: number for number, entry in enumerate(self.entries) if entry.mark}
        self.start, self.end = marks["start"], marks["end"]

    def close(self):
        os.close(self.log)

    def moments(self):
        """After so many entries the power may go, each of them another state of the PVs or of what is flushed."""
        return [number + 1 for number in range(self.start, self.end)
                if self._pv(self.entries[number]) or self.entries[number].flags & replay.FLUSH]

    def writes(self, moment, mode, rng):
        """[(offset on the recorded disk, bytes)], in order.

        LVM never flushes between the writes of one commit: of the group's metadata an earlier write is never lost before a later
        one. Other writes are lost one by one, or even sector by sector.
        """
        flushed = max((number for number in range(moment) if self.entries[number].flags & replay.FLUSH), default=0)
        metadata_kept = rng.randrange(moment - flushed + 1) + flushed
        found = []
        for number, entry in enumerate(self.entries[:moment]):
            if not entry.size or entry.flags & (replay.MARK | replay.DISCARD):
                continue
            data = os.pread(self.log, entry.size, entry.data)
            pv = self._pv(entry)
            if mode == KEPT or number < flushed or not pv or entry.flags & replay.FUA:
                found.append((entry.offset, data))
            elif mode == MIXED and entry.offset - pv.offset < DATA_START:
                if number < metadata_kept:
                    found.append((entry.offset, data))
            elif mode == MIXED:
                found += _torn(entry.offset, data, rng)
        return found

    def _pv(self, entry):
        return next((pv for pv in self.volumes if entry.size and pv.offset <= entry.offset < pv.offset + pv.size), None)


def _torn(offset, data, rng):
    draw = rng.random()
    if draw < 0.8:
        return [(offset, data)] if draw < 0.4 else []
    return [(offset + at, data[at : at + SECTOR]) for at in range(0, len(data), SECTOR) if rng.random() < 0.5]
