"""Verbs that look: what they say of an SR with strange neighbours, and that they touch nothing."""

import os
import uuid

import volume_state
from volume_group import Volume
from volume_sr import VolumeSrMaker
from volume_sr_program import Program, require
from thick_sizes import EXTENT


def with_neighbours(sr, rng):
    """LVs that are no images, most of them of the storage manager."""
    names = {"MGT": (), f"{uuid.UUID(int=rng.getrandbits(128), version=4)}.cbtlog": ("cbtlog",), "scratch": ("mine",),
             "VHD-notes": (), "LV-": (), "VHD-" + sr.images[0].uuid.upper() + "_copy": ("hidden",)}
    for name, tags in names.items():
        if rng.random() < 0.5:
            sr.others.append((Volume(name, rng.randrange(1, 3), tags), rng.randbytes(EXTENT)))
    return sr


def make(directory, rng):
    return with_neighbours(VolumeSrMaker(directory, rng).random(), rng)


def make_damaged(directory, rng):
    sr = make(directory, rng)
    for prefix in rng.sample(["VHD-", "QCOW2-"], rng.choice([1, 2])):
        name = prefix + str(uuid.UUID(int=rng.getrandbits(128), version=4))
        sr.others.append((Volume(name, 1), rng.randbytes(EXTENT)))
    return sr


def require_tree(tree, state):
    """Every image that the reader knows, as it knows it, and every one that it cannot read as damaged."""
    nodes = {node["uuid"]: node for node in tree["nodes"]}
    broken = {name.partition("-")[2] for name in state.broken}
    require(tree["kind"] == "lvm", f"kind: {tree['kind']}")
    require(set(nodes) == set(state.nodes) | broken, f"tree names {sorted(nodes)}; there are {sorted(state.nodes)}, {broken}")
    for vdi, node in state.nodes.items():
        expected = {"format": node.format, "parent": node.parent, "hidden": node.hidden, "leaf": not state.children(vdi),
                    "virtual_size": node.size, "physical_size": node.lv.size}
        found = {field: nodes[vdi][field] for field in expected}
        require(found == expected, f"tree says {found} of {node.file}; it is {expected}")
    for vdi in broken:
        require(nodes[vdi]["state"] != "ok", f"{vdi} cannot be read, and is said to be ok")


def require_check(check, state):
    found = {os.path.basename(image["path"]): image for image in check["images"]}
    require(set(found) == {node.file for node in state.nodes.values()} | set(state.broken), f"check names {sorted(found)}")
    for node in state.nodes.values():
        verdict = found[node.file]["verdict"]
        require(verdict == "ok" or verdict == "unsupported" and node.traits, f"check of {node.file}: {found[node.file]}")
    for name in state.broken:
        require(not found[name]["readable"], f"{name} cannot be read; check says {found[name]}")


def look(sr):
    group = sr.install()
    before = volume_state.VolumeState(group)
    require(before.fingerprints() == sr.disks, "the maker and the reader disagree")
    program = Program(group)
    require_tree(program.ask("tree"), before)
    plan = program.ask("plan")
    require_check(program.ask("check", ok=(3,) if before.broken else (0,)), before)
    for node in before.visible()[:2]:
        require(program.read(node.file) == before.fingerprint(node), f"read of {node.file} is not what a guest reads")
    dry = program.ask("run", "--once", "--dry-run")
    require(dry["steps"] == plan["steps"], f"a dry run says {dry['steps']}, the plan {plan['steps']}")
    if before.nodes:
        program.ask("explain", sr.rng.choice(sorted(before.nodes)))
    skipped = {entry["vdi"]: entry["reason"] for entry in plan["skipped"]}
    for vdi in (name.partition("-")[2] for name in before.broken):
        require(skipped.get(vdi) == "image-damaged", f"{vdi} cannot be read; the plan says {skipped.get(vdi)}")
        require(vdi not in str(plan["steps"]), f"{vdi} cannot be read, and is part of a step")
    after = volume_state.VolumeState(group)
    require(after.same_as(before), "something has changed")
    return {"steps": len(plan["steps"]), "damaged": len(before.broken)}
