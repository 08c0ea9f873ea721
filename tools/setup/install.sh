#!/usr/bin/env bash
# Makes .venv with everything mmcnv2 needs; `make setup` calls it, docs/start/install.md describes it.
# Run it again after an interruption and it finishes; with nothing left to do it returns at once.
#
#   PYTHON=python3.12   the interpreter to make .venv with (default: python3)
#   PIP_...             pip's own settings hold, e.g. PIP_FIND_LINKS=folder with a wheel of onedl-mmcv
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

readonly VENV=.venv PY=.venv/bin/python STAMP=.venv/mmcnv2-setup-done CACHE=.cache/setup
readonly NEEDED_MB=4000 COMPILE_MB=1000 # .venv with a CPU torch takes 1800 MB, pip's unpacking as much
MMCV=$(grep '^onedl-mmcv==' requirements/mmcv.txt)
export PIP_USER=0 PIP_NO_INPUT=1 PIP_DISABLE_PIP_VERSION_CHECK=1

say() { printf 'set-up: %s\n' "$*"; }
die() {
    printf 'set-up stopped: %s\n' "$*" >&2
    exit 1
}
trap 'die "interrupted; the same command finishes it"' INT TERM

free_mb() { df -Pm "$1" | awk 'NR == 2 {print $4}'; }
need_mb() { # folder, megabytes, what for
    local free
    free=$(free_mb "$1")
    ((free >= $2)) || die "$3 needs about $2 MB on the disk of $1, which has $free MB free"
}

pip_log() { # log name, pip's arguments: the output goes to the log
    LOG=$CACHE/$1.log
    "$PY" -m pip "${@:2}" >"$LOG" 2>&1
}
pip_or_die() {
    pip_log "$@" && return
    local why
    if grep -q 'No space left on device' "$LOG" || (($(free_mb .) < 50)); then
        why='the disk is full'
    elif grep -qE 'Retrying \(|Connection(Error| refused)|Failed to establish' "$LOG"; then
        why='the package index cannot be reached'
    else
        why=$(grep -m1 ' error: ' "$LOG" || grep '^ERROR' "$LOG" | tail -n 1 || echo 'pip failed')
    fi
    die "installing $1: ${why:0:200} (log: $LOG)"
}

check_python() {
    local version
    version=$("$1" -V 2>&1) || die "'$1' does not run: install Python 3.10 or newer, or name one with PYTHON=..."
    "$1" -c 'import sys; sys.exit(sys.version_info < (3, 10))' ||
        die "Python 3.10 or newer is needed, '$1' is $version: name another with PYTHON=..."
    "$1" -c 'import ensurepip, venv' 2>/dev/null ||
        die "'$1' lacks the venv module: install it (Debian, Ubuntu: apt install python3-venv)"
}

check_compiler() {
    local tool header
    for tool in "${CC:-gcc}" "${CXX:-g++}"; do
        command -v "${tool%% *}" >/dev/null ||
            die "no compiler ($tool), and mmcv's operators must be compiled: install it (Debian, Ubuntu:" \
                "apt install g++) or give pip a ready-made wheel of $MMCV (PIP_FIND_LINKS=folder)"
    done
    header=$("$PY" -c 'import sysconfig; print(sysconfig.get_paths()["include"])')/Python.h
    [ -f "$header" ] ||
        die "no $header, and mmcv's operators must be compiled: install it (Debian, Ubuntu: apt install" \
            "python3-dev) or give pip a ready-made wheel of $MMCV (PIP_FIND_LINKS=folder)"
    need_mb "$PWD" "$COMPILE_MB" 'compiling mmcv'
}

# All that decides what .venv should hold. The folder counts, since a virtual environment cannot be moved.
fingerprint() {
    {
        cat requirements/*.txt setup.py pyproject.toml mmcnv2/version.py tools/setup/install.sh
        pwd
        "$PY" -V
    } | sha256sum
}
is_done() { [ -x "$PY" ] && [ -f "$STAMP" ] && [ "$(cat "$STAMP")" = "$(fingerprint)" ]; }

minor() { "$1" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null; }
is_wanted_python() { [ -z "${PYTHON:-}" ] || [ "$(minor "$PYTHON")" = "$(minor "$PY")" ]; }

make_venv() {
    # The activate script is the last thing that `python -m venv` writes.
    [ -f "$VENV/bin/activate" ] && "$PY" -c 'import pip' 2>/dev/null && is_wanted_python && return
    check_python "${PYTHON:-python3}"
    need_mb "$PWD" "$NEEDED_MB" "$VENV"
    say "making $VENV (10 seconds)"
    rm -rf "$VENV"
    "${PYTHON:-python3}" -m venv "$VENV" >"$CACHE/venv.log" 2>&1 ||
        die "making $VENV: $(tail -n 1 "$CACHE/venv.log") (log: $CACHE/venv.log)"
}

# Forget packages that a killed pip left in pieces, so that pip installs them again. It writes INSTALLER after a
# package's files, and moves files to ~names before it removes them.
drop_pieces() {
    "$PY" - <<'EOF'
import importlib.metadata, pathlib, shutil, sysconfig

site = pathlib.Path(sysconfig.get_paths()['purelib'])
for leftover in site.glob('~*'):
    shutil.rmtree(leftover, ignore_errors=True)
for info in site.glob('*.dist-info'):
    files = importlib.metadata.Distribution.at(info).files or []
    missing = [f for f in files if '__pycache__' not in f.parts and not f.locate().exists()]
    if missing or not (info / 'INSTALLER').is_file():
        print(f'set-up: {info.stem} is incomplete: installing it again', flush=True)
        shutil.rmtree(info)
EOF
}

have_mmcv() { # the wanted version, with operators that load with this torch
    "$PY" -c 'import importlib.metadata as m, sys
sys.exit("onedl-mmcv==" + m.version("onedl-mmcv") != sys.argv[1])
' "$MMCV" 2>/dev/null && "$PY" -c 'import mmcv.ops' >"$CACHE/mmcv-ops.log" 2>&1
}
# Each wheel is made in a folder that gets its name when it is whole. pip's own cache is left out: it may hold a
# build without operators, or one for another torch.
fetch_mmcv() { # the pip command, which lacks only the folder that it puts the wheel into
    rm -rf "$WHEELS" "$WHEELS.part"
    "$@" "$WHEELS.part" && mv "$WHEELS.part" "$WHEELS"
}
find_mmcv() {
    [ -d "$WHEELS" ] || fetch_mmcv pip_log mmcv-wheel download --no-cache-dir --no-deps \
        --only-binary :all: -r requirements/mmcv.txt -d
}
compile_mmcv() {
    check_compiler
    say "compiling $MMCV (7 minutes on 2 cores; kept in $CACHE, so once)"
    # -g0 -O2: no debug symbols, a third of the time. With a GPU but no nvcc the build would fail: hide the GPU.
    export CC="${CC:-gcc}" CXX="${CXX:-g++}" CFLAGS="${CFLAGS:--g0 -O2}" MAX_JOBS="${MAX_JOBS:-$(nproc)}"
    "$PY" -c 'import sys, torch; from torch.utils.cpp_extension import CUDA_HOME
sys.exit(torch.cuda.is_available() and CUDA_HOME is None)' || {
        say 'no nvcc: mmcv gets operators for the CPU only, detection on the GPU will not work (docs/start/install.md)'
        export CUDA_VISIBLE_DEVICES=
    }
    PATH="$PWD/$VENV/bin:$PATH" fetch_mmcv pip_or_die mmcv-build wheel --no-cache-dir --no-deps \
        --no-build-isolation --no-binary onedl-mmcv -r requirements/mmcv.txt -w
}
install_mmcv() {
    pip_or_die mmcv install --no-deps --force-reinstall "$WHEELS"/*.whl
}

main() {
    mkdir -p "$CACHE"
    # One at a time. A pip that outlived a killed set-up holds the lock too.
    if command -v flock >/dev/null; then
        exec 9>"$CACHE/lock"
        flock -n 9 || { say 'waiting for another set-up to end' && flock 9; }
    fi
    if is_done && is_wanted_python; then
        say "$VENV is up to date"
        return
    fi
    rm -f "$STAMP"
    # Not /tmp: it is often small, and a killed pip leaves its files there.
    export TMPDIR=$PWD/$CACHE/tmp
    rm -rf "$TMPDIR"
    mkdir "$TMPDIR"
    make_venv
    drop_pieces
    WHEELS=$PWD/$CACHE/$MMCV-py$(minor "$PY")

    # Before the large downloads: can mmcv be had at all?
    have_mmcv || find_mmcv || check_compiler

    if "$PY" -c 'import importlib.metadata as m; m.version("torch")' 2>/dev/null; then
        say "torch is there already and stays"
    else
        need_mb "$PWD" "$NEEDED_MB" "$VENV"
        say "installing $(grep '^torch' requirements/torch.txt) (1 minute; 10 if it is a CUDA build, 3 GB)"
        pip_or_die torch install -r requirements/torch.txt
    fi
    say 'installing OpenMMLab and the rest (2 minutes)'
    # What comes now must fit the torch that is there: pip would rather take another one for a newer torchvision.
    "$PY" -c 'import importlib.metadata as m; print("torch==" + m.version("torch"))' >"$CACHE/constraints.txt"
    pip_or_die packages install -c "$CACHE/constraints.txt" -r requirements/build.txt -r requirements/openmmlab.txt \
        -r requirements/runtime.txt -r requirements/dev.txt
    # mmdet brings two builds of OpenCV that share a folder. The one that wins needs libGL, which servers often lack.
    "$PY" -c 'import cv2' >"$CACHE/opencv.log" 2>&1 || {
        say 'installing OpenCV without windows'
        pip_or_die opencv install --no-deps --force-reinstall "$("$PY" -c 'import importlib.metadata as m
print("opencv-python-headless==" + m.version("opencv-python-headless"))')"
    }

    if ! have_mmcv; then
        say "installing $MMCV"
        # A wheel that was found may be made for another torch, or without operators: then compile after all.
        { [ -d "$WHEELS" ] && install_mmcv && have_mmcv; } || { compile_mmcv && install_mmcv; }
        have_mmcv || die "mmcv is installed but its operators do not load:" \
            "$(tail -n 1 "$CACHE/mmcv-ops.log"); 'make clean setup' starts over (log: $CACHE/mmcv-build.log)"
    fi

    say 'installing mmcnv2 itself (5 seconds)'
    pip_or_die mmcnv2 install --no-deps --no-build-isolation -e .
    "$PY" -c 'import mmcnv2, mmdet, mmseg' >"$CACHE/check.log" 2>&1 ||
        die "the packages are there but do not import: $(tail -n 1 "$CACHE/check.log") (log: $CACHE/check.log)"
    rm -rf "$TMPDIR"
    fingerprint >"$STAMP.part"
    mv "$STAMP.part" "$STAMP"
    say "done: $VENV is ready"
}

main
