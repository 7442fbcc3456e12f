"""What decides how an episode goes, by version."""

from importlib import metadata


def versions(*packages: str) -> dict[str, str]:
    """Installed versions of the packages, and of MuJoCo where it is there."""
    found = {}
    for package in (*packages, "mujoco"):
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found
