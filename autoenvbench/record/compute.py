"""Samples of the machine: how busy its cores and GPU are."""

from __future__ import annotations

import shutil
import subprocess

import psutil

from autoenvbench.record.events import ComputeEvent


class ComputeSampler:
    """Each `sample` covers the time since the one before."""

    def __init__(self) -> None:
        psutil.cpu_percent(None)
        self._nvidia = shutil.which("nvidia-smi")

    def sample(self, station_busy: bool) -> ComputeEvent:
        """Utilisation of all cores since the last sample and of the GPUs now, 0..1. Waits at most 2 s for nvidia-smi."""
        return ComputeEvent(cpu=psutil.cpu_percent(None) / 100, gpu=self._gpu(), station_busy=station_busy)

    def _gpu(self) -> float | None:
        if self._nvidia is None:
            return None
        try:
            done = subprocess.run(
                [self._nvidia, "--query-gpu=utilization.gpu", "--format=csv,noheader,nounits"],
                capture_output=True, text=True, timeout=2,
            )  # fmt: skip
            values = [float(line) for line in done.stdout.split()]
            return sum(values) / len(values) / 100 if values else None
        except (OSError, ValueError, subprocess.TimeoutExpired):
            return None


def hardware() -> str:
    """The machine in words, for a result."""
    model = "CPU"
    try:
        with open("/proc/cpuinfo") as file:
            names = [line.split(":", 1)[1].strip() for line in file if line.startswith("model name")]
        model = names[0] if names else model
    except OSError:
        pass
    return f"{model}, {psutil.cpu_count()} cores, {psutil.virtual_memory().total / 2**30:.0f} GiB"


def compute_class() -> str:
    """Results of different classes are not ranked together: cores available, and whether there is a GPU."""
    gpu = "gpu" if shutil.which("nvidia-smi") else "cpu"
    return f"{len(psutil.Process().cpu_affinity())}c-{gpu}"
