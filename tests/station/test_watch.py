"""A policy's memory and output, watched from outside. (What its own process would refuse it here is in tests/hostile.)"""

import os
import subprocess
import sys
import time

import pytest

from autoenvbench.station.policy_process import PolicyLimits
from autoenvbench.station.watch import Output, Watch

HOLDERS = {
    "in-memory files": "import os\nfor n in range(3):\n    os.write(os.memfd_create('x'), bytes(40 << 20))\n",
    "an in-memory file that is mapped and closed": "import mmap, os\nfd = os.memfd_create('x')\nos.ftruncate(fd, 120 << 20)\n"
    "m = mmap.mmap(fd, 120 << 20)\nos.close(fd)\n",
    "private memory": "held = b'x' * (120 << 20)\n",
    "shared memory": "import mmap\nm = mmap.mmap(-1, 120 << 20)\n",
}


def watched(source, memory, patience=0.4):
    read, write = os.pipe()
    child = subprocess.Popen(
        [sys.executable, "-c", source + "import time\nprint('held', flush=True)\ntime.sleep(60)"], stdout=write
    )
    os.close(write)
    output = Output(1000)
    watch = Watch(child.pid, read, output, memory, 0)
    try:
        deadline = time.monotonic() + 20
        while "held" not in output.text() and watch.broken is None and time.monotonic() < deadline:
            time.sleep(0.05)
        deadline = time.monotonic() + patience
        while watch.broken is None and time.monotonic() < deadline:
            time.sleep(0.02)
        return watch.broken, output.text()
    finally:
        child.kill()
        child.wait()
        watch.stop()


@pytest.mark.parametrize("what", HOLDERS)
def test_memory_counts_however_it_is_held(what):
    broken, _ = watched(HOLDERS[what], 100 << 20, patience=20)
    assert broken is not None
    assert broken[0] == "memory_limit"
    assert watched(HOLDERS[what], 200 << 20) == (None, "held\n")


def test_the_end_of_the_output_is_kept():
    broken, said = watched("print('x' * 5000)\n", 100 << 20)
    assert broken is None
    assert len(said) <= 1000
    assert said.endswith("held\n")


def test_an_episode_may_take_four_times_what_may_be_computed_in_it():
    assert PolicyLimits.of(1000, 0.25).episode_wall_s == 1000
    assert PolicyLimits.of(10, 0.25).episode_wall_s == 480  # of a script
