#!/usr/bin/env bash
# On a machine with a GPU and no network: installs what pack.sh has packed into a folder, and starts report.py:
#   tools/gpu/report.sh --out DIR [arguments of report.py]
# WHEELS: what pack.sh has written (default: build/gpu); PYTHON: the one with torch (default: python3).
set -euo pipefail
ROOT=$(cd "$(dirname "$0")/../.." && pwd)
WHEELS=${WHEELS:-$ROOT/build/gpu}
PYTHON=${PYTHON:-python3}
SITE=$ROOT/work_dirs/gpu/site

if ! [ -e "$SITE/complete" ]; then
    ls "$WHEELS"/*.whl >/dev/null || { echo "report.sh: no wheels in $WHEELS: run tools/gpu/pack.sh first, where there is a network" >&2 && exit 1; }
    rm -rf "$SITE"
    # A copy of mmcv with operators, left by an earlier call, comes in place of the one without.
    wheels=("$WHEELS"/*.whl)
    if compgen -G "$WHEELS/onedl_mmcv-*-cp*.whl" >/dev/null; then
        mapfile -t wheels < <(printf '%s\n' "${wheels[@]}" | grep -v 'onedl_mmcv-.*-none-any.whl')
    fi
    "$PYTHON" -m pip install -q --no-index --no-deps --no-compile --disable-pip-version-check --root-user-action ignore \
        --target "$SITE" "${wheels[@]}"
    # mmpretrain cannot be imported beside transformers 5, and without transformers it can.
    "$PYTHON" -c 'import importlib.metadata as m, sys; sys.exit(int(m.version("transformers").split(".")[0]) < 5)' \
        2>/dev/null && echo 'raise ImportError("hidden by tools/gpu/report.sh: mmpretrain needs transformers<5")' \
        >"$SITE/transformers.py"
    touch "$SITE/complete"
fi
export PYTHONPATH=$SITE${PYTHONPATH:+:$PYTHONPATH} WHEELS
exec "$PYTHON" "$ROOT/tools/gpu/report.py" "$@"
