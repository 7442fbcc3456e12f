"""Makes every attempt, one after the other, then sleeps into the deadline."""

import json
import time
from pathlib import Path

from kit import ATTEMPTS


def main():
    evidence = {}
    for name, function in ATTEMPTS.items():
        began = time.time()
        try:
            got = function()
        except Exception as error:  # it did not get there
            got, evidence[name + "/error"] = None, repr(error)[:300]
        evidence[name] = None if got is None else str(got)[:500]
        print(
            json.dumps({"type": "message", "text": f"{name}: {evidence[name]} ({time.time() - began:.1f} s)"}),
            flush=True,
        )
        (Path.home() / "evidence.json").write_text(json.dumps(evidence, indent=1))
    time.sleep(600)  # into the deadline


if __name__ == "__main__":
    main()
