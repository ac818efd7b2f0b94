"""SRs on thick LVM that are 95 to 100 % full: what the plan says fits with exactly the room that it says, and where something has to
wait for room it says exactly how many extents are lacking.

    volume_sr_drill.py [--first SEED] [--count N] [--seconds N] [--seed SEED]     COPPICE_BINARY names the program
"""

import collections
import os
import random
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "support", "py"))
sys.path.insert(0, HERE)
import slices  # noqa: E402
import volume_sr_drain  # noqa: E402
import volume_sr_settled  # noqa: E402
from oracles import Failure  # noqa: E402
from stored_group import DATA_START, StoredGroup, lay_out  # noqa: E402
from thick_sizes import MIB  # noqa: E402
from volume_sr import VolumeSrMaker  # noqa: E402
from volume_state import VolumeState  # noqa: E402

AS_IT_IS, AS_PLANNED = "as it is", "as planned"
VERBS = {AS_IT_IS: [["plan"], slices.RUN, ["leave-lacking"], slices.RUN], AS_PLANNED: [["plan"], ["leave-planned"], slices.RUN]}


class Case:
    """One SR in two slices."""

    def __init__(self, seed, directory, disk):
        self.seed, rng = seed, random.Random(seed)
        scratch = f"{directory}/{seed}/volumes"
        os.makedirs(scratch)
        place = f"{directory}/{seed}/5e1f0003-0000-4000-8000-{seed:012x}"
        if rng.random() < 0.4:
            sr = volume_sr_drain.make(place, rng)
        else:
            maker = VolumeSrMaker(place, rng, most_images=rng.choice([4, 8]), limit=rng.choice([8 * MIB, 64 * MIB]), snapshots=False)
            maker.deflated = rng.random() < 0.7
            sr = maker.random()
        used = sum(volume.extents for volume in sr.volumes)
        # Of small SRs a twentieth is hardly anything.
        self.room = rng.randrange(max(used // 19, 6) + 1)
        self.groups = {}
        for way in VERBS:
            extents = used + self.room + rng.randrange(64, 70)  # the rest is taken
            self.groups[way] = StoredGroup(sr.uuid, [disk.slice(DATA_START + extents * volume_sr_drain.EXTENT)], scratch)
            lay_out(sr, self.groups[way], self.room)
        self.before = VolumeState(self.groups[AS_IT_IS].load())

    def jobs(self, first):
        self.numbers = {way: first + number for number, way in enumerate(self.groups)}
        return [{"number": self.numbers[way], "group": group.name, "pvs": [slices.place(pv) for pv in group.stretches],
                 "verbs": VERBS[way]} for way, group in self.groups.items()]

    def check(self, told):
        counts = collections.Counter({"SRs": 1})
        for way, group in self.groups.items():
            entry = told[self.numbers[way]]
            if "trouble" in entry:
                raise Failure(f"{way}, {self.room} free: {entry['trouble']}")
            if entry["active"] or entry["refcounts"]:
                raise Failure(f"{way}: left active {entry['active']}, counted {entry['refcounts']}")
            plan, *_, result = entry["results"]
            after = VolumeState(group.load(), sound=True)
            volume_sr_settled.require_unharmed(self.before, after, way)
            for outcome in entry["results"]:
                if outcome.get("failed"):
                    raise Failure(f"{way}, {self.room} free: {outcome['failed']}; planned {plan}")
            counts.update(self._as_it_is(entry["results"]) if way == AS_IT_IS else self._as_planned(plan, result, after))
        return counts

    def _as_it_is(self, results):
        plan, first, _, second = results
        lacks = volume_sr_drain.lacking(first)
        if bool(lacks) != bool(second["done"]):
            raise Failure(f"{self.room} extents were free, {lacks} more lacked and were given: {second}; before {first}")
        return {"steps": len(first["done"]), "in slices": sum(step["in_slices"] for step in plan["steps"]),
                "waited for room": 1 if lacks else 0}

    def _as_planned(self, plan, result, after):
        """Room that a step frees may let the next plan go another way, which leaves no more images."""
        planned = len(self.before.nodes) - sum(len(step["emptied"]) for step in plan["steps"])
        if len(after.nodes) > planned:
            raise Failure(f"{len(after.nodes)} images left with the room that was planned: planned {plan}, done {result}")
        return {"planned steps": len(plan["steps"])}


def main():
    options = slices.parser(__doc__, count=12, seconds=80).parse_args()
    work = [(slices.batch, Case, part, options.seconds) for part in slices.parts(slices.seeds(options), 25)]
    return slices.run_batches(work, "SRs")


if __name__ == "__main__":
    sys.exit(main())
