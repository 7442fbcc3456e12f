"""A logger to paste: what a robot did and what its agent's model was asked, as `autoenvbench utilisation` reads it. Needs nothing but Python.

log = RobotLog("monday.jsonl")
with log.busy("left", "episode"):
    ...  # move the robot
with log.call() as call:
    call["tokens"] = 1200 + 340  # fresh input and output, as the provider's answer counts them
"""

import contextlib
import json
import time


class RobotLog:
    def __init__(self, path):
        self.file = open(path, "a", buffering=1)  # noqa: SIM115 (a line at a time, so a crash loses none that is done)

    @contextlib.contextmanager
    def busy(self, robot, reason):
        with self._line({"robot": robot, "reason": reason}):
            yield

    @contextlib.contextmanager
    def call(self):
        with self._line({"tokens": 0}) as line:
            yield line

    @contextlib.contextmanager
    def _line(self, line):
        began, since = time.time(), time.monotonic()  # what a clock that is set does not stretch
        try:
            yield line
        finally:
            self.file.write(json.dumps({"from": began, "to": began + time.monotonic() - since, **line}) + "\n")
