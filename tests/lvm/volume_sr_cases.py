"""What is required of SRs on thick LVM. MAKERS run outside the VM, CASES inside."""

import oracles
import volume_state
from volume_sr import VolumeSrMaker


def random_sr(directory, rng):
    return VolumeSrMaker(directory, rng).random()


def require(condition, text):
    if not condition:
        raise oracles.Failure(text)


def agree(sr):
    """The maker and the readers agree, before the program under test has a part in it."""
    group = sr.install()
    state = volume_state.VolumeState(group, sound=True)
    require(state.fingerprints() == sr.disks, f"read {state.fingerprints()}, made {sr.disks}")
    require(not group.active(), f"still active: {group.active()}")
    for image in sr.images:
        node = state.nodes[image.uuid]
        require(node.parent == (image.parent and image.parent.uuid), f"the parent of {image.name}: {node}")
        require(node.hidden == image.hidden and node.end <= node.lv.size, f"{image.name}: {node}")
    return {"disks": len(sr.disks), "read by QEMU": state.compared}


MAKERS = {"agree": random_sr}
CASES = {"agree": agree}
USUAL = {"agree": 3}
