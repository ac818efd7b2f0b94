"""Whole runs on random SRs: with room, with hardly any, and with a disk that is in use."""

import collections
import contextlib
import os

import volume_group
import volume_sr_looks
from thick_sizes import MIB
from volume_sr import VolumeSrMaker
from volume_sr_program import Program, require
from volume_sr_settled import reasons, require_last, require_merged_volumes, require_settled
from volume_state import VolumeState

STEP_FIELDS = ("op", "vdi", "into", "direction", "copy_bytes", "space_needed", "space_freed", "pause_ms", "mode")


def make(directory, rng):
    maker = VolumeSrMaker(directory, rng, most_images=6, limit=rng.choice([MIB, 8 * MIB, 64 * MIB]))
    return volume_sr_looks.with_neighbours(maker.random(), rng)


def make_full(directory, rng):
    """Merges that need room and nothing that gives any back before."""
    maker = VolumeSrMaker(directory, rng, snapshots=False)
    for kind in rng.sample(["vhd", "qcow2"], 2):
        maker.chain((kind, True, rng.choice([24, 64]) * MIB), (kind, False))
    return maker.build()


def steps(entries):
    return [{field: step.get(field) for field in STEP_FIELDS} for step in entries]


def count_steps(result):
    return collections.Counter(f"{step['op']} {step['direction'] if step['into'] else ''}".strip() for step in result["done"])


def run(sr):
    group = sr.install()
    before = VolumeState(group)
    program = Program(group)
    plan = program.ask("plan")
    result = program.run(*sr.rng.choice([[], ["--discard"]]))
    after = VolumeState(group, sound=True)
    require_settled(before, after, result, "after run")
    require_merged_volumes(before, after, result, "after run")
    require(steps(plan["steps"]) == steps(result["done"]), f"planned {plan['steps']}, done {result['done']}")
    require_last(program, "after run")
    return {**count_steps(result), "extents freed": after.free - before.free, "read by QEMU": after.compared}


def run_full(sr):
    """Hardly anything is free: what fits is done, the rest waits, and is done when there is room."""
    room = sr.rng.choice([0, 1, 4, 8])
    group = sr.install(leave_free=room)
    before = VolumeState(group)
    program = Program(group)
    result = program.run(ok=(0, 7))
    tight = VolumeState(group)
    require_settled(before, tight, result, f"with {room} free extents", ("no-space",))
    require_merged_volumes(before, tight, result, f"with {room} free extents")
    waiting = list(reasons(result).values()).count("no-space")
    require(waiting + len(result["done"]) > 0, f"nothing is done, and nothing waits for space: {result}")
    volume_group.run("lvremove", "-f", "-q", f"{group.name}/{volume_group.FILLER}")
    roomy = VolumeState(group)
    later = program.run()
    after = VolumeState(group, sound=True)
    require_settled(roomy, after, later, "with room")
    require(not waiting or later["done"], f"{waiting} waited for space, and nothing was done when there was some")
    return {**count_steps(result), "free extents": room, "waited for space": waiting, "done with room": len(later["done"])}


@contextlib.contextmanager
def in_use(group, chain):
    """As where a tapdisk has the disk open. `chain`: newest first."""
    directory = f"{volume_group.REFCOUNTS}/lvm-{group.sr}"
    os.makedirs(directory)
    for node in chain:
        with open(f"{directory}/{node.uuid}", "w", encoding="utf-8") as file:
            file.write("0 1\n" if node is chain[0] else "1 0\n")
    with group.activated([node.file for node in chain]):
        files = [os.open(group.path(node.file), os.O_RDWR if node is chain[0] else os.O_RDONLY) for node in chain]
        try:
            yield
        finally:
            for file in files:
                os.close(file)
    for node in chain:
        os.unlink(f"{directory}/{node.uuid}")
    os.rmdir(directory)


def run_used(sr):
    """A disk in use keeps its whole chain as it is, active and counted; others are merged."""
    group = sr.install()
    seen = VolumeState(group)
    chain = seen.chain(sr.rng.choice(seen.visible()))
    program = Program(group)
    with in_use(group, chain):
        before = VolumeState(group)
        result = program.run()
        after = VolumeState(group)
        require_settled(before, after, result, "in use", {"attached", "held"})
        for node in chain:
            require(after.nodes.get(node.uuid) == before.nodes[node.uuid], f"{node.file} is in use, and has changed")
    before = VolumeState(group)
    later = program.run()
    require_settled(before, VolumeState(group), later, "when it is free again")
    return {**count_steps(result), "chain in use": len(chain), "done later": len(later["done"])}
