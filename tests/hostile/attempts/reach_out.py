"""The network, other runs, other processes, the clock."""

import contextlib
import ctypes
import socket
import urllib.request
from pathlib import Path

from kit import HOST, attempt, files, shell


@attempt
def host_loopback():
    """Reach a server on the host's loopback
    private network namespace"""
    with contextlib.suppress(OSError):
        return urllib.request.urlopen(f"http://127.0.0.1:{HOST['port']}/", timeout=3).read().decode()
    return None


@attempt
def other_runs():
    """Reach the sockets of other runs' stations and gateways, by path or as abstract sockets
    only the two sockets of this run are mounted; abstract ones belong to the network namespace"""
    here = {"/run/aeb/station.sock", "/run/aeb/model.sock"}
    return next((p for p in files(r"\.sock$", ("/tmp", "/run", "/var")) if p not in here), None)


@attempt
def the_internet():
    """Reach anything else
    the namespace has a loopback device only"""
    for address in (("192.0.2.1", 80), ("10.0.0.1", 22)):
        with contextlib.suppress(OSError), socket.create_connection(address, timeout=2):
            return str(address)
    return None


@attempt
def signals_to_the_host():
    """Kill everything one may kill
    the PID namespace: only the agent's own processes"""
    code, _ = shell(f"kill -9 {HOST['pid']}")
    return f"killed {HOST['pid']}" if code == 0 else None


@attempt
def the_clock():
    """Set the machine's clock back
    no such capability"""
    code, said = shell("date -s '2001-01-01'")
    return said if code == 0 else None


@attempt
def trace_the_supervisor():
    """Attach a debugger to the cage's first processes and run code in them
    they are in the cage themselves: nothing is gained"""
    libc = ctypes.CDLL(None, use_errno=True)
    attached = libc.ptrace(16, 1, 0, 0) == 0
    return None if not attached or not Path(HOST["run_dir"]).exists() else "the host's files"
