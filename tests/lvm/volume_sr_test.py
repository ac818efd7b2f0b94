"""SRs on thick LVM in a VM: volume_sr_cases.py says what is required. The images are made here, where programs start quickly.

    volume_sr_test.py [--seed N] [--cases NAME=COUNT...] [--in-vm OPTION...]     COPPICE_BINARY names the program
"""

import argparse
import os
import pickle
import random
import shutil
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "support", "py"))
sys.path.insert(0, HERE)
import volume_sr_cases  # noqa: E402

RUN_IN_VM = os.path.join(HERE, "..", "vm", "run-in-vm")
DISK = "4G"


def parse(words):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument("--seed", type=int, default=None, help="of the first case of each kind; the others follow")
    parser.add_argument("--cases", nargs="*", default=None, help="of which kind how many, instead of a few of each")
    parser.add_argument("--timeout", type=int, default=540)
    parser.add_argument("--in-vm", nargs=argparse.REMAINDER, default=[], help="options of run-in-vm")
    return parser.parse_args(words)


def make(root, kinds, seed):
    """One file for each case, in the order of its name."""
    jobs = [(kind, seed + number) for kind, count in kinds.items() for number in range(count)]
    for number, (kind, case_seed) in enumerate(jobs):
        rng = random.Random(case_seed)
        sr = volume_sr_cases.CASES[kind][0](f"{root}/5e1f{number:04x}-0000-4000-8000-{case_seed:012x}", rng)
        with open(f"{root}/{number:04}.case", "wb") as file:
            pickle.dump((kind, case_seed, sr), file)


def main(words):
    options = parse(words)
    kinds = {kind: usual for kind, (_, _, usual) in volume_sr_cases.CASES.items()}
    if options.cases is not None:
        kinds = {name: int(count) for name, _, count in (word.partition("=") for word in options.cases)}
    seed = options.seed if options.seed is not None else 1
    print(f"--seed {seed} --cases {' '.join(f'{kind}={count}' for kind, count in kinds.items())}", flush=True)
    root = tempfile.mkdtemp(prefix="coppice-volumes-", dir=os.environ.get("RUN_IN_VM_TMP", "/var/tmp"))
    try:
        make(root, kinds, seed)
        environment = {**os.environ, "LVM_SYSTEM_DIR": os.path.join(HERE, "system")}
        command = ["/usr/bin/python3", "-B", os.path.join(HERE, "volume_sr_guest.py"), root]
        return subprocess.run([RUN_IN_VM, "--timeout", str(options.timeout), "--disk", DISK, "--disk", DISK, *options.in_vm,
                               "--", *command], env=environment, check=False).returncode
    finally:
        shutil.rmtree(root)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
