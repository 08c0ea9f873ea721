#!/usr/bin/env bash
# Tests with slurm, one process a GPU:
#   tools/slurm_test.sh PARTITION JOB_NAME CONFIG CHECKPOINT [arguments of tools/test.py]
# From the environment: GPUS (8), GPUS_PER_NODE (8 or fewer), CPUS_PER_TASK (5), SRUN_ARGS, MASTER_PORT (29500).
set -euo pipefail
[ $# -ge 4 ] || { sed -n '2,4s/^# //p' "$0"; exit 2; }

exec "$(dirname "$0")/slurm.sh" "$1" "$2" "$(dirname "$0")/test.py" "${@:3}"
