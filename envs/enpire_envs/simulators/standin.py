"""A stand-in kitchen for RoboCasa without its assets: primitive models, generated textures, one layout.

RoboCasa ships its layouts, styles, cabinets, drawers, counters and handles as code; textures, appliances and objects are a
separate download of about 10 GB. `build` makes an assets folder in which those are replaced: every texture is generated,
every object category is one box or cylinder, and sink, stove, coffee machine and stand mixer are primitives with the joints,
sites and regions that the success predicates read. All 60 layout numbers lead to one small layout; the 60 styles keep
their colours. Scores in it are not RoboCasa scores, and results say "stand-in".

Run as ``python standin.py FOLDER`` by an interpreter that has RoboCasa.
"""

from __future__ import annotations

import hashlib
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import yaml

STAMP = "autoenvbench-standin"  # the file that tells a stand-in from the official assets
LAYOUTS = range(1, 61)

_SHADES = {
    "white": (235, 235, 230), "black": (40, 40, 42), "dark": (80, 70, 62), "light": (205, 195, 180),
    "gray": (140, 142, 145), "grey": (140, 142, 145), "concrete": (150, 150, 148), "marble": (222, 220, 216),
    "brick": (165, 95, 75), "wood": (165, 120, 78), "walnut": (105, 72, 48), "metal": (180, 182, 186),
    "steel": (180, 182, 186), "brass": (190, 160, 90), "blue": (95, 120, 150), "green": (130, 155, 125),
    "cream": (235, 225, 200), "warm": (220, 200, 170), "tile": (200, 205, 205), "stone": (160, 155, 145),
}  # fmt: skip


def build(root: Path) -> None:
    """Write the assets folder at `root`, whole or not at all."""
    import robocasa
    from robocasa.models.objects.kitchen_objects import OBJ_CATEGORIES

    models = Path(robocasa.__file__).parent / "models"
    scratch = root.with_name(root.name + ".part")
    shutil.rmtree(scratch, ignore_errors=True)
    shutil.copytree(models / "assets", scratch)
    for path in _textures(scratch, models / "fixtures"):
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            cv2.imwrite(str(path), _texture(path.stem))
    for k in LAYOUTS:
        file = scratch / "scenes" / "kitchen_layouts" / ("test" if k <= 10 else "train") / f"layout{k:03d}.yaml"
        file.write_text(_LAYOUT)
    for name, xml in _fixtures().items():
        _write(scratch / "fixtures" / "standin" / name / "model.xml", xml)
    _rewrite_registry(scratch / "fixtures" / "fixture_registry")
    for category, registries in OBJ_CATEGORIES.items():
        for kind, meta in registries.items():
            registry = {"aigen": "aigen_objs"}.get(kind, kind)
            folder = scratch / "objects" / registry / category / f"{category}_standin"
            _write((folder / "part" if meta.is_auxiliary_obj else folder) / "model.xml", _object(category))
    (scratch / STAMP).write_text("primitive models by AutoEnvBench; scores here are not RoboCasa scores\n")
    shutil.rmtree(root, ignore_errors=True)
    scratch.rename(root)


# -- textures --------------------------------------------------------------------------------------------------------
def _textures(assets: Path, fixtures: Path) -> Iterator[Path]:
    """Every image that a scene, a style, a fixture or (for its defaults) a fixture's code names."""
    pattern = re.compile(r"[\w./-]+\.png")
    for file in assets.rglob("*"):
        if file.suffix in (".yaml", ".xml"):
            base = file.parent if file.suffix == ".xml" else assets
            for name in set(pattern.findall(file.read_text())):
                path = (base / name).resolve()
                if path.is_relative_to(assets.resolve()):
                    yield path
    for source in fixtures.glob("*.py"):
        for name in set(pattern.findall(source.read_text())):
            yield assets / name


def _texture(name: str) -> np.ndarray:
    """64 x 64 pixels, BGR: a colour from the words of the name with a little grain."""
    seed = int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "big")
    rng = np.random.default_rng(seed)
    shades = [np.array(rgb) for word, rgb in _SHADES.items() if word in name.lower()]
    base = np.mean(shades, axis=0) if shades else 120 + 90 * rng.random(3)
    grain = rng.normal(0, 5, (64, 64, 1))
    if "wood" in name or "plank" in name:
        grain = grain + 8 * np.sin(np.arange(64) / 3)[:, None, None]
    if "brick" in name or "tile" in name:
        grain = grain - 30 * ((np.arange(64)[:, None, None] % 16 < 1) | (np.arange(64)[None, :, None] % 32 < 1))
    return np.clip(base + grain, 0, 255)[..., ::-1].astype(np.uint8)


# -- fixtures --------------------------------------------------------------------------------------------------------
STEEL, DARK, RED, CREAM, BLUE = (
    "0.72 0.73 0.75 1",
    "0.16 0.16 0.18 1",
    "0.75 0.16 0.14 1",
    "0.9 0.88 0.8 1",
    "0.15 0.3 0.7 1",
)
_REGION = 'group="1" conaffinity="0" contype="0" rgba="0 1 0 0"'


def _part(name: str, kind: str, pos: str, size: str, rgba: str, *, more: str = "", mass: str = "") -> str:
    """One primitive twice, as robosuite has it: to collide with (group 0) and to look at (group 1)."""
    weight = f'mass="{mass}"' if mass else 'density="300"'
    return (
        f'<geom name="{name}" type="{kind}" pos="{pos}" size="{size}" {more} group="0" rgba="0.5 0.5 0.5 0" {weight} '
        f'friction="1 0.005 0.0001" solref="0.004 1" solimp="0.95 0.99 0.001"/>\n'
        f'<geom name="{name}_visual" type="{kind}" pos="{pos}" size="{size}" {more} group="1" contype="0" conaffinity="0" '
        f'mass="0" rgba="{rgba}"/>\n'
    )


def _region(name: str, pos: str, size: str) -> str:
    return f'<geom name="reg_{name}" type="box" pos="{pos}" size="{size}" {_REGION} mass="0"/>\n'


def _model(name: str, inside: str) -> str:
    return (
        f'<mujoco model="{name}">\n<compiler angle="radian"/>\n<asset/>\n<worldbody>\n<body>\n<body name="object">\n{inside}'
        "</body>\n</body>\n</worldbody>\n</mujoco>\n"
    )


def _fixtures() -> dict[str, str]:
    return {"sink": _sink(), "stove": _stove(), "coffee_machine": _coffee_machine(), "stand_mixer": _stand_mixer()}


def _sink() -> str:
    walls = "".join(
        _part(name, "box", pos, size, STEEL)
        for name, pos, size in (
            ("floor", "0 -0.04 -0.125", "0.29 0.2 0.005"), ("left", "-0.285 -0.04 0", "0.015 0.2 0.13"),
            ("right", "0.285 -0.04 0", "0.015 0.2 0.13"), ("front", "0 -0.245 0", "0.3 0.015 0.13"),
            ("back", "0 0.205 0", "0.3 0.055 0.13"),
        )
    )  # fmt: skip
    spout = (
        '<body name="spout" pos="0 0.2 0.13">\n<joint name="spout_joint" type="hinge" axis="0 0 1" range="-1 1" '
        'limited="true" damping="0.5" frictionloss="0.2"/>\n'
        + _part("post", "cylinder", "0 0 0.12", "0.014 0.12", STEEL)
        + _part("arm", "box", "0 -0.09 0.235", "0.012 0.1 0.012", STEEL)
        + '<site name="water" type="cylinder" pos="0 -0.18 0.06" size="0.012 0.16" rgba="0.5 0.7 0.9 0"/>\n</body>\n'
    )
    handle = (
        '<body name="handle" pos="0.13 0.2 0.16">\n'
        '<joint name="handle_temp_joint" type="hinge" axis="0 0 1" range="-0.5 0.5" limited="true" damping="0.3" frictionloss="0.3"/>\n'
        '<joint name="handle_joint" type="hinge" axis="-1 0 0" range="0 1.2" limited="true" damping="0.1" frictionloss="0.08"/>\n'
        + _part("hub", "cylinder", "0 0 0", "0.022 0.022", STEEL)
        + _part("lever", "box", "0 -0.07 0.01", "0.014 0.07 0.008", RED, mass="0.03")
        + "</body>\n"
    )
    regions = _region("main", "0 0 0", "0.3 0.26 0.13") + _region("basin", "0 -0.04 0.0", "0.25 0.16 0.12")
    return _model("sink", walls + spout + handle + regions)


def _stove() -> str:
    inside = _part("body", "box", "0 0 -0.01", "0.38 0.33 0.45", CREAM) + _part(
        "top", "box", "0 0 0.45", "0.38 0.33 0.01", DARK
    )
    places = {
        "rear_left": (-0.2, 0.15),
        "rear_right": (0.2, 0.15),
        "front_left": (-0.2, -0.13),
        "front_right": (0.2, -0.13),
    }
    for k, (place, (x, y)) in enumerate(places.items()):
        inside += (
            f'<site name="burner_on_{place}" type="cylinder" pos="{x} {y} 0.462" size="0.09 0.002" rgba="0.9 0.3 0.1 0"/>\n'
            f'<geom name="ring_{place}" type="cylinder" pos="{x} {y} 0.461" size="0.1 0.001" group="1" contype="0" '
            'conaffinity="0" mass="0" rgba="0.35 0.35 0.37 1"/>\n'
        )
        inside += (
            f'<body name="knob_{place}" pos="{-0.27 + 0.18 * k} -0.335 0.36">\n<joint name="knob_{place}_joint" type="hinge" '
            'axis="0 1 0" range="-0.1 3.0" limited="true" damping="0.02" frictionloss="0.02"/>\n'
            + _part(f"dial_{place}", "cylinder", "0 -0.012 0", "0.03 0.012", STEEL, more='euler="1.5708 0 0"')
            + _part(f"grip_{place}", "box", "0 -0.036 0", "0.007 0.014 0.028", RED)
            + "</body>\n"
        )
    return _model("stove", inside + _region("main", "0 0 0", "0.38 0.33 0.46"))


def _coffee_machine() -> str:
    inside = (
        _part("foot", "box", "0 0 -0.155", "0.1 0.15 0.015", DARK)
        + _part("tower", "box", "0 0.09 0", "0.1 0.06 0.17", DARK)
        + _part("head", "box", "0 -0.04 0.13", "0.1 0.08 0.04", DARK)
        + _part("start_button", "cylinder", "0.05 -0.122 0.13", "0.015 0.006", RED, more='euler="1.5708 0 0"')
        + '<site name="receptacle_place_site" pos="0 -0.06 -0.135" size="0.005" rgba="0 0 0 0"/>\n'
        '<site name="coffee_liquid" type="cylinder" pos="0 -0.06 0" size="0.004 0.08" rgba="0.3 0.15 0.05 0"/>\n'
    )
    return _model("coffee_machine", inside + _region("main", "0 0 0", "0.1 0.15 0.17"))


def _stand_mixer() -> str:
    inside = (
        _part("foot", "box", "0 0 -0.15", "0.09 0.15 0.02", CREAM)
        + _part("column", "box", "0 0.11 -0.03", "0.05 0.035 0.12", CREAM)
        + _part("bowl", "cylinder", "0 -0.06 -0.07", "0.07 0.055", STEEL)
        + '<body name="head" pos="0 0.11 0.1">\n<joint name="head_joint" type="hinge" axis="-1 0 0" range="0 0.9" limited="true" '
        'damping="0.6" frictionloss="0.9" stiffness="0.5" springref="1.5"/>\n'
        + _part("head_body", "box", "0 -0.13 0.035", "0.05 0.12 0.035", CREAM, mass="0.5")
        + _part("head_lever", "box", "0 -0.265 0.03", "0.045 0.02 0.01", RED, mass="0.03")
        + "</body>\n"
    )
    regions = _region("main", "0 0 0", "0.09 0.15 0.17") + _region("bowl", "0 -0.06 -0.05", "0.05 0.05 0.03")
    return _model("stand_mixer", inside + regions)


def _rewrite_registry(registry: Path) -> None:
    """Point every style's choice at what exists here: one model per appliance, flat panels, bar handles."""
    for name in ("sink", "stove", "stove_wide", "coffee_machine", "stand_mixer"):
        file = registry / f"{name}.yaml"
        entries: dict[str, Any] = yaml.safe_load(file.read_text())
        for entry in entries.values():
            entry["xml"] = f"fixtures/standin/{'stove' if name == 'stove_wide' else name}"
            entry.pop("scale", None)
        file.write_text(yaml.safe_dump(entries))
    file = registry / "cabinet.yaml"
    entries = yaml.safe_load(file.read_text())
    for entry in entries.values():
        if "panel_type" in entry and entry["panel_type"] not in ("slab", "raised", "shaker"):
            entry["panel_type"] = "slab"
            entry.pop("panel_config", None)
        if "handle_type" in entry and entry["handle_type"] not in ("bar", "boxed", "knob"):
            entry["handle_type"] = "bar"
    file.write_text(yaml.safe_dump(entries))


# -- objects ---------------------------------------------------------------------------------------------------------
#: Half sizes [m] before RoboCasa's scale of the category; all others are drawn from their name.
_SIZES = {
    "can": ("cylinder", (0.033, 0.033, 0.055)), "mug": ("cylinder", (0.035, 0.035, 0.045)),
    "cup": ("cylinder", (0.035, 0.035, 0.045)), "plate": ("cylinder", (0.075, 0.075, 0.008)),
    "bowl": ("cylinder", (0.06, 0.06, 0.02)), "pan": ("cylinder", (0.07, 0.07, 0.02)),
    "pot": ("cylinder", (0.07, 0.07, 0.04)), "saucepan": ("cylinder", (0.07, 0.07, 0.03)),
    "kettle_non_electric": ("cylinder", (0.06, 0.06, 0.05)),
}  # fmt: skip


def _object(category: str) -> str:
    rng = np.random.default_rng(int.from_bytes(hashlib.sha256(category.encode()).digest()[:4], "big"))
    kind, half = _SIZES.get(category, (None, None))
    if kind is None:
        kind = ("box", "cylinder")[int(rng.integers(2))]
        radius = rng.uniform(0.022, 0.032)
        half = (radius, radius, rng.uniform(0.02, 0.045))
    assert half is not None
    hue = np.array([[[int(rng.integers(180)), 190, 210]]], np.uint8)
    red, green, blue = (np.asarray(cv2.cvtColor(hue, cv2.COLOR_HSV2RGB))[0, 0] / 255).round(2)
    size = f"{half[0]:.4f} {half[1]:.4f} {half[2]:.4f}" if kind == "box" else f"{half[0]:.4f} {half[2]:.4f}"
    box = f"{half[0]:.4f} {half[1]:.4f} {half[2]:.4f}"
    inside = _part("shape", kind, "0 0 0", size, f"{red} {green} {blue} 1") + _region("bbox", "0 0 0", box)
    return _model(category, inside)


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


# -- the layout: x to the right along the wall, y into the wall, metres -------------------------------------------------
_LAYOUT = """
room:
  walls:
    - {name: wall, type: wall, size: [2.4, 1.5, 0.02], pos: [2.4, 0, 1.5]}
    - {name: wall_left, type: wall, wall_side: left, size: [1.5, 1.5, 0.02], pos: [0, -1.5, 1.5]}
    - {name: wall_right, type: wall, wall_side: right, size: [1.5, 1.5, 0.02], pos: [4.8, -1.5, 1.5]}
  floor:
    - {name: floor, type: floor, size: [2.4, 1.5, 0.02], pos: [2.4, -1.5, 0]}
main_group:
  bottom_row:
    - {name: sink, type: sink}
    - {name: counter_main, type: counter, interior_obj: sink, size: [2.2, 0.65, 0.92], pos: [1.3, -0.325, 0.46],
       obj_x_percent: 0.5, obj_y_percent: 0.3}
    - {name: stove, type: stove, size: [null, 0.66, null], align_to: counter_main, side: right, alignment: top_back}
    - {name: counter_right, type: counter, size: [1.3, 0.65, 0.92], align_to: stove, side: right, alignment: top_back}
  top_row:
    - {name: cab_1, type: single_cabinet, orientation: left, default_config_name: cab_top, size: [0.5, 0.4, 0.92], pos: [0.5, -0.2, 1.85]}
    - {name: cab_2, type: hinge_cabinet, default_config_name: cab_top, size: [0.9, 0.4, 0.92], align_to: cab_1, side: right}
  bottom_row_cabinets:
    - {name: stack_1, type: stack, levels: [drawer, drawer, drawer], percentages: [0.4, 0.35, 0.25], size: [0.6, 0.6, 0.84], pos: [0.5, -0.3, 0.47]}
    - {name: stack_2, type: stack, levels: [hinge_cabinet, panel_cabinet], percentages: [0.75, 0.25], size: [1.0, 0.6, 0.84], align_to: stack_1, side: right,
       configs: {hinge_cabinet: {open_top: true}}}
    - {name: stack_3, type: stack, levels: [single_cabinet, drawer], percentages: [0.75, 0.25], size: [0.6, 0.6, 0.84], align_to: stack_2, side: right}
    - {name: stack_4, type: stack, levels: [single_cabinet, drawer], percentages: [0.75, 0.25], size: [0.65, 0.6, 0.84], align_to: stove, side: right,
       alignment: top_back, offset: [0.0, 0.0, -0.03]}
    - {name: stack_5, type: stack, levels: [single_cabinet, drawer], percentages: [0.75, 0.25], size: [0.65, 0.6, 0.84], align_to: stack_4, side: right}
  counter_accessories:
    - {name: coffee_machine, type: coffee_machine,
       placement: {fixture: counter_right_main_group, size: [0.5, obj], pos: [0.8, 1.0], rotation: [0, 0]}}
    - {name: stand_mixer, type: stand_mixer, enable: false,
       placement: {fixture: counter_right_main_group, size: [0.5, obj], pos: [-0.6, 0.0], rotation: [0, 0]}}
"""

if __name__ == "__main__":
    build(Path(sys.argv[1]))
