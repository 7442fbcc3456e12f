"""What a bundle holds is known by its bytes: weights under whatever name, and nothing of the sort in what people write."""

import base64
import json
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest
from enpire_envs.registry import entries, folder

from autoenvbench.errors import UserError
from autoenvbench.record.regimes import contradictions
from autoenvbench.station import bundles
from autoenvbench.station.bundles import Bundle, look_through

RNG = np.random.default_rng(0)
WEIGHTS = RNG.normal(size=2_000).astype(np.float32)


def look(tree):
    return look_through(Bundle("c", "d", "", tree))


@pytest.fixture
def tree(tmp_path):
    (tmp_path / "policy.py").write_text("class Policy:\n    GAIN = 0.25\n")
    return tmp_path


def test_what_people_write_is_heuristic():
    """Every template, recipe and reference of this project, and the scripts that ship with it."""
    folders = {entry.template for entry in entries()} | {entry.reference for entry in entries()} - {None}
    folders = [folder(name) for name in folders if name] + [Path(bundles.__file__).parents[1] / "study" / "baselines"]
    assert len(folders) > 8
    for path in folders:
        kept = [p for p in path.rglob("*") if p.suffix == ".pyc"]
        found = look(path)
        assert found.binary_files == len(kept)  # what Python compiled beside them is in no bundle
        written = found.model_copy(update={"binary_files": 0})
        assert contradictions("heuristic", written) == [], path


def npy(path):
    with path.open("wb") as file:
        np.save(file, WEIGHTS)


def safetensors(path):
    header = json.dumps({"w": {"dtype": "F32", "shape": [2000], "data_offsets": [0, 8000]}}).encode()
    path.write_bytes(len(header).to_bytes(8, "little") + header + WEIGHTS.tobytes())


def zipped(path):
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("archive/data.pkl", WEIGHTS.tobytes())


@pytest.mark.parametrize("name", ["checkpoints/actor.pt", "notes.md", "data.py"])
@pytest.mark.parametrize(
    "write", [npy, safetensors, zipped, lambda path: path.write_bytes(pickle.dumps(WEIGHTS, protocol=4))]
)
def test_weights_are_weights_under_whatever_name(tree, write, name):
    (tree / "checkpoints").mkdir()
    write(tree / name)
    found = look(tree)
    assert (found.weight_files, found.named[0]) == (1, name)
    assert contradictions("bc", found) != []  # a gradient run's answer is a declared network, which is another file
    (tree / "checkpoints/network.onnx").write_bytes(b"\x08\x09")
    assert contradictions("bc", look(tree)) == []
    assert "1 file of weights" in contradictions("heuristic", found)[0]


#: Ways to carry 2,000 weights past who looks for files of weights.
SMUGGLED = {
    "a list": "W = [" + ", ".join(f"{w:.4f}" for w in WEIGHTS) + "]\n",
    "a list of small integers": "W = [" + ",".join(str(int(w * 30)) for w in WEIGHTS) + "]\n",
    "rows": "W = (\n" + "".join(f"    [{', '.join(f'{w:.3f}' for w in row)}],\n" for row in WEIGHTS.reshape(100, 20)) + ")\n",
    "JSON": json.dumps({"layers": WEIGHTS.reshape(10, 200).tolist()}),
    "text": "\n".join(f"{w:.5e}" for w in WEIGHTS),
    "hexadecimal": f'W = bytes.fromhex("{WEIGHTS.tobytes().hex()}")\n',
    "escapes": f"W = {WEIGHTS.tobytes()!r}\n",
    "base64 in lines": base64.encodebytes(WEIGHTS.tobytes()).decode(),
    "one large integer": f"W = {int.from_bytes(WEIGHTS.tobytes(), 'big') % 10**4290}\nV = {10**4290 + 7}\n",
    "one number a line, each with a name": "".join(f"w{k} = {w:.3f}\nv{k} = {w:.4f}\nu{k} = {-w:.3f}\n" for k, w in enumerate(WEIGHTS)),
    "bytes": RNG.bytes(2_000),
    "text of five megabytes": "# " + "a word " * 800_000,
}  # fmt: skip


@pytest.mark.parametrize("name", ["policy.py", "README.md"])
@pytest.mark.parametrize("how", SMUGGLED)
def test_weights_in_other_clothes_are_no_heuristic(tree, how, name):
    data = SMUGGLED[how]
    (tree / name).write_bytes(data if isinstance(data, bytes) else data.encode())
    found = look(tree)
    assert contradictions("heuristic", found), found
    assert found.weight_files == 0
    assert contradictions("bc", found) == ["declared as bc, and the answer's bundle holds no checkpoints/network.onnx"]


def test_anything_in_checkpoints_is_no_heuristic(tree):
    (tree / "checkpoints").mkdir()
    (tree / "checkpoints/.gitkeep").touch()
    assert contradictions("heuristic", look(tree)) == []
    (tree / "checkpoints/note.txt").write_text("tuned by hand")
    assert "1 file in checkpoints/" in contradictions("heuristic", look(tree))[0]


def test_links_and_odd_names_are_only_looked_at(tree):
    (tree / "link").symlink_to("/dev/zero")
    (tree / "loop").symlink_to(tree)
    (tree / "\x1b[31m<b>é").write_text("1.5")
    found = look(tree)
    assert found.numbers == 2
    assert found.binary_files == 0


def test_a_tree_that_cannot_be_looked_through_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(bundles, "bundle_contents", type("Broken", (), {"__file__": str(tmp_path / "missing.py")}))
    with pytest.raises(UserError, match="cannot look through"):
        look(tmp_path)
