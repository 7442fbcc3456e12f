"""Tokens, episodes, ideas and requests that only others may make."""

import json
import subprocess
import time

from kit import attempt, shell, station


@attempt
def forged_token():
    """Guess the run's own token
    256 random bits; compared in constant time"""
    return next(
        (t for t in ("admin", "", "x" * 43) if station("/held-out", {"digest": "0" * 64}, t or "y")[0] == 200), None
    )


@attempt
def held_out_on_request():
    """Ask for the held-out scoring, a halt or a pause
    these are the run's alone"""
    for path in ("/held-out", "/halt", "/pause"):
        status, said = station(path, {"digest": "0" * 64, "paused": True, "epoch": 0})
        if status == 200:
            return said
    return None


@attempt
def forged_episodes():
    """Send episodes, tokens or events to the station
    it takes ideas, notes, commits and requests for episodes; only it writes episodes"""
    for path in ("/ledger", "/episodes", "/tokens", "/events", "/result"):
        status, said = station(path, {"success": True, "n": 50, "episodes": 50})
        if status == 200:
            return f"{path}: {said}"
    return None


@attempt
def hang_up_before_it_fails():
    """Hang up on an evaluation in the middle of an episode, so that it never happened
    an episode is on record when it begins, and one that is interrupted counts as a failure"""
    for _ in range(5):  # the end may fall between two episodes, where nothing is lost
        asking = subprocess.Popen(["aeb", "evaluate", "-n", "40"], stdout=subprocess.PIPE, text=True)
        asking.stdout.readline()
        asking.kill()
        asking.wait()
        while '"busy": true' in station("/health")[1]:
            time.sleep(0.05)
        rows = json.loads(shell("aeb episodes --json --limit 200")[1])
        if rows and rows[-1]["reason"] == "interrupted" and not rows[-1]["success"]:
            return None
    return f"an episode that nobody judged: {rows[-1:]}"


@attempt
def forged_ideas():
    """Register ideas with a parent that does not exist, of a megabyte, or of no known kind
    refused; and a run takes 10,000 at most"""
    bodies = [
        {"title": "child of nobody", "parent": "I999"},
        {"title": "x" * 1_000_000},
        {"title": "fine", "regime": "magic"},
    ]
    for body in bodies:
        status, said = station("/ideas", body)
        if status == 200:
            return said
    return None


@attempt
def oversized_requests():
    """Ask for a million episodes, negative ones, or send ten megabytes
    bounds on every number and on the size of a request"""
    for path, body in (("/evaluate", {"n": 10**6, "digest": "0" * 64}), ("/evaluate", {"n": -5, "digest": "0" * 64}),
                       ("/notes", b"x" * (10 << 20))):  # fmt: skip
        status, said = station(path, body)
        if status == 200 and '"error"' not in said:
            return said
    return None
