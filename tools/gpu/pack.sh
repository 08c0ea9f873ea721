#!/usr/bin/env bash
# Collects what must travel, beside this repository, to a machine with a GPU, Python 3.12, torch and no network:
#   tools/gpu/pack.sh [FOLDER=build/gpu]
# wheels of what tools/gpu/requirements.txt lists and of OpenMMLab, mmcv without operators, and mmcv's source for
# building them there. PYTHON: whose pip (default: .venv's, else python3's); MAX_MB: with the repository (default: 60).
# Too large, so not packed: spconv for CUDA, av (which supervision needs for videos only), imaug, which nothing here
# needs.
set -euo pipefail
cd "$(dirname "$0")/../.."

FOLDER=${1:-build/gpu}
PART=$FOLDER.part
PYTHON=${PYTHON:-$([ -x .venv/bin/python ] && echo .venv/bin/python || echo python3)}
MAX_MB=${MAX_MB:-60}
# pip matches each exactly. The newest is that of the C library of Ubuntu 24.04.
PLATFORMS=$(for minor in 39 35 34 31 28 27 24 17; do echo "--platform manylinux_2_${minor}_x86_64"; done)

die() { echo "pack.sh: $*" >&2 && exit 1; }
quietly() { "$PYTHON" -m pip "$@" --no-deps --disable-pip-version-check -q >"$PART/pip.log" 2>&1; }
megabytes() { du -cm --apparent-size "$@" | tail -n 1 | cut -f 1; }

listed() { # the requirements, one a line
    cat requirements/openmmlab.txt tools/gpu/requirements.txt | grep -E '^[a-z0-9-]+==' | cut -d ';' -f 1
    grep '^onedl-mmpretrain==' requirements/dev.txt
}
fetch() { # a wheel for the other machine; if there is none, one made of the source, when it fits any machine
    # shellcheck disable=SC2086
    quietly download --only-binary :all: --python-version 3.12 --implementation cp $PLATFORMS \
        --platform manylinux2014_x86_64 --platform manylinux1_x86_64 -d "$PART" "$1" && return
    quietly wheel -w "$PART/made" "$1" || die "no wheel of $1, and none can be made: $(tail -n 3 "$PART/pip.log")"
    ls "$PART"/made/*-none-any.whl >/dev/null 2>&1 || die "$1 has no wheel for Python 3.12, and its source is not pure Python"
    mv "$PART"/made/*.whl "$PART"
}

rm -rf "$PART"
mkdir -p "$PART"
for requirement in $(listed); do
    echo "$requirement"
    fetch "$requirement"
done

mmcv=$(grep '^onedl-mmcv==' requirements/mmcv.txt)
echo "$mmcv, without operators, and its source"
# Its setup leaves the operators out where it sees no torch: in pip's isolation. (MMCV_WITH_OPS=0 alone does not.)
quietly wheel --no-cache-dir --no-binary onedl-mmcv -w "$PART/made" "$mmcv" ||
    die "$mmcv: $(tail -n 3 "$PART/pip.log")"
ls "$PART"/made/*-none-any.whl >/dev/null 2>&1 || die "$mmcv was built with operators: is torch in pip's isolation?"
mv "$PART"/made/*.whl "$PART"
quietly download --no-cache-dir --no-binary onedl-mmcv -d "$PART" "$mmcv" ||
    die "the source of $mmcv: $(tail -n 3 "$PART/pip.log")"
rm -rf "$PART/made" "$PART/pip.log"

packed=$(megabytes "$PART")
tracked=$(git ls-files -z | du -cm --apparent-size --files0-from=- | tail -n 1 | cut -f 1)
[ $((packed + tracked)) -le "$MAX_MB" ] ||
    die "$packed MB packed and $tracked MB of the repository are more than MAX_MB=$MAX_MB; largest: $(ls -S "$PART" | head -n 3 | xargs)"
rm -rf "$FOLDER"
mv "$PART" "$FOLDER"
echo "$FOLDER: $(find "$FOLDER" -type f | wc -l) files, $packed MB; the repository $tracked MB"
