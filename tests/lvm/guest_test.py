"""The layer on real LVM and device-mapper: see lvm_guest.cc. Arguments: the program for the VM, and options of run-in-vm."""

import os
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
RUN_IN_VM = os.path.join(HERE, "..", "vm", "run-in-vm")


def main(guest, *options):
    environment = {**os.environ, "LVM_SYSTEM_DIR": os.path.join(HERE, "system")}
    return subprocess.run([RUN_IN_VM, "--timeout", "240", "--disk", "4G", "--disk", "4G", "--disk", "8T", *options, "--", guest],
                          env=environment, check=False).returncode


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
