"""How many commands of LVM a step takes: each is a tenth of a second and more, and reads and writes the metadata of all volumes."""

import collections
import os
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "crash"))

import command_log
import kill_every_change
import oracles
import volume_sr_program
from volume_sr import VolumeSrMaker
from volume_sr_program import require
from volume_sr_settled import require_last, require_settled
from volume_state import VolumeState

# By the shape of the tree, of one step: what changes metadata, and what makes volumes active or inactive: see
# docs/design/volumes.md. What the sizes of this SR ask for comes on top of that.
MOST = {
    "collect vhd": (1, 0),
    "leaf up vhd": (3, 3),
    "leaf down vhd": (9, 4),
    "inner up qcow2": (5, 3),
    "inner down vhd": (7, 5),
}
SHAPES = {name: (build, verb) for name, build, verb in kill_every_change.SHAPES if name in MOST}
FIRST_REPORT = 1
ENLARGEMENT, SHRINKING = 3, 1  # an entry comes and goes around an enlargement; a shrunken volume is made read-only with all others
RESIZES = 2  # of one step: before and after the merge
CHANGES = ("lvcreate", "lvremove", "lvrename", "lvextend", "lvreduce")


def make(directory, rng):
    maker = VolumeSrMaker(directory, rng, snapshots=False)
    name = sorted(MOST)[rng.randrange(len(MOST))]
    SHAPES[name][0](maker)
    sr = maker.build()
    sr.shape = name
    return sr


def is_change(command):
    return command.program in CHANGES or any(word in command.words for word in ("-p", "--addtag", "--deltag"))


def run(sr):
    group = sr.install()
    before = VolumeState(group)
    program = volume_sr_program.Program(group)
    verb, *words = SHAPES[sr.shape][1]
    with command_log.logged() as commands:
        result = oracles.coppice_json(verb, program.sr, *words, *program.options())
    require_settled(before, VolumeState(group, sound=True), result, sr.shape)
    require_last(program, sr.shape)
    steps = len(result["done"])
    require(steps > 0, f"nothing was done: {result}")
    told = "\n".join(f"{command.ended - command.began:.3f} {command.text}" for command in commands)
    changes = sum(map(is_change, commands))
    activations = sum(command.program == "lvchange" for command in commands if not is_change(command))
    most_changes, most_activations = (steps * most for most in MOST[sr.shape])
    resizes = collections.Counter(command.program for command in commands)
    require(resizes["lvextend"] + resizes["lvreduce"] <= RESIZES * steps, f"{sr.shape}: resized more than twice:\n{told}")
    most_changes += ENLARGEMENT * resizes["lvextend"] + SHRINKING * resizes["lvreduce"]
    require(changes <= most_changes, f"{sr.shape}, {steps} steps: {changes} commands change metadata, allowed {most_changes}:\n{told}")
    require(activations <= most_activations, f"{sr.shape}, {steps} steps: {activations} commands activate:\n{told}")
    require(len(commands) - changes - activations <= FIRST_REPORT, f"{sr.shape}: it asks more than once:\n{told}")
    return {sr.shape: steps, "changes": changes, "activations": activations}
