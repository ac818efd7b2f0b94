#!/usr/bin/python3
"""Random SRs of mixed trees: what `plan` announces is what `run --once` does, every disk keeps its bytes, nothing is left to do.

    random_trees.py [--seed N] [--count N] [--jobs N]     COPPICE_BINARY names the program
"""

import collections
import json
import os
import random
import sys
import uuid

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "support", "py"))

import chain_reader  # noqa: E402
import libvhdi_reader  # noqa: E402
import oracles  # noqa: E402
import qemu_maker  # noqa: E402
import seeded_runner  # noqa: E402
import sr_state  # noqa: E402
from image_maker import DRIVERS, MIB  # noqa: E402
from sr_maker import SrMaker  # noqa: E402

STEP_FIELDS = ("op", "vdi", "into", "direction", "copy_bytes", "space_needed", "space_freed", "pause_ms", "mode")
# Without a feature that forbids merging, these are the only reasons for leaving something alone.
STRUCTURAL = {"siblings", "parent-visible"}


def options(scratch):
    return ["--state-dir", os.path.join(scratch, "state"), "--run-dir", os.path.join(scratch, "run"), "--xapi", "none"]


def foreign_hashes(state, images, before, scratch):
    """{uuid: {oracle: hash}} of the visible disks that foreign tools understand, by what each disk was made of."""
    result = {}
    by_uuid = {image.uuid: image for image in images}
    for node in state.visible():
        image = by_uuid[node.uuid]
        found = dict(oracles.foreign_hashes(state.directory, image, scratch))
        if found:
            result[node.uuid] = found
            expected = chain_reader.sha256(state.directory, node.file)
            if any(value != expected for value in found.values()):
                raise oracles.Failure(f"readers disagree before anything has happened: {image.name} {found}")
    return result


def require_foreign_readers_agree(state, hashes, scratch):
    """The chains as they are now, read by the same foreign tools where they still understand them."""
    counts = collections.Counter()
    for vdi, found in hashes.items():
        layers = state.chain(state.nodes[vdi])
        paths = [state.path(layer) for layer in layers]
        kinds = {layer.format for layer in layers}
        expected = next(iter(found.values()))
        if "qemu-img" in found and (kinds <= {"qcow2", "raw"} or (kinds == {"vhd"} and len(layers) == 1)):
            output = os.path.join(scratch, "after.raw")
            qemu_maker.convert([(path, DRIVERS[layer.format]) for path, layer in zip(paths, layers)], output)
            counts["disks read by qemu-img after"] += 1
            if oracles.file_sha256(output) != expected:
                raise oracles.Failure(f"qemu-img reads {vdi} differently after the merge")
        if "libvhdi" in found and kinds == {"vhd"} and len({layer.size for layer in layers}) == 1:
            counts["disks read by libvhdi after"] += 1
            digest = oracles.hashlib.sha256()
            libvhdi_reader.read_all(paths, digest.update)
            if digest.hexdigest() != expected:
                raise oracles.Failure(f"libvhdi reads {vdi} differently after the merge")
    return counts


def largest_growth(before, maps, removed, kin, now):
    """How much a target may have grown: what the emptied images mapped, in its own units, with the tables for it.

    For every unit (cluster, block) that they touch: the unit, its part of an L2 table and refcounts, or its bitmap and gap.
    A new unit also costs an L2 table that nobody had, at most one for each unit; growing moves the L1 and refcount tables once.
    What is rounded to pages by the file system is in the slack.
    """
    ranges = [piece for uuid in kin & removed for piece in maps[uuid]]
    unit = now.unit
    units = len(sr_state.units_touched(ranges, unit))
    sizes = [before.nodes[uuid].size for uuid in kin] + [now.size]
    if now.format == "vhd":
        tables = (max(sizes) // unit + 1) * 5 + 8192
        return units * (unit + unit // 4096 + 4096 + 4096) + tables
    l2_covers = unit * (unit // 16)
    tables = len(sr_state.units_touched(ranges, l2_covers)) * 2
    table_bytes = max(sizes) // l2_covers * 8 * 2 + max(sizes) // unit * 8
    return (units + tables + 16) * unit + units * unit // 64 + table_bytes + 65536


def require_small(before, maps, after):
    """No survivor is larger than it was plus what was poured into it."""
    by_inode = {node.inode: node for node in before.nodes.values()}
    removed = {uuid for uuid in before.nodes if by_inode[before.nodes[uuid].inode].inode not in
               {node.inode for node in after.nodes.values()}}
    for now in after.nodes.values():
        was = by_inode.get(now.inode)
        if now.format == "raw" or was is None or not now.unit:
            continue
        kin = {node.uuid for node in before.chain(was)}
        kin |= {node.uuid for node in before.nodes.values() if was.uuid in (layer.uuid for layer in before.chain(node))}
        allowed = was.stored + largest_growth(before, maps, removed, kin, now)
        if now.stored > allowed:
            raise oracles.Failure(f"{now.file} uses {now.stored} bytes; it had {was.stored}, and {allowed} are plenty")


def require_same_steps(plan, result):
    planned = [{field: step.get(field) for field in STEP_FIELDS} for step in plan["steps"]]
    done = [{field: step.get(field) for field in STEP_FIELDS} for step in result["done"]]
    if planned != done or result["failed"]:
        raise oracles.Failure("plan and run differ:\nplanned " + json.dumps(planned, indent=1) + "\ndone " +
                              json.dumps(done, indent=1) + "\nfailed " + json.dumps(result["failed"], indent=1))
    for step in result["done"]:
        if step["op"] != "collect" and step["copied_bytes"] + step["shared_bytes"] < 0:
            raise oracles.Failure(f"strange figures: {step}")


def reasons(result):
    return {entry["vdi"]: entry["reason"] for entry in result["skipped"]}


def require_no_excuse(before, skipped):
    """Where no image has a feature that forbids merging, nothing is skipped but for the shape of the tree."""
    if any(node.traits for node in before.nodes.values()):
        return
    for vdi, reason in skipped.items():
        if reason not in STRUCTURAL:
            raise oracles.Failure(f"{vdi} is skipped for {reason}, though every image is sound and unused")


def case(seed, scratch):
    rng = random.Random(seed)
    directory = os.path.join(scratch, str(uuid.UUID(int=rng.getrandbits(128), version=4)))
    maker = SrMaker(directory, rng, limit=rng.choice([MIB, 4 * MIB, 8 * MIB, 64 * MIB]))
    images = maker.random()
    stray = maker.stray_files()
    before = sr_state.SrState(directory)
    disks = before.fingerprints()
    foreign = foreign_hashes(before, images, disks, scratch)
    maps = {uuid: before.mapped(node) for uuid, node in before.nodes.items()}
    counts = collections.Counter(images=len(images), disks=len(disks))

    plan = oracles.coppice_json("plan", directory, *options(scratch))
    sr_state.require_same_disks(disks, sr_state.SrState(directory), "after plan")
    result = oracles.coppice_json("run", directory, "--once", *options(scratch))
    after = sr_state.SrState(directory)
    sr_state.require_same_disks(disks, after, "after run")
    sr_state.require_visible(disks, after, "after run")
    require_same_steps(plan, result)
    sr_state.require_tidy(after, reasons(result), "after run")
    require_no_excuse(before, reasons(result))
    sr_state.require_sound(after, "after run")
    require_small(before, maps, after)
    counts.update(require_foreign_readers_agree(after, foreign, scratch))
    for step in result["done"]:
        counts[f"{step['op']} {step['direction'] if step['into'] else ''}".strip()] += 1
    require_untouched(directory, stray, before)

    again = oracles.coppice_json("run", directory, "--once", *options(scratch))
    if again["done"] or again["failed"]:
        raise oracles.Failure(f"a second run does something: {again}")
    return counts


def require_untouched(directory, stray, before):
    for path, content in stray.items():
        with open(path, "rb") as file:
            if file.read() != content:
                raise oracles.Failure(f"{path} has been changed")
    known = {os.path.basename(path) for path in stray} | {"lost+found"} | {node.file for node in before.nodes.values()}
    for name in os.listdir(directory):
        if name not in known and not sr_state.NAME.match(name):
            raise oracles.Failure(f"{name} has been left in the SR")


if __name__ == "__main__":
    seeded_runner.main(case, description=__doc__.splitlines()[0], count=320, before=oracles.binary)
