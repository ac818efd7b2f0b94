"""What is required of SRs on thick LVM: by each name, what makes the SR outside the VM, what is done inside, and how often that
is done by default."""

import volume_sr_commands
import volume_sr_drain
import volume_sr_kills
import volume_sr_looks
import volume_sr_runs
import volume_sr_service
import volume_state
from volume_sr import VolumeSrMaker
from volume_sr_program import require


def random_sr(directory, rng):
    return VolumeSrMaker(directory, rng).random()


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


CASES = {
    "agree": (random_sr, agree, 1),
    "look": (volume_sr_looks.make, volume_sr_looks.look, 1),
    "look-damaged": (volume_sr_looks.make_damaged, volume_sr_looks.look, 1),
    "run": (volume_sr_runs.make, volume_sr_runs.run, 1),
    "full": (volume_sr_runs.make_full, volume_sr_runs.run_full, 1),
    "drain": (volume_sr_drain.make, volume_sr_drain.run, 1),
    "used": (volume_sr_runs.make, volume_sr_runs.run_used, 1),
    "commands": (volume_sr_commands.make, volume_sr_commands.run, 1),
    "stopped": (volume_sr_service.make, volume_sr_service.stopped, 1),
    "woken": (volume_sr_service.make_forked, volume_sr_service.woken, 1),
    "kill": (volume_sr_kills.make, volume_sr_kills.run, 1),
    "kill-drain": (volume_sr_drain.make, volume_sr_kills.run_full, 1),
}
