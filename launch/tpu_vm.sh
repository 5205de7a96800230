#!/usr/bin/env bash
# A TPU VM or a slice of several, from creation to deletion. See launch/README.md.
set -euo pipefail

usage() {
  cat >&2 <<'TEXT'
usage: launch/tpu_vm.sh [--dry-run] create|setup|logs|delete NAME
       launch/tpu_vm.sh [--dry-run] run NAME --config configs/X.py --workdir runs/X ...

TPU_ZONE (us-central1-a), TPU_TYPE (v5litepod-8), TPU_IMAGE (v2-alpha-tpuv5-lite) and
TPU_FLAGS (none; e.g. --spot) choose the machine, TPU_BUCKET (none) the Cloud Storage
bucket that holds runs/ and data/. --dry-run prints the commands only.
TEXT
  exit 2
}

zone=${TPU_ZONE:-us-central1-a}
type=${TPU_TYPE:-v5litepod-8}
image=${TPU_IMAGE:-v2-alpha-tpuv5-lite}
bucket=${TPU_BUCKET:-}
bucket=${bucket#gs://}
[[ $bucket =~ ^[a-z0-9._-]*$ ]] || usage
read -ra flags <<<"${TPU_FLAGS:-}"
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# The number after the dash counts chips or cores: a host has up to 8 of either.
hosts=one
[[ ${type##*-} =~ ^[0-9]+$ && ${type##*-} -gt 8 ]] && hosts=several

dry=false
if [[ ${1:-} == --dry-run ]]; then
  dry=true
  shift
fi
[[ $# -ge 2 && $2 != -* ]] && [[ $1 == run || $# -eq 2 ]] || usage
action=$1 name=$2
shift 2

execute() { # or print, in a form that can be pasted into a shell
  if ! $dry; then "$@"; else printf '%q ' "$@" && echo; fi
}

tpu() {
  execute gcloud compute tpus tpu-vm "$1" "${@:2}" --zone="$zone"
}

everywhere=()
[[ $hosts == one ]] || everywhere=(--worker=all)

on_vm() {
  tpu ssh "$name" "${everywhere[@]}" --command="$1"
}

remind() {
  $dry || echo "The VM costs money until: TPU_ZONE=$zone launch/tpu_vm.sh delete $name" >&2
}

# Follow the log until the run ends; leaving (Ctrl-C) does not stop it. Exits as it did.
follow="if pid=\$(tmux list-panes -t msa -F '#{pane_pid}' 2>/dev/null)
then tail -n 100 --pid=\"\$pid\" -F run.log
else tail -n 100 run.log
fi
exit \"\$(cat run.code 2>/dev/null || echo 1)\""

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
  tpu scp "$archive" "$name":msa_jax.tgz "${everywhere[@]}"
  execute rm "$archive"
  on_vm "set -e
mkdir -p msa_jax && tar -xzf msa_jax.tgz -C msa_jax && cd msa_jax
sudo apt-get update -q && sudo apt-get install -q -y python3.11 python3.11-venv tmux make
make env PYTHON=python3.11
.venv/bin/python -m pip install -q -c constraints.txt 'jax[tpu]'
[ -z '$bucket' ] || command -v gcsfuse >/dev/null || {
key=/usr/share/keyrings/google.asc from=https://packages.cloud.google.com/apt
curl -sS \$from/doc/apt-key.gpg | sudo tee \$key >/dev/null
echo \"deb [signed-by=\$key] \$from gcsfuse-\$(lsb_release -cs) main\" |
sudo tee /etc/apt/sources.list.d/gcsfuse.list
sudo apt-get update -q && sudo apt-get install -q -y gcsfuse; }"
  ;;
run) # starts unless it runs; the same command after a preemption resumes from the workdir
  [[ $# -gt 0 ]] || usage
  trap remind EXIT
  [[ $hosts == one ]] || set -- "$@" --distributed
  main=".venv/bin/python -m msa_jax.main$(printf ' %q' "$@")"
  # 75: stopped by SIGTERM, its state is saved.
  again="while $main; code=\$?; [ \$code -eq 75 ]; do :; done; echo \$code >run.code"
  command="{ $again; } 2>&1 | tee -a run.log"
  on_vm "cd msa_jax
for folder in runs data; do
[ -z '$bucket' ] || mountpoint -q \$folder || { mkdir -p \$folder
gcsfuse --implicit-dirs --rename-dir-limit=10000 --only-dir=\$folder '$bucket' \$folder
} || exit 1
done
tmux has-session -t msa 2>/dev/null || { rm -f run.code
tmux new-session -d -s msa $(printf '%q' "$command"); }
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
