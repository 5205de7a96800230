#!/usr/bin/env bash
# A Kubernetes job that survives preemption. See launch/README.md, or run without arguments.
set -euo pipefail

usage() {
  cat >&2 <<'TEXT'
usage: launch/kubernetes.sh [--dry-run] run NAME --config configs/X.py \
         --workdir /volume/runs/X ...
       launch/kubernetes.sh [--dry-run] logs NAME
       launch/kubernetes.sh [--dry-run] delete NAME

MSA_IMAGE (needed by run) is an image with msa_jax and its configs, MSA_CLAIM (msa-jax) the
volume claim that becomes /volume, with runs and data, MSA_NODES (1) of MSA_GPUS (1) each.
--dry-run prints what would be applied or run.
TEXT
  exit 2
}

dry=false
if [[ ${1:-} == --dry-run ]]; then
  dry=true
  shift
fi
[[ $# -ge 2 && $2 != -* ]] || usage
action=$1 name=$2
shift 2
[[ $action == run || $# -eq 0 ]] || usage
if [[ ! $name =~ ^[a-z]([a-z0-9-]{0,50}[a-z0-9])?$ ]]; then
  echo "error: NAME '$name': small letters, digits and dashes only" >&2
  exit 2
fi

execute() {
  if $dry; then
    printf '%q ' "$@"
    echo
  else
    "$@"
  fi
}

# A JSON list of strings, which is YAML, too.
json_list() {
  local item items=()
  for item in "$@"; do
    item=${item//\\/\\\\}
    item=${item//\"/\\\"}
    items+=("\"$item\"")
  done
  local IFS=,
  echo "[${items[*]}]"
}

if ! $dry && ! command -v kubectl >/dev/null; then
  echo "error: kubectl not found; install it and choose a cluster" >&2
  exit 2
fi

case $action in
run)
  [[ $# -gt 0 ]] || usage
  image=${MSA_IMAGE:-} nodes=${MSA_NODES:-1} gpus=${MSA_GPUS:-1} claim=${MSA_CLAIM:-msa-jax}
  if [[ ! $image =~ ^[A-Za-z0-9./:@_-]+$ ]]; then
    echo "error: MSA_IMAGE '$image': give the image to run, see launch/README.md" >&2
    exit 2
  fi
  if [[ ! "$nodes $gpus" =~ ^[1-9][0-9]*\ [0-9]+$ || ! $claim =~ ^[a-z0-9.-]+$ ]]; then
    echo "error: MSA_NODES, MSA_GPUS or MSA_CLAIM is no number or no name" >&2
    exit 2
  fi
  [[ $nodes -eq 1 ]] || set -- "$@" --distributed
  words=$(json_list "$@")
  filled=$(<"$(dirname "${BASH_SOURCE[0]}")/kubernetes.yaml")
  shopt -u patsub_replacement 2>/dev/null || true # & in a value is an &
  filled=${filled//"\${NAME}"/"$name"}
  filled=${filled//"\${IMAGE}"/"$image"}
  filled=${filled//"\${NODES}"/"$nodes"}
  filled=${filled//"\${GPUS}"/"$gpus"}
  filled=${filled//"\${CLAIM}"/"$claim"}
  filled=${filled//"\${ARGS}"/"$words"}
  if $dry; then
    echo "$filled"
  else
    kubectl apply -f - <<<"$filled"
  fi
  ;;
logs)
  execute kubectl logs --follow --prefix --selector="job-name=$name" --tail=100
  ;;
delete)
  execute kubectl delete "job/$name" "service/$name" "rolebinding/$name" "role/$name" \
    "serviceaccount/$name"
  ;;
*) usage ;;
esac
