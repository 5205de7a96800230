#!/usr/bin/env bash
# One TPU VM, from creation to deletion. See launch/README.md, or run without arguments.
set -euo pipefail

usage() {
  cat >&2 <<'TEXT'
usage: launch/tpu_vm.sh [--dry-run] create NAME
       launch/tpu_vm.sh [--dry-run] setup NAME
       launch/tpu_vm.sh [--dry-run] run NAME --config configs/X.py --workdir runs/X ...
       launch/tpu_vm.sh [--dry-run] logs NAME
       launch/tpu_vm.sh [--dry-run] delete NAME

TPU_ZONE (us-central1-a), TPU_TYPE (v5litepod-8), TPU_IMAGE (v2-alpha-tpuv5-lite) and
TPU_FLAGS (none; e.g. --spot) choose the machine. --dry-run prints the commands only.
TEXT
  exit 2
}

zone=${TPU_ZONE:-us-central1-a}
type=${TPU_TYPE:-v5litepod-8}
image=${TPU_IMAGE:-v2-alpha-tpuv5-lite}
read -ra flags <<<"${TPU_FLAGS:-}"
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

dry=false
if [[ ${1:-} == --dry-run ]]; then
  dry=true
  shift
fi
[[ $# -ge 2 && $2 != -* ]] || usage
action=$1 name=$2
shift 2
[[ $action == run || $# -eq 0 ]] || usage

# Run a command, or print it in a form that can be pasted into a shell.
execute() {
  if $dry; then
    printf '%q ' "$@"
    echo
  else
    "$@"
  fi
}

tpu() {
  execute gcloud compute tpus tpu-vm "$1" "${@:2}" --zone="$zone"
}

on_vm() {
  tpu ssh "$name" --command="$1"
}

remind() {
  $dry || echo "The VM costs money until: TPU_ZONE=$zone launch/tpu_vm.sh delete $name" >&2
}

# Follow the log until the run ends; leaving (Ctrl-C) does not stop the run.
follow="pid=\$(tmux list-panes -t msa -F '#{pane_pid}' 2>/dev/null) &&
tail -n 100 --pid=\"\$pid\" -F run.log || tail -n 100 run.log"

if ! $dry && ! command -v gcloud >/dev/null; then
  echo "error: gcloud not found; install the Google Cloud CLI, then: gcloud auth login" >&2
  exit 2
fi

case $action in
create)
  trap remind EXIT
  tpu create "$name" --accelerator-type="$type" --version="$image" "${flags[@]}"
  ;;
setup) # sends the last commit; safe to repeat
  trap remind EXIT
  archive=${TMPDIR:-/tmp}/msa_jax-$$.tgz
  execute git -C "$root" archive --output="$archive" HEAD
  tpu scp "$archive" "$name":msa_jax.tgz
  execute rm "$archive"
  on_vm "set -e
mkdir -p msa_jax && tar -xzf msa_jax.tgz -C msa_jax && cd msa_jax
sudo apt-get update -q
sudo apt-get install -q -y python3.11 python3.11-venv tmux make
make env PYTHON=python3.11
.venv/bin/python -m pip install -q -c constraints.txt 'jax[tpu]'
.venv/bin/python -c 'import jax; print(jax.devices())'"
  ;;
run) # starts unless it runs; the same command after a preemption resumes from the workdir
  [[ $# -gt 0 ]] || usage
  trap remind EXIT
  command=".venv/bin/python -m msa_jax.main$(printf ' %q' "$@") 2>&1 | tee -a run.log"
  on_vm "cd msa_jax
tmux has-session -t msa 2>/dev/null || tmux new-session -d -s msa $(printf '%q' "$command")
$follow"
  ;;
logs)
  trap remind EXIT
  on_vm "cd msa_jax
$follow"
  ;;
delete) # gcloud asks before it deletes
  tpu delete "$name"
  ;;
*) usage ;;
esac
