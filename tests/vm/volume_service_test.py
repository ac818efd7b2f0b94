"""The shipped units under a real systemd, for an SR on LVM: see volume_service_guest.py for what is required of them."""

import os
import pickle
import random
import shutil
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "support", "py"))
from thick_sizes import MIB  # noqa: E402
from volume_sr import VolumeSrMaker  # noqa: E402

SR = "c0a7e11d-52f4-4d0b-8a6e-3b1f9d2c7e58"
BLOCK, BLOCKS = 2 * MIB, 80


def make(root, seed):
    """A merge that copies more than two batches of 32 MiB, in either direction."""
    maker = VolumeSrMaker(f"{root}/{SR}", random.Random(seed), snapshots=False)
    lower = maker.image("vhd", BLOCKS * BLOCK, hidden=True)
    upper = maker.image("vhd", BLOCKS * BLOCK, lower, hidden=True)
    for number, image in enumerate((lower, upper)):
        image.unit = BLOCK
        image.pieces = [(block * BLOCK + number * MIB, MIB) for block in range(BLOCKS)]  # nothing is covered by a newer layer
    for _ in range(2):
        maker.image("vhd", upper.size, upper)
    with open(f"{root}/sr.pickle", "wb") as file:
        pickle.dump(maker.build(), file)
    return file.name


def main():
    seed = int(os.environ.get("SERVICE_SEED", random.randrange(1 << 32)))
    print(f"SERVICE_SEED={seed}", flush=True)
    os.environ.setdefault("COPPICE_BUILD", os.path.dirname(os.path.dirname(os.environ["COPPICE_BINARY"])))
    root = tempfile.mkdtemp(prefix="coppice-volumes-", dir=os.environ.get("RUN_IN_VM_TMP", "/var/tmp"))
    try:
        return subprocess.run([os.path.join(HERE, "run-in-vm"), "--systemd", "--timeout", "540", "--disk", "1G", "--disk", "1G", "--",
                               "/usr/bin/python3", "-B", os.path.join(HERE, "volume_service_guest.py"), make(root, seed)],
                              check=False).returncode
    finally:
        shutil.rmtree(root)


if __name__ == "__main__":
    sys.exit(main())
