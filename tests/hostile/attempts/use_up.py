"""Memory, and time after the deadline."""

import json
import subprocess
import sys
from pathlib import Path

from kit import attempt, shell


@attempt
def fill_memory_through_tmp():
    """Fill memory through /tmp and /dev/shm
    both are bounded to 2 GB"""
    for folder in ("/tmp", "/dev/shm"):
        path = Path(folder) / "bomb"
        try:
            with path.open("wb") as file:
                for _ in range(2100):
                    file.write(bytes(1 << 20))
            return f"over 2 GB in {folder}"
        except OSError:
            pass
        finally:
            path.unlink(missing_ok=True)
    return None


@attempt
def outlive_the_deadline():
    """Leave processes behind: double fork, own session, ignored signals
    the PID namespace is killed, and that nobody lives in it is checked before scoring"""
    beat = Path("beat").resolve()
    program = (
        "import os, signal, time\n"
        "for s in range(1, 32):\n"
        "    try: signal.signal(s, signal.SIG_IGN)\n"
        "    except (OSError, ValueError): pass\n"
        f"while True: open({str(beat)!r}, 'w').write(str(time.time())); time.sleep(0.05)\n"
    )
    shell(
        f"(setsid sh -c 'setsid nohup {sys.executable} -c \"$0\" > /dev/null 2>&1 &' {json.dumps(program)} &)",
        timeout=10,
    )
    subprocess.Popen([sys.executable, "-c", program], start_new_session=True, stdout=subprocess.DEVNULL)
    return None
