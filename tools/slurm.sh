#!/usr/bin/env bash
# Starts a script of this folder with slurm, one process a GPU; used by slurm_train.sh and slurm_test.sh:
#   tools/slurm.sh PARTITION JOB_NAME SCRIPT [arguments]
set -euo pipefail

gpus=${GPUS:-8}
gpus_per_node=${GPUS_PER_NODE:-$((gpus < 8 ? gpus : 8))}
# shellcheck disable=SC2086  # SRUN_ARGS holds several arguments
exec srun --partition="$1" --job-name="$2" \
    --gres=gpu:"$gpus_per_node" \
    --ntasks="$gpus" \
    --ntasks-per-node="$gpus_per_node" \
    --cpus-per-task="${CPUS_PER_TASK:-5}" \
    --kill-on-bad-exit=1 \
    ${SRUN_ARGS:-} \
    "${PYTHON:-python}" -u "${@:3}" --launcher slurm
