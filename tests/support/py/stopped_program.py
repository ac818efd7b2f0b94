"""The program stopped right before one of its changes (COPPICE_TEST_STOP_AFTER_CHANGES), for tests that change the world under it."""

import json
import os
import signal
import subprocess

import oracles

STOP_VARIABLE = "COPPICE_TEST_STOP_AFTER_CHANGES"


class Ended:
    """How a run ended: exit status, standard output as JSON, standard error."""

    def __init__(self, status, output, trouble, what):
        self.status, self.trouble, self.what = status, trouble, what
        if status < 0:
            raise oracles.Failure(f"{what}: killed by signal {-status}\n{trouble}")
        try:
            self.json = json.loads(output)
        except ValueError as error:
            raise oracles.Failure(f"{what}: status {status}, no JSON on standard output: {output!r}\n{trouble}") from error

    def require(self, condition, expected):
        if not condition:
            raise oracles.Failure(f"{self.what}: expected {expected}; status {self.status}\n{json.dumps(self.json)}\n{self.trouble}")

    def require_status(self, *allowed):
        self.require(self.status in allowed, f"status {allowed}")

    def require_error(self, *, code, names, words=()):
        """Standard error and JSON tell the same, and the text holds one of `names` and all of `words`."""
        error = self.json.get("error")
        self.require(error and error["code"] == code, f"the error code {code}")
        self.require(error["text"] in self.trouble, "the error's text on standard error")
        self.require(error["object"], "an error about something")
        self.require(any(name in error["text"] for name in names), f"a text that names one of {names}")
        for word in words:
            self.require(word in error["text"], f"the word {word!r} in the error's text")


def finished_run(command, what):
    environment = dict(os.environ)
    environment.pop(STOP_VARIABLE, None)
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    return Ended(done.returncode, done.stdout, done.stderr, what)


class StoppedProgram:
    """Started, and stopped before change number `changes`, counted from 0, or ended where it makes fewer."""

    def __init__(self, command, changes, what):
        self.what = f"{what}, stopped before change {changes}"
        self.process = subprocess.Popen(command, env={**os.environ, STOP_VARIABLE: str(changes)}, stdout=subprocess.PIPE,
                                        stderr=subprocess.PIPE, text=True)
        seen = os.waitid(os.P_PID, self.process.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)
        self.stopped = seen.si_code == os.CLD_STOPPED
        if not self.stopped:
            self.ended = self._collect()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.returncode is None:
            self.process.kill()
            self.process.communicate()

    def start_again(self):
        """Goes on, and is not waited for."""
        self.process.send_signal(signal.SIGCONT)

    def go_on(self):
        self.start_again()
        self.ended = self._collect()
        return self.ended

    def _collect(self):
        output, trouble = self.process.communicate(timeout=120)
        return Ended(self.process.returncode, output, trouble, self.what)
