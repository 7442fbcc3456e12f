"""What the station takes in is what the hash says, and nothing in an upload can reach outside."""

import hashlib
import io
import resource
import struct
import subprocess
import tarfile
import time
import zlib

import pytest

from autoenvbench.errors import UserError
from autoenvbench.station.bundles import BundleStore
from autoenvbench.station.scripts import is_script


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


def test_equal_trees_are_equal_files_whatever_their_commits_say(tmp_path, repo):
    (repo / ".gitattributes").write_text("skill.txt export-subst\npolicy.py export-ignore\n")
    (repo / "skill.txt").write_text("$Format:%s$")
    git(repo, "add", ".gitattributes", "skill.txt")
    store, seen = BundleStore(tmp_path / "store"), []
    for subject in ("good", "bad"):
        git(repo, "commit", "-q", "--allow-empty", "-m", subject)
        bundle = store.receive(*pack(tmp_path, repo))
        seen.append((bundle.content, (bundle.path / "skill.txt").read_text(), (bundle.path / "policy.py").is_file()))
    assert seen[0] == seen[1] == (bundle.content, "$Format:%s$", True)


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


def packed_bundle(objects, commit):
    """A Git bundle of raw objects: (kind, content) and ("delta", base's hash, delta)."""
    kinds = {"commit": 1, "tree": 2, "blob": 3, "delta": 7}
    body = b"PACK" + struct.pack(">II", 2, len(objects))
    for kind, *rest in objects:
        content = rest[-1]
        size, head = len(content), []
        byte, size = (kinds[kind] << 4) | (size & 15), size >> 4
        while size:
            head.append(byte | 128)
            byte, size = size & 127, size >> 7
        body += bytes([*head, byte]) + (rest[0] if kind == "delta" else b"") + zlib.compress(content, 9)
    return f"# v2 git bundle\n{commit} HEAD\n\n".encode() + body + hashlib.sha1(body).digest()


def sha(kind, content, repeat=1):
    digest = hashlib.sha1(f"{kind} {len(content) * repeat}\0".encode())
    for _ in range(repeat):
        digest.update(content)
    return digest.digest()


def a_commit(tree):
    person = b"A <a@b> 1700000000 +0000"
    return b"tree " + tree.hex().encode() + b"\nauthor " + person + b"\ncommitter " + person + b"\n\nx\n"


def upload_of(tmp_path, objects, commit):
    upload = tmp_path / "bomb.tar"
    with tarfile.open(upload, "w") as tar:
        data = packed_bundle(objects, commit.hex())
        member = tarfile.TarInfo("commit.bundle")
        member.size = len(data)
        tar.addfile(member, io.BytesIO(data))
    return upload


def varint(n):
    out = b""
    while n > 127:
        out, n = out + bytes([n & 127 | 128]), n >> 7
    return out + bytes([n])


def test_a_delta_that_unpacks_to_gigabytes_is_refused(tmp_path):
    base, repeat = bytes(0xFFFFFF), 128
    delta = varint(len(base)) + varint(len(base) * repeat) + b"\xf0\xff\xff\xff" * repeat
    tree = b"100644 big\0" + sha("blob", base, repeat)
    commit = a_commit(sha("tree", tree))
    objects = [("commit", commit), ("tree", tree), ("blob", base), ("delta", sha("blob", base), delta)]
    upload = upload_of(tmp_path, objects, sha("commit", commit))
    assert upload.stat().st_size < 100_000
    store = BundleStore(tmp_path / "store")
    with pytest.raises(UserError, match="refused"):
        store.receive(upload, sha("commit", commit).hex())
    assert store.used < 10 << 20


@pytest.mark.parametrize("leaf", ["files", "empty folders"])
def test_trees_of_a_million_rows_are_refused(tmp_path, leaf):
    """Folders that are one and the same folder, ten in ten in ten."""
    blob = b"x"
    tree = b"100644 f\0" + sha("blob", blob) if leaf == "files" else b""
    objects = [("blob", blob), ("tree", tree)]
    for _ in range(7):
        tree = b"".join(b"40000 %d\0" % k + sha("tree", tree) for k in range(10))
        objects.append(("tree", tree))
    commit = a_commit(sha("tree", tree))
    objects.append(("commit", commit))
    upload = upload_of(tmp_path, objects, sha("commit", commit))
    store = BundleStore(tmp_path / "store")
    began = time.monotonic()
    with pytest.raises(UserError, match=r"too large|files and folders|refused"):
        store.receive(upload, sha("commit", commit).hex())
    assert time.monotonic() - began < 30
    assert store.used < 10 << 20


def test_what_is_counted_lies_on_disk(tmp_path, repo, monkeypatch):
    """Eighty megabytes of zeros travel as eighty kilobytes."""
    store = BundleStore(tmp_path / "store")
    empty = store.used
    (repo / "zeros").write_bytes(bytes(80 << 20))
    git(repo, "add", "zeros")
    git(repo, "commit", "-qm", "zeros")
    upload, commit = pack(tmp_path, repo)
    assert upload.stat().st_size < 1 << 20
    store.receive(upload, commit)
    assert store.used - empty >= 80 << 20
    assert BundleStore(tmp_path / "store").used == pytest.approx(store.used, rel=0.01)
    monkeypatch.setattr("autoenvbench.station.bundles.MAX_STORE", 50 << 20)
    git(repo, "commit", "-q", "--allow-empty", "-m", "more")
    upload, commit = pack(tmp_path, repo)
    with pytest.raises(UserError, match="no more are taken in"):
        store.receive(upload, commit)


def raw_member(name, kind, size):
    member = tarfile.TarInfo(name)
    member.type, member.size = kind, size
    return member.tobuf(tarfile.GNU_FORMAT)


@pytest.mark.parametrize("kind", [tarfile.XHDTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.XGLTYPE])
def test_a_header_of_gigabytes_costs_the_station_nothing(tmp_path, kind):
    upload = tmp_path / "bomb.tar"
    with upload.open("wb") as file:
        file.write(raw_member("x", kind, 560 << 20))
        file.truncate(561 << 20)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(UserError, match="unpack"):
        BundleStore(tmp_path / "store").receive(upload, "a" * 40)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100 << 10


def test_a_compressed_upload_is_no_upload(tmp_path):
    upload = tmp_path / "bomb.tar"
    with tarfile.open(upload, "w:gz") as tar:
        member = tarfile.TarInfo("checkpoints/zeros")
        member.size = 50 << 20
        tar.addfile(member, io.BytesIO(bytes(50 << 20)))
    with pytest.raises(UserError, match="unpack"):
        BundleStore(tmp_path / "store").receive(upload, "a" * 40)


@pytest.mark.parametrize(
    "names",
    [
        ["checkpoints/a", "checkpoints/a/b"], ["checkpoints/a/b", "checkpoints/a"], ["checkpoints/\udcff.npy"],
        ["checkpoints/" + "d/" * 300 + "f"], ["checkpoints/" + "n" * 300], ["commit.bundle/x"],
    ],
    ids=["file-then-folder", "folder-then-file", "no-utf-8", "deep", "long", "in-the-bundle"],
)  # fmt: skip
def test_names_that_cannot_be_are_refused(tmp_path, repo, names):
    upload, commit = pack(tmp_path, repo, [(tarfile.TarInfo(name), b"x") for name in names])
    store = BundleStore(tmp_path / "store")
    with pytest.raises(UserError, match="unpack"):
        store.receive(upload, commit)
    assert [p.name for p in (tmp_path / "store").iterdir()] == ["objects.git"]


def test_checkpoints_where_the_commit_has_a_file_of_that_name(tmp_path, repo):
    (repo / "checkpoints").write_text("a file")
    git(repo, "add", "-f", "checkpoints")
    git(repo, "-c", "i18n.commitEncoding=latin-1", "commit", "-qm", b"caf\xe9".decode("latin-1"))
    upload, commit = pack(tmp_path, repo, [(tarfile.TarInfo("checkpoints/w"), b"weights")])
    bundle = BundleStore(tmp_path / "store").receive(upload, commit)
    assert (bundle.path / "checkpoints" / "w").read_bytes() == b"weights"


def test_a_subject_that_is_no_text(tmp_path):
    tree = b"100644 policy.py\0" + sha("blob", b"x = 1\n")
    commit = a_commit(sha("tree", tree)).replace(b"\n\nx\n", b"\n\ncaf\xe9 \xff" + b"y" * 100_000 + b"\n")
    objects = [("blob", b"x = 1\n"), ("tree", tree), ("commit", commit)]
    bundle = BundleStore(tmp_path / "store").receive(
        upload_of(tmp_path, objects, sha("commit", commit)), sha("commit", commit).hex()
    )
    assert bundle.subject.startswith("caf")
    assert len(bundle.subject) <= 200


def test_a_policy_of_megabytes_is_not_parsed_by_the_station(tmp_path):
    policy = tmp_path / "policy.py"
    policy.write_text("def run(tools):\n    return [" + "1," * (10 << 20) + "]\n")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert not is_script(policy)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50 << 10
    policy.write_text("def run(tools):\n    return [" + "1," * 1000 + "]\n")
    assert is_script(policy)
    policy.write_text("def run(tools):\n    return " + "(" * 5000 + ")" * 5000 + "\n")
    assert not is_script(policy)
