#!/usr/bin/env bash
# Trains on several GPUs (without a GPU: several processes), one process each:
#   tools/dist_train.sh CONFIG GPUS [arguments of tools/train.py]
# More than one machine: set NNODES, NODE_RANK, MASTER_ADDR and PORT on each.
set -euo pipefail
[ $# -ge 2 ] || { sed -n '2,4s/^# //p' "$0"; exit 2; }

exec "$(dirname "$0")/torchrun.sh" "$2" "$(dirname "$0")/train.py" "$1" "${@:3}"
