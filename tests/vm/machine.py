"""One VM: starts it, passes its output on, hears what its guest says on the control line, and ends it without a trace."""

import ctypes
import os
import select
import shlex
import signal
import subprocess
import time

import backends
from backends import VmFailed

BOOT_SECONDS = 180  # a busy machine boots a VM in 20
POWER_OFF_SECONDS = 15
LAST_PROCESS_SECONDS = 10
PR_SET_PDEATHSIG = 1


class Said:
    """What the guest has said: "up", "cut" (power, please), "fail TEXT", "rc STATUS"."""

    def __init__(self):
        self.up = self.status = self.ended = None  # times by the monotonic clock, but for the status
        self.cut, self._rest = False, b""

    def hear(self, data):
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            word, _, argument = line.strip().decode(errors="replace").partition(" ")
            if word == "up":
                self.up = time.monotonic()
            elif word == "cut":
                self.cut = True
            elif word == "fail":
                raise VmFailed("guest: " + argument)
            elif word == "rc":
                self.status, self.ended = int(argument), time.monotonic()


def write_all(descriptor, data):
    while data:
        data = data[os.write(descriptor, data):]


class Machine:
    def __init__(self, options, directory, disks):
        self.options, self.directory, self.disks, self.processes = options, directory, disks, []

    def run(self, number, job, deadline, cut_after=None):
        """Boots once (`number` counts boots) and runs the shell command `job`. Returns its exit status, or None: power was cut.

        Throws VmFailed, and TimeoutError at the deadline. When it returns, no process of the VM is left and its disks are quiet.
        """
        backend = backends.make(self.options, self.directory)
        out, error, control = lines = self._start(backend, number, job)
        said = Said()
        try:
            self._follow(backend, lines, {out: 1, error: 2}, said, deadline, cut_after)
        finally:
            self._kill()
            for line in lines:
                self._drain(line)
            backend.close()
        if said.status is None and not said.cut and not (said.up and self.options.verify):
            raise VmFailed("the VM went away without a result")
        return said.status  # with --verify, the guest may reset itself, for example with sysrq b

    def _start(self, backend, number, job):
        """The read ends of the command's output, its errors, and the control line."""
        pipes = [os.pipe() for _ in range(3)]
        writers = [writer for _, writer in pipes]
        out, error, control = backend.lines
        values = {"OUT": out, "ERR": error, "CTL": control, "MODS": backend.modules, "MODE": self.options.mode, "BOOT": number,
                  "VM": self.options.backend, "JOB": job,
                  "DISKS": " ".join(backend.disk_name(i) for i in range(len(self.disks)))}
        with open(os.path.join(self.directory, "vars"), "w", encoding="utf-8", errors="surrogateescape") as file:
            file.writelines(f"{name}={shlex.quote(str(value))}\n" for name, value in values.items())
        with open(os.path.join(self.directory, "console.log"), "ab") as console:
            for argv, descriptors, cpu in backend.commands(console.fileno(), writers, self.disks):
                self._spawn(argv, console, descriptors, cpu)
        for writer in writers:
            os.close(writer)
        return [reader for reader, _ in pipes]

    def _spawn(self, argv, console, descriptors, cpu):
        def before_exec():
            ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)  # nothing outlives the harness
            if cpu is not None:
                os.sched_setaffinity(0, {cpu})
        self.processes.append(subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=console, stderr=console,
                                               pass_fds=descriptors, preexec_fn=before_exec))

    def _follow(self, backend, lines, sinks, said, deadline, cut_after):
        """Until the guest has powered off, said that power is to be cut, or had its time."""
        live, started, known_up = list(lines), time.monotonic(), False
        while live and not said.cut:
            now = time.monotonic()
            if now > deadline:
                raise TimeoutError
            if not said.up and now - started > BOOT_SECONDS:
                raise VmFailed(f"the VM did not come up within {BOOT_SECONDS} s")
            if said.status is not None:
                if now - said.ended > POWER_OFF_SECONDS:
                    return  # it did not power off by itself
            elif said.up and cut_after is not None and now - said.up > cut_after:
                said.cut = True
                return
            for line in select.select(live, [], [], 0.05)[0]:
                data = os.read(line, 65536)
                if not data:
                    live.remove(line)
                elif line in sinks:
                    write_all(sinks[line], data)
                else:
                    said.hear(data)
            if said.up and not known_up:
                known_up = True
                backend.is_up()

    def _kill(self):
        for process in reversed(self.processes):
            process.kill()
        while self.processes:
            self.processes.pop().wait()

    @staticmethod
    def _drain(line):
        """The end of a line says that the last process of the VM is gone; helpers die a little later than the first one."""
        while select.select([line], [], [], LAST_PROCESS_SECONDS)[0] and os.read(line, 65536):
            pass
        os.close(line)
