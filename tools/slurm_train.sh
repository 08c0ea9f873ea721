#!/usr/bin/env bash
# Trains with slurm, one process a GPU:
#   tools/slurm_train.sh PARTITION JOB_NAME CONFIG [arguments of tools/train.py]
# From the environment: GPUS (8), GPUS_PER_NODE (8 or fewer), CPUS_PER_TASK (5), SRUN_ARGS, MASTER_PORT (29500).
set -euo pipefail
[ $# -ge 3 ] || { sed -n '2,4s/^# //p' "$0"; exit 2; }

exec "$(dirname "$0")/slurm.sh" "$1" "$2" "$(dirname "$0")/train.py" "${@:3}"
