"""What must be true of an SR on LVM when a run has ended."""

import oracles
import sr_state
import thick_sizes
from thick_sizes import EXTENT
from volume_sr_program import require

# Without a feature that forbids merging, these are the only reasons for leaving something alone.
STRUCTURAL = {"siblings", "parent-visible"}


def reasons(result):
    return {entry["vdi"]: entry["reason"] for entry in result["skipped"]}


def require_unharmed(before, after, what):
    """At any moment, also right after a kill: the disks, and what is none of our business."""
    sr_state.require_same_disks(before.fingerprints(), after, what)
    for name, content in before.others.items():
        require(after.others.get(name) == content, f"{what}: {name}, which holds no image, has changed")
    require(after.broken == before.broken, f"{what}: unreadable are {after.broken}, were {before.broken}")
    used = sum(lv.size // EXTENT for lv in after.lvs.values())
    require(after.free + used == after.extents, f"{what}: {after.free} free and {used} used extents of {after.extents}")


def require_settled(before, after, result, what, excuses=()):
    """`excuses`: further reasons for leaving something alone that are right here."""
    require_unharmed(before, after, what)
    sr_state.require_visible(before.fingerprints(), after, what)
    require(not result["failed"], f"{what}: {result['failed']}")
    skipped = reasons(result)
    sr_state.require_tidy(after, skipped, what)
    if not any(node.traits for node in before.nodes.values()):
        strange = {vdi: reason for vdi, reason in skipped.items() if reason not in STRUCTURAL.union(excuses)}
        require(not strange, f"{what}: left alone, though every image is sound and unused: {strange}")
    require(after.active == before.active, f"{what}: active are {after.active}, were {before.active}")
    require(after.refcounts == before.refcounts, f"{what}: reference counts {after.refcounts}, were {before.refcounts}")
    stray = set(after.lvs) - set(before.others) - set(before.broken) - {node.file for node in after.nodes.values()}
    require(not stray, f"{what}: stray LVs {sorted(stray)}")
    for node in after.nodes.values():
        require_right_volume(node, before, min(before.free, after.free), what)


def is_short(node, free):
    """No room for a whole leaf and the journal entry of its making, when its turn came: then it is no smaller than it was."""
    return thick_sizes.extents(node.inflated - node.lv.size) + 1 > free


def is_thin(node):
    """As sm sees it, which takes every QCOW2 image for one with clusters of 64 KiB."""
    return node.lv.size < thick_sizes.full(node.format, node.size)


def require_right_volume(node, before, free, what):
    """The LV of an image is as it was, or as sm makes the one of an image like that."""
    was = next((other for other in before.nodes.values() if other.lv.id == node.lv.id), None)
    require(was is not None, f"{what}: {node.file} is another LV than any before")
    require(node.lv.size >= node.end, f"{what}: {node.file} ends at {node.end}, its LV at {node.lv.size}")
    require(node.lv.writable != node.hidden, f"{what}: {node.file} is {'hidden' if node.hidden else 'visible'}, its LV is "
                                             f"{'writable' if node.lv.writable else 'read-only'}")
    require(("hidden" in node.lv.tags) == (node.hidden and node.format == "raw"), f"{what}: tags {node.lv.tags} of {node.file}")
    if (node.lv.size, node.uuid, node.hidden) == (was.lv.size, was.uuid, was.hidden):
        return
    if node.format == "raw":
        right = max(was.lv.size, thick_sizes.full("raw", node.size))
    elif node.hidden:
        right = thick_sizes.round_up(EXTENT, node.end)
    elif is_thin(before.nodes[node.uuid]) and node.lv.size < node.inflated:
        # A disk without room for every write is a snapshot, to sm: it keeps what it has, or gets what its data needs.
        need = thick_sizes.round_up(EXTENT, node.end)
        right = need if node.lv.size == need else max(need, before.nodes[node.uuid].lv.size)
    elif node.lv.size < node.inflated and is_short(node, free):
        right = max(node.lv.size, before.nodes[node.uuid].lv.size)
    else:
        # A table with room for 2 TiB may take more than sm's rule has in mind.
        right = max(node.inflated, thick_sizes.round_up(EXTENT, node.end))
    most = thick_sizes.round_up(EXTENT, right + node.passing) if node.passing else right
    require(right <= node.lv.size <= most, f"{what}: {node.file}, {node}: its LV should be {right} bytes; was {was}")


def require_merged_volumes(before, after, result, what):
    """Those that a merge has left: bases as small, leaves as large as they get, but for what sm takes for snapshots."""
    for step in result["done"]:
        if step["op"] == "collect":
            continue
        survivor = step["vdi"] if step["direction"] == "up" or step["op"] == "leaf-coalesce" else step["into"]
        node = after.nodes.get(survivor)
        if node is None or node.format == "raw":
            continue
        if node.hidden:
            require(node.lv.size == thick_sizes.round_up(EXTENT, node.end), f"{what}: base {node}")
        else:
            require(node.lv.size >= node.inflated or is_thin(before.nodes[survivor])
                    or is_short(node, min(before.free, after.free)), f"{what}: leaf {node}")


def require_last(program, what):
    again = program.run()
    if again["done"] or again["failed"]:
        raise oracles.Failure(f"{what}: a further run does something: {again}")
