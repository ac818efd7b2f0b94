"""In the VM that volume_sr_test.py starts: runs the cases it has made, one after the other, and names those that fail."""

import os
import pickle
import sys
import time
import traceback

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "support", "py"))
sys.path.insert(0, HERE)
import volume_sr_cases  # noqa: E402


def run_case(path):
    """Whether it went well."""
    with open(path, "rb") as file:
        kind, seed, sr = pickle.load(file)
    started, trouble, counts = time.monotonic(), None, {}
    try:
        counts = volume_sr_cases.CASES[kind][1](sr) or {}
    except Exception:  # every kind of failure is a finding to report with its seed
        trouble = traceback.format_exc()
    figures = {"images": len(sr.images), "seconds": round(time.monotonic() - started), **counts}
    told = ", ".join(f"{name} {figure}" for name, figure in figures.items())
    print(f"{kind} --seed {seed}: {'FAILED' if trouble else 'ok'}; {told}", flush=True)
    if trouble:
        print(trouble, flush=True)
    return trouble is None


def main(root):
    cases = sorted(os.path.join(root, name) for name in os.listdir(root) if name.endswith(".case"))
    failed = [path for path in cases if not run_case(path)]
    print(f"{len(cases)} cases, {len(failed)} failed")
    return 1 if failed or not cases else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
