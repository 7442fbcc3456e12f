"""What the station takes in is what the hash says, and nothing in an upload can reach outside."""

import io
import subprocess
import tarfile

import pytest

from autoenvbench.errors import UserError
from autoenvbench.station.bundles import BundleStore


def git(repo, *args):
    return subprocess.run(["git", "-C", str(repo), *args], check=True, capture_output=True, text=True).stdout.strip()


def pack(tmp_path, repo, extra=()):
    bundle = tmp_path / "c.bundle"
    git(repo, "bundle", "create", "-q", str(bundle), "HEAD")
    upload = tmp_path / "upload.tar"
    with tarfile.open(upload, "w") as tar:
        tar.add(bundle, "commit.bundle")
        for member, data in extra:
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return upload, git(repo, "rev-parse", "HEAD")


def test_a_commit_arrives_whole_and_twice_is_once(tmp_path, repo):
    store = BundleStore(tmp_path / "store")
    upload, commit = pack(tmp_path, repo, [(tarfile.TarInfo("checkpoints/w.npy"), b"weights")])
    bundle = store.receive(upload, commit)
    assert (bundle.path / "policy.py").read_text() == (repo / "policy.py").read_text()
    assert (bundle.path / "checkpoints/w.npy").read_bytes() == b"weights"
    assert store.receive(upload, commit) == bundle == store.get(bundle.digest)
    other, _ = pack(tmp_path, repo, [(tarfile.TarInfo("checkpoints/w.npy"), b"other weights")])
    assert store.receive(other, commit).digest != bundle.digest


def test_the_claimed_commit_must_be_the_one_sent(tmp_path, repo):
    store = BundleStore(tmp_path / "store")
    upload, _ = pack(tmp_path, repo)
    for lie in ("0" * 40, "HEAD", "--upload-pack=x", "a" * 39):
        with pytest.raises(UserError):
            store.receive(upload, lie)


def hostile(name, **fields):
    member = tarfile.TarInfo(name)
    for key, value in fields.items():
        setattr(member, key, value)
    return member


@pytest.mark.parametrize(
    "member",
    [
        hostile("../escaped"), hostile("/tmp/escaped-absolute"), hostile("checkpoints/../../escaped"),
        hostile("checkpoints/link", type=tarfile.SYMTYPE, linkname="/etc/passwd"),
        hostile("checkpoints/hard", type=tarfile.LNKTYPE, linkname="commit.bundle"),
        hostile("checkpoints/fifo", type=tarfile.FIFOTYPE), hostile("checkpoints/dev", type=tarfile.CHRTYPE),
    ],
    ids=lambda m: m.name,
)  # fmt: skip
def test_hostile_members_never_land(tmp_path, repo, member):
    store = BundleStore(tmp_path / "store")
    upload, commit = pack(tmp_path, repo, [(member, b"")])
    try:
        bundle = store.receive(upload, commit)
        assert not list((bundle.path).rglob("checkpoints/*"))
    except UserError:
        pass
    assert not list(tmp_path.rglob("*escaped*"))


def test_garbage_is_refused(tmp_path):
    store = BundleStore(tmp_path / "store")
    junk = tmp_path / "junk"
    junk.write_bytes(b"\0junk" * 500)
    with pytest.raises(UserError):
        store.receive(junk, "a" * 40)


def test_symlinks_in_a_commit_do_not_become_files(tmp_path, repo):
    (repo / "leak").symlink_to("/etc/passwd")
    git(repo, "add", "leak")
    git(repo, "commit", "-qm", "link")
    upload, commit = pack(tmp_path, repo)
    bundle = BundleStore(tmp_path / "store").receive(upload, commit)
    assert not (bundle.path / "leak").exists()


def test_the_agents_git_configuration_is_not_obeyed(tmp_path, repo):
    """Hooks and filters in the workspace run nothing when the station checks its commit out."""
    trap = tmp_path / "sprung"
    (repo / ".gitattributes").write_text("* filter=trap export-subst\n")
    git(repo, "config", "filter.trap.smudge", f"touch {trap}")
    git(repo, "config", "core.fsmonitor", f"touch {trap}")
    hook = repo / ".git/hooks/post-checkout"
    hook.write_text(f"#!/bin/sh\ntouch {trap}\n")
    hook.chmod(0o755)
    git(repo, "-c", "core.fsmonitor=", "add", ".")
    git(repo, "-c", "core.fsmonitor=", "commit", "-qm", "trap")
    upload, commit = pack(tmp_path, repo)
    trap.unlink(missing_ok=True)
    BundleStore(tmp_path / "store").receive(upload, commit)
    assert not trap.exists()
