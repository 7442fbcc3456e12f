#!/bin/sh
# An environment for LeRobot (`train act`, `train diffusion`, datasets), which caps torch below what training uses here: $1 is its folder.
# LeRobot's own pins would bring gigabytes of GPU libraries, so this one takes a CPU torch and leaves torchvision's compiled
# operators undefined; nothing that is run here uses one. Users say: pip install 'autoenvbench[lerobot]'.
set -e
python="${PYTHON:-python3}"
"$python" -m venv "$1"
pip="$1/bin/python -m pip install --quiet --disable-pip-version-check"
$pip torch==2.13.0
$pip --no-deps torchvision==0.25.0 lerobot==0.4.4
$pip "datasets>=4,<4.9" "huggingface-hub<0.36" draccus==0.10.0 "av<16" "opencv-python-headless<4.13" "diffusers<0.36" einops \
  jsonlines "packaging<26" "gymnasium>=1,<2" pyserial deepdiff termcolor accelerate safetensors "rerun-sdk<0.27" \
  mujoco==4.0.0 python-can pyyaml pydantic msgpack pandas pyarrow imageio scipy onnx
site="$("$1/bin/python" -c 'import site; print(site.getsitepackages()[0])')"
cat > "$site/_torchvision_declared.py" <<'PY'
"""Declares torchvision's operators, so that it can be imported without its compiled half."""

import torch

_library = torch.library.Library("torchvision", "DEF")
for _name in (
    "nms", "qnms", "roi_align", "qroi_align", "_roi_align_backward", "roi_pool", "_roi_pool_backward", "ps_roi_align",
    "_ps_roi_align_backward", "ps_roi_pool", "_ps_roi_pool_backward", "deform_conv2d", "_deform_conv2d_backward",
):
    _library.define(f"{_name}(Tensor x) -> Tensor")
PY
printf 'import _torchvision_declared  # see scripts/lerobot_env.sh\n%s\n' "$(cat "$site/torchvision/__init__.py")" > "$site/torchvision/__init__.py"
"$1/bin/python" -W ignore -c 'import lerobot.datasets.lerobot_dataset, lerobot.policies.act.modeling_act, onnx'
