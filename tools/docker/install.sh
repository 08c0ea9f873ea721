#!/usr/bin/env bash
# Fills the virtual environment of the image; the Dockerfile calls it, from the root of the repository.
#
#   VENV=/opt/venv     the environment to make
#   TORCH_INDEX=URL    where pip looks for torch first: the build for the CPU, or for a CUDA; empty: pip's own index
#   WHEELS=FOLDER      ready-made wheels, e.g. of onedl-mmcv, which is compiled if there is none for this torch
set -euo pipefail

py=$VENV/bin/python
export PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_FIND_LINKS="${PIP_FIND_LINKS:-} ${WHEELS:-}"

python3 -m venv "$VENV"
"$py" -m pip install ${TORCH_INDEX:+--index-url "$TORCH_INDEX"} -r requirements/torch.txt
# What comes now must fit this torch; pip would rather take another one for a newer package.
"$py" -c 'import importlib.metadata as m; print("torch==" + m.version("torch"))' >"$VENV/constraints.txt"
"$py" -m pip install -c "$VENV/constraints.txt" -r requirements/build.txt -r requirements/openmmlab.txt
# No debug symbols: a third of the time. Without isolation, since only a build that sees torch has operators.
CFLAGS="${CFLAGS:--g0 -O2}" PATH="$VENV/bin:$PATH" "$py" -m pip install -c "$VENV/constraints.txt" --no-deps \
    --no-build-isolation -r requirements/mmcv.txt
"$py" -m pip install -c "$VENV/constraints.txt" '.[demo,serve,hub,onnx]'
# mmdet brings two builds of OpenCV that share a folder; the one with windows needs libGL, which the image lacks.
opencv=$("$py" -c 'import importlib.metadata as m; print(m.version("opencv-python-headless"))')
"$py" -m pip install --no-deps --force-reinstall "opencv-python-headless==$opencv"
"$py" -c 'import mmcnv2, mmcv.ops, mmdet, mmseg'
