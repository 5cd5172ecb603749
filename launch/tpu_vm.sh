#!/usr/bin/env bash
# Train on a Cloud TPU VM, of one host or many. Every hyper-parameter stays in the config.
#
#   bash launch/tpu_vm.sh [options] VERB... [-- arguments of jaxrec train]
#
# Verbs:    create   a TPU VM
#           copy     this checkout to its hosts, and set it up there
#           run      the same `jaxrec train` line on all hosts, shown as it goes; it goes on when the connection breaks
#           logs     of the run, from host 0 (or WORKERS)
#           stop     the run: it saves a checkpoint and ends
#           delete   the TPU VM and its disks: checkpoints that are not on a shared folder go with it
#           all      create, copy, run
# Options, also from the environment:
#           --name NAME (jaxrec)  --zone ZONE  --project PROJECT  --type TYPE, such as v6e-16  --version VERSION of the
#           runtime (fits the type)  --workers WORKERS (all)  --spot  --queued: through a queued resource  --dry-run
#
#   ZONE=us-east5-b TYPE=v6e-16 bash launch/tpu_vm.sh all -- --config configs/movielens_1m.py --workdir /mnt/runs/ml-1m
#
# The workdir is one folder that all hosts see at the same path: a Filestore share, or a bucket mounted on each host
# with gcsfuse (gcsfuse BUCKET /mnt/runs); an address such as gs:// is refused.
#
# The Cloud TPU API used here takes fixes only and does not know TPU7x and later: new projects on new chips go through
# Compute Engine (instance groups with a workload policy) or GKE (JobSet), with the same `jaxrec train` line.
set -euo pipefail

NAME=${NAME:-jaxrec} ZONE=${ZONE:-} TYPE=${TYPE:-} VERSION=${VERSION:-} PROJECT=${PROJECT:-} WORKERS=${WORKERS:-}
SPOT=${SPOT:-} QUEUED=${QUEUED:-} DRY_RUN=${DRY_RUN:-}
root=$(CDPATH='' cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd -P)

fail() { printf '%s\n' "$*" >&2; exit 2; }
need() { [[ -n ${!1} ]] || fail "$1 is not set: give --$(tr '[:upper:]' '[:lower:]' <<<"$1") or $1=..., such as $2"; }

quoted() {  # the arguments as one line that a shell reads back
  local word line=
  for word in "$@"; do
    [[ $word =~ ^[A-Za-z0-9_@%+=:,./-]+$ ]] || word="'${word//\'/\'\\\'\'}'"
    line+="${line:+ }$word"
  done
  printf '%s' "$line"
}

do_it() {  # prints the command; runs it unless --dry-run
  printf '%s\n' "$(quoted "$@")"
  [[ -n $DRY_RUN ]] || "$@"
}

tpus() { do_it gcloud compute tpus "$@" "--zone=$ZONE" ${PROJECT:+"--project=$PROJECT"}; }
on_hosts() { tpus tpu-vm ssh "$NAME" "--worker=${WORKERS:-$1}" "--command=$2"; }

create() {
  need TYPE v6e-16
  case $TYPE in
    v6e-*) VERSION=${VERSION:-v2-alpha-tpuv6e} ;;
    v5p-*) VERSION=${VERSION:-v2-alpha-tpuv5} ;;
    v5litepod-*) VERSION=${VERSION:-v2-alpha-tpuv5-lite} ;;
    *) VERSION=${VERSION:-tpu-ubuntu2204-base} ;;
  esac
  if [[ -n $QUEUED ]]; then
    tpus queued-resources create "$NAME" "--node-id=$NAME" "--accelerator-type=$TYPE" "--runtime-version=$VERSION" \
      ${SPOT:+--spot}
  else
    tpus tpu-vm create "$NAME" "--accelerator-type=$TYPE" "--version=$VERSION" ${SPOT:+--spot}
  fi
}

copy() {
  local archive=${TMPDIR:-/tmp}/jaxrec-$NAME.tgz
  do_it tar -czf "$archive" -C "$root" --exclude=./.git --exclude=./.venv --exclude=./runs --exclude=./build \
    --exclude=__pycache__ --exclude=.pytest_cache --exclude=.ruff_cache .
  tpus tpu-vm scp "$archive" "$NAME:jaxrec.tgz" "--worker=${WORKERS:-all}"
  on_hosts all 'mkdir -p jaxrec && tar -xzf jaxrec.tgz -C jaxrec && bash jaxrec/launch/tpu_vm.sh host-setup'
}

run() { on_hosts all "bash jaxrec/launch/tpu_vm.sh host-run -- $(quoted "$@")"; }

# --- on a host ------------------------------------------------------------------------------------------------------

metadata() {
  curl -sSf --retry 5 -H 'Metadata-Flavor: Google' \
    "http://${GCE_METADATA_IP:-metadata.google.internal}/computeMetadata/v1/instance/attributes/$1"
}

host_setup() {
  # shellcheck source=launch/setup.sh
  . "$root/launch/setup.sh"
  if [[ -z ${PYTHON:-} ]] && ! find_python >/dev/null; then  # Ubuntu 22.04 has 3.10
    say "No Python 3.11 or newer here: getting 3.12"
    python3 -m pip install --user --quiet uv
    python3 -m uv python install 3.12
  fi
  setup_venv "" "jax[tpu]"
}

host_run() {
  local hosts id run line ended="jaxrec train ended on this host with exit code"
  host_setup
  cd -- "$root"
  hosts=$(metadata worker-network-endpoints)  # a,b,c or name:id:address,...; the first is process 0
  id=$(metadata agent-worker-number)
  IFS=, read -r -a hosts <<<"$hosts"
  mkdir -p runs
  : >runs/tpu_vm.log
  # In the background and deaf to a hang-up: a broken connection ends what is shown, not the run.
  (
    trap '' HUP
    "$venv/bin/jaxrec" train "$@" --coordinator "${hosts[0]##*:}:8476" --num-processes "${#hosts[@]}" --process-id "$id" &
    printf '%s\n' "$!" >runs/tpu_vm.pid
    status=0
    wait "$!" || status=$?
    printf '%s %s\n' "$ended" "$status"
    exit "$status"
  ) >>runs/tpu_vm.log 2>&1 </dev/null &
  run=$!
  while IFS= read -r line; do
    printf '%s\n' "$line"
    [[ $line != "$ended "* ]] || break
  done < <(tail -n +1 -f --pid=$$ runs/tpu_vm.log)
  wait "$run"
}

# --------------------------------------------------------------------------------------------------------------------

verbs=()
while [[ $# -gt 0 && $1 != -- ]]; do
  case $1 in
    --name | --zone | --type | --version | --project | --workers)
      [[ $# -ge 2 ]] || fail "$1 needs a value"
      option=$(tr '[:lower:]' '[:upper:]' <<<"${1#--}")
      printf -v "$option" '%s' "$2"
      shift
      ;;
    --*=*) set -- "${1%%=*}" "${1#*=}" "${@:2}" && continue ;;
    --spot) SPOT=1 ;;
    --queued) QUEUED=1 ;;
    --dry-run) DRY_RUN=1 ;;
    -h | --help) sed -n '2,/^set -/{/^set -/!s/^# \{0,1\}//p;}' "${BASH_SOURCE[0]}" && exit 0 ;;
    create | copy | run | logs | stop | delete | host-setup | host-run) verbs+=("$1") ;;
    all) verbs+=(create copy run) ;;
    *) fail "no such verb or option: $1 (create, copy, run, logs, stop, delete, all; --help tells more)" ;;
  esac
  shift
done
[[ ${1:-} != -- ]] || shift
[[ ${#verbs[@]} -gt 0 ]] || fail "what is to be done? create, copy, run, logs, stop, delete or all; --help tells more"
[[ ${verbs[0]} == host-* ]] || need ZONE us-east5-b
[[ ${verbs[0]} == host-* || -n $DRY_RUN ]] || type -P gcloud >/dev/null ||
  fail "gcloud was not found: install the Google Cloud CLI, or see the commands with --dry-run"
[[ " ${verbs[*]} " != *" run "* || $# -gt 0 ]] ||
  fail "run needs the arguments of jaxrec train: ... -- --config configs/movielens_1m.py --workdir /mnt/runs/ml-1m"
[[ -z $QUEUED || " ${verbs[*]} " != *" create copy "* ]] ||
  fail "a queued resource takes its time: create, then copy and run when it is ACTIVE"

for verb in "${verbs[@]}"; do
  case $verb in
    create) create ;;
    copy) copy ;;
    run) run "$@" ;;
    logs) on_hosts 0 "cd jaxrec/runs && tail -n 200 -f --pid=\$(cat tpu_vm.pid) tpu_vm.log" ;;
    stop) on_hosts all "kill \$(cat jaxrec/runs/tpu_vm.pid)" ;;
    delete)
      if [[ -n $QUEUED ]]; then tpus queued-resources delete "$NAME" --force --quiet
      else tpus tpu-vm delete "$NAME" --quiet; fi
      ;;
    host-setup) host_setup ;;
    host-run) host_run "$@" ;;
  esac
done
