"""Which commands of LVM and device-mapper run in the VM, and for how long: theirs are replaced by a script that writes it down."""

import contextlib
import os
import shutil
from dataclasses import dataclass

PLACE = "/run/command-log"
PROGRAMS = ("/usr/sbin/lvm", "/usr/sbin/dmsetup")
# LVM looks at the name that it is called by.
SCRIPT = """#!/bin/bash
began=$EPOCHREALTIME
(exec -a "$0" {real} "$@")
status=$?
echo "$began $EPOCHREALTIME $status ${{0##*/}} $*" >>{log}
exit $status
"""


@dataclass
class Command:
    began: float  # seconds since 1970-01-01
    ended: float
    status: int
    words: list

    @property
    def program(self):
        return self.words[1] if self.words[0] == "lvm" else self.words[0]

    @property
    def text(self):
        return " ".join(self.words)


@contextlib.contextmanager
def logged():
    """A list that has them all when the block has ended. A command of this block may be slower by some milliseconds."""
    os.makedirs(PLACE, exist_ok=True)
    log = os.path.join(PLACE, "log")
    with open(log, "w", encoding="utf-8"):
        pass
    commands = []
    for program in PROGRAMS:
        real = os.path.join(PLACE, os.path.basename(program))
        shutil.copy2(program, real)
        _replace(program, SCRIPT.format(real=real, log=log).encode())
    try:
        yield commands
    finally:
        for program in PROGRAMS:
            with open(os.path.join(PLACE, os.path.basename(program)), "rb") as file:
                _replace(program, file.read())
    with open(log, encoding="utf-8") as file:
        for line in file:
            began, ended, status, *words = line.split()
            commands.append(Command(float(began), float(ended), int(status), words))


def _replace(program, content):
    """By a new file: the old one may be running."""
    with open(program + ".new", "wb") as file:
        file.write(content)
    os.chmod(program + ".new", 0o755)
    os.replace(program + ".new", program)
