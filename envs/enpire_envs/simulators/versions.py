"""What decides how an episode goes, by version."""

from importlib import metadata


def versions(*packages: str) -> dict[str, str]:
    """Installed versions of the packages, and of MuJoCo and NumPy where they are there."""
    found = {}
    for package in (*packages, "mujoco", "numpy"):
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found
