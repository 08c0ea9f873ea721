#!/usr/bin/env bash
# Starts PROCESSES copies of a script of this folder; used by dist_train.sh and dist_test.sh:
#   tools/torchrun.sh PROCESSES SCRIPT [arguments]
set -euo pipefail

exec "${PYTHON:-python}" -m torch.distributed.run \
    --nnodes="${NNODES:-1}" \
    --node_rank="${NODE_RANK:-0}" \
    --master_addr="${MASTER_ADDR:-127.0.0.1}" \
    --master_port="${PORT:-29500}" \
    --nproc_per_node="$1" \
    "${@:2}" --launcher pytorch
