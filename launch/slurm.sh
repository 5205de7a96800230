#!/usr/bin/env bash
# A SLURM job that survives preemption. See launch/README.md, or run without arguments.
set -euo pipefail

usage() {
  cat >&2 <<'TEXT'
usage: launch/slurm.sh [--dry-run] --config configs/X.py --workdir runs/X ...

Submits the training as a job, from a folder that all nodes see, after `make env`.
MSA_NODES (1) of MSA_GPUS (1) each; MSA_TIME (1-00:00:00) at most at a time;
MSA_RESTARTS (100) at most; MSA_SBATCH (none) for the rest, e.g. "--partition=gpu
--account=me --qos=preempt". --dry-run prints what would be submitted and run.
TEXT
  exit 2
}

# One JAX process a node; with several nodes, JAX finds the others through SLURM.
training() {
  command=(.venv/bin/python -m msa_jax.main "$@")
  [[ $nodes -eq 1 ]] ||
    command=(srun --ntasks-per-node=1 --kill-on-bad-exit=1 "${command[@]}" --distributed)
}

# srun answers SIGTERM by killing its tasks, so SLURM is asked to hand it to them.
hand_on() {
  if [[ $nodes -eq 1 ]]; then
    kill -TERM "$child" || true
  else
    scancel --signal=TERM "$SLURM_JOB_ID" || true
  fi
}

# In the job: SLURM sends SIGTERM to this shell; main saves and exits with 75; the job
# goes back into the queue and, started again, goes on from its workdir.
inside() {
  nodes=$SLURM_JOB_NUM_NODES asked=false
  training "$@"
  trap "asked=true" TERM
  "${command[@]}" &
  child=$!
  # Not `wait`: a signal just before it would be handled only after the training.
  while kill -0 "$child" 2>/dev/null; do
    if $asked; then
      asked=false
      hand_on
    fi
    sleep 1
  done
  code=0
  wait "$child" || code=$?
  [[ $code -eq 75 ]] || exit "$code"
  if [[ ${SLURM_RESTART_COUNT:-0} -ge ${MSA_RESTARTS:-100} ]]; then
    echo "error: stopped after ${SLURM_RESTART_COUNT:-0} restarts; submit again" >&2
    exit "$code"
  fi
  echo "saved; back into the queue"
  scontrol requeue "$SLURM_JOB_ID" # which also ends this script
  sleep 60
}

if [[ ${1:-} == --inside ]]; then
  inside "${@:2}"
  exit
fi

dry=false
if [[ ${1:-} == --dry-run ]]; then
  dry=true
  shift
fi
[[ $# -gt 0 ]] || usage
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
nodes=${MSA_NODES:-1}
read -ra more <<<"${MSA_SBATCH:-}"
submit=(sbatch --job-name=msa --chdir="$root" --nodes="$nodes" --ntasks-per-node=1
  --gpus-per-node="${MSA_GPUS:-1}" --time="${MSA_TIME:-1-00:00:00}"
  --requeue --signal=B:TERM@120 --open-mode=append --output=slurm-%j.log
  "${more[@]}" "$root/launch/slurm.sh" --inside "$@")
if $dry; then
  training "$@"
  printf '%q ' "${submit[@]}"
  printf '\n# in the job:\n'
  printf '%q ' "${command[@]}"
  echo
  exit
fi
if ! command -v sbatch >/dev/null; then
  echo "error: sbatch not found; run this on a login node of the cluster" >&2
  exit 2
fi
exec "${submit[@]}"
