"""For tests that run as root in a VM with systemd as PID 1: the project installed as on a host, units asked and waited for."""

import os
import subprocess
import sys
import time

PATIENCE = 90  # seconds; the processor of the VM may be shared with a whole test run
RUNTIME_UNITS = "/run/systemd/system"


class Failure(Exception):
    """The project, not the test, did something wrong."""


def require(condition, text):
    if not condition:
        raise Failure(text)


def run(*argv, may_fail=False):
    """Standard output, stripped."""
    result = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if result.returncode and not may_fail:
        raise Failure(f"{' '.join(argv)}: status {result.returncode}\n{result.stdout}{result.stderr}")
    return result.stdout.strip()


def write(path, text, mode=0o644):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)
    os.chmod(path, mode)


def read(path):
    """What is in a file; nothing where there is none."""
    if not os.path.exists(path):
        return ""
    with open(path, encoding="utf-8") as file:
        return file.read()


def install(build_directory):
    run("cmake", "--install", build_directory, "--prefix", "/usr")


def drop_in(unit, text):
    write(f"{RUNTIME_UNITS}/{unit}.d/test.conf", text)
    run("systemctl", "daemon-reload")


def prop(unit, name):
    return run("systemctl", "show", "--value", "--property", name, unit)


def state(unit):
    """active, activating, inactive, failed, ..., as `systemctl is-active` says."""
    return run("systemctl", "is-active", unit, may_fail=True)


def wait_until(condition, what):
    """Until `condition` returns something true, which is returned."""
    deadline = time.monotonic() + PATIENCE
    while True:
        result = condition()
        if result:
            return result
        if time.monotonic() > deadline:
            raise Failure(f"not within {PATIENCE} s: {what}")
        time.sleep(0.1)  # the service runs when nobody else wants the only processor


def wait_for_state(unit, wanted):
    wait_until(lambda: state(unit) == wanted, f"{unit} becomes {wanted}; it is {state(unit)}")


def run_steps(steps, units, questions):
    """Runs the functions in order; after a failure, says what the units have logged and what `questions`, commands, are answered.

    Returns the exit status.
    """
    for step in steps:
        started = time.monotonic()
        try:
            step()
        except (Failure, AssertionError) as failure:
            print(f"FAILED: {step.__doc__}\n{failure}", flush=True)
            patterns = [word for unit in units for word in ("-u", unit)]
            print(run("journalctl", "--no-pager", "--output=short-monotonic", *patterns, may_fail=True)[-20000:])
            for question in questions:
                print(run("env", *question, may_fail=True))  # env: the program may not be there
            return 1
        print(f"ok {time.monotonic() - started:5.1f} s  {step.__doc__}", flush=True)
    sys.stdout.flush()
    return 0
