"""SRs so full that merges fit only in slices: what is the least that has to be free, and does it do."""

import re

import volume_group
from thick_sizes import EXTENT, MIB
from volume_sr import VolumeSrMaker
from volume_sr_program import Program, require
from volume_sr_runs import count_steps, steps
from volume_sr_settled import require_last, require_merged_volumes, require_settled
from volume_state import VolumeState

MINIMUM = 8  # extents that have to be free, as docs/design/volumes.md says


def stripes(rng, size):
    """Shares of the disk in pieces of a few MiB, in random order: one for each image, and a little of the other's."""
    places = list(range(0, size - 2 * MIB, 2 * MIB))
    rng.shuffle(places)
    half = len(places) // 2
    shares = [places[:half], places[half:]]
    for share, other in zip(shares, reversed(shares)):
        kept = share[:rng.randrange(half // 2, half)] + rng.sample(other, 2)
        yield [(place + 512 * rng.randrange(64), MIB + 512 * rng.randrange(1024)) for place in kept]


def make(directory, rng):
    """Two hidden images, each with more than fits at one go, below two disks that can be merged with nothing."""
    maker = VolumeSrMaker(directory, rng, snapshots=False)
    maker.deflated = True
    kind, size = rng.choice(["vhd", "qcow2"]), rng.choice([64, 80, 96]) * MIB
    mid = maker.chain((kind, True, size), (kind, True, size))
    mid.pieces, mid.parent.pieces = stripes(rng, size)
    for _ in range(2):
        maker.image(kind, size, mid)
    return maker.build()


def fill(group, extents):
    if extents:
        volume_group.run("lvextend", "-q", "-l", f"+{extents}", f"{group.name}/{volume_group.FILLER}")


def lacking(plan):
    """How many extents more the plan asks for; None where nothing waits for space."""
    texts = [entry["text"] for entry in plan["skipped"] if entry["reason"] == "no-space"]
    return min((int(re.search(r"lacks ([0-9]+) extents", text)[1]) for text in texts), default=None)


def run(sr):
    """The least room with which the plan says that it goes, and one extent less."""
    group = sr.install(leave_free=MINIMUM)
    program = Program(group)
    plan, free = program.ask("plan"), MINIMUM
    require(lacking(plan) is None and plan["steps"], f"with {free} free extents: {plan}")
    fill(group, free)
    none = program.ask("plan")
    free = lacking(none)
    require(free, f"with no free extent: {none}")
    volume_group.run("lvreduce", "-f", "-q", "-l", f"-{free}", f"{group.name}/{volume_group.FILLER}")
    plan = program.ask("plan")
    require(lacking(plan) is None, f"{free} extents were lacking, and are free now: {plan}")
    needed = max(step["space_needed"] for step in plan["steps"]) // EXTENT
    require(needed == free, f"with {free} free extents it goes, and it needs {needed}: {plan}")
    before = VolumeState(group)
    what = f"with {free} free extents"
    result = program.run()
    after = VolumeState(group, sound=True)
    require_settled(before, after, result, what)
    require_merged_volumes(before, after, result, what)
    require(steps(result["done"])[0] == steps(plan["steps"])[0], f"planned {plan['steps']}, done {result['done']}")
    require_last(program, what)
    return {**count_steps(result), "sliced": sum(step["in_slices"] for step in plan["steps"]), "needed extents": free,
            "images' extents": sum(node.lv.size // EXTENT for node in before.nodes.values() if node.hidden)}
