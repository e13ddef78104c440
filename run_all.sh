#!/usr/bin/env bash
# The one command: makes the environment once, then runs the study and says where its report is.
set -euo pipefail

# The user's settings of pip, Python, git and Snakemake are for other work; how pip reaches its index is kept.
for name in $(compgen -e); do
  case $name in
    PIP_*INDEX* | PIP_FIND_LINKS | PIP_TRUSTED_HOST | PIP_PROXY | PIP_*CERT | PIP_*TIMEOUT | PIP_RETRIES) ;;
    PIP_CONFIG_FILE | PIP_*CACHE_DIR | PIP_KEYRING_PROVIDER | PIP_CONSTRAINT) ;;
    PIP_* | GIT_DIR | GIT_WORK_TREE | GIT_INDEX_FILE | SNAKEMAKE_PROFILE | CDPATH) unset "$name" ;;
    PYTHONPATH | PYTHONHOME | PYTHONSTARTUP | PYTHONSAFEPATH) unset "$name" ;;
    PYTHONOPTIMIZE | PYTHONINSPECT | PYTHONWARNINGS | PYTHONPLATLIBDIR) unset "$name" ;;
  esac
done
export PIP_USER=0 PIP_REQUIRE_HASHES=0 PIP_NO_DEPS=0 # above what pip's own configuration says
cd -- "$(dirname -- "$(readlink -f -- "${BASH_SOURCE[0]}")")"

usage() {
  cat <<'TEXT'
Usage: ./run_all.sh [--profile NAME] [--cores N] [--device DEVICE] [--dry-run] [--verbose] [-- SNAKEMAKE ARGUMENTS]
       ./run_all.sh test [-- PYTEST ARGUMENTS]

Makes the environment on the first call (Python 3.11 or 3.12 and a C compiler are all it needs), runs what is missing or out
of date in the study, and says where the report is. A call that was interrupted is repeated to go on.

  --profile NAME   smoke, demo (the default), full, paper or nonnative: the files in notebooks/profiles; before
                   paper, the time that its trainings will take here is measured and printed
  --cores N        cores to use; all by default
  --device DEVICE  cpu, cuda or auto (the default: the GPU if there is one)
  --dry-run        list what would run, and run nothing
  --verbose        show Snakemake's own words, not the steps done, what is running and the time left
  --help           this text

After --, anything Snakemake takes: --forceall, --until claims, --resources gpu=4 to let four steps share the GPU, or
--workflow-profile cluster/slurm to spread the steps over a cluster (see that folder's config.yaml).

test makes the environment and runs the test suite in two processes, every notebook in the smoke profile included.
After --, anything pytest takes: -k audio, or --numprocesses 0 for one process.
TEXT
}

fail() {
  printf 'run_all.sh: %s\n' "$1" >&2
  exit 1
}

say() { printf '%s\n' "$1" >&2; }

need_value() { [[ $# -ge 2 && -n $2 ]] || fail "$1 needs a value (see ./run_all.sh --help)."; }

# glibc then keeps what large tensors are made of, instead of giving it back and asking for it again after every use.
export MALLOC_MMAP_THRESHOLD_=${MALLOC_MMAP_THRESHOLD_:-1073741824}
export MALLOC_TRIM_THRESHOLD_=${MALLOC_TRIM_THRESHOLD_:-4294967296}
export MALLOC_TOP_PAD_=${MALLOC_TOP_PAD_:-67108864}

readonly GIGABYTES=9 # the environment takes 7, its downloads up to 3 while it is made

# lock DESCRIPTOR wait|now: hold a lock on an open file until this process and what it becomes have ended.
lock() {
  "$python" -c 'import fcntl, sys
fcntl.flock(int(sys.argv[1]), fcntl.LOCK_EX | (fcntl.LOCK_NB if sys.argv[2] == "now" else 0))' "$1" "$2" 2>/dev/null
}

is_python() { "$1" -c 'import sys; sys.exit(sys.version_info[:2] not in ((3, 11), (3, 12)))' >/dev/null 2>&1; }

find_python() {
  local name
  for name in python3.11 python3.12 python3 python; do
    if is_python "$name"; then
      command -v "$name"
      return
    fi
  done
  fail "Python 3.11 or 3.12 was not found ($(python3 --version 2>/dev/null || echo 'no python3 at all')); install python3.11, or use conda with environment.yml."
}

check_machine() {
  local compiler free used
  compiler=$("$python" -c 'import os; print(os.environ.get("CC", "cc").split()[0])')
  if ! command -v "$compiler" >/dev/null && ! command -v gcc >/dev/null && ! command -v clang >/dev/null; then
    fail "no C compiler was found, and some packages are built from source; install one (on Debian: apt-get install build-essential)."
  fi
  "$python" -c 'import os, sys, sysconfig
sys.exit(not os.path.exists(os.path.join(sysconfig.get_path("include"), "Python.h")))' ||
    fail "the header files of $python are missing; install them (on Debian: apt-get install python3-dev, or python3.11-dev)."
  free=$(df -Pk "$([[ -d $environment ]] && echo "$environment" || echo .)" | awk 'NR == 2 { print int($4 / 1000000) }')
  used=0
  if [[ -d $environment ]]; then used=$(du -sk "$environment" | awk '{ print int($1 / 1000000) }'); fi
  if ((free + used < GIGABYTES)); then
    fail "the environment needs $GIGABYTES GB and the disk has $free GB left; free some space and run the same command again."
  fi
}

install() {
  local log=$environment/install.log reason
  check_machine
  if [[ $environment == .venv ]] && ! .venv/bin/python -m pip --version >/dev/null 2>&1; then
    "$python" -m venv --clear .venv >/dev/null 2>&1 ||
      fail "the environment .venv could not be made; install Python's venv module (on Debian: apt-get install python3-venv, or python3.11-venv)."
  fi
  say "Installing the packages into $environment: some minutes, 7 GB, once (progress in $log)."
  if ! "$environment/bin/python" -m pip install --no-input -c constraints.txt -e . >"$log" 2>&1 </dev/null; then
    if grep -q 'No space left' "$log"; then
      reason="the disk is full; free some space"
    elif grep -qE 'Max retries|NewConnectionError|Connection(Error|Reset)|name resolution|timed out|unreachable|No matching distribution' "$log"; then
      reason="they could not be downloaded; check the network and pip's settings (pip config list)"
    elif grep -q 'user requested (constraint)' "$log"; then # of pins that fit together, one was not to be had
      reason="$(awk '/user requested \(constraint\)/ { print $NF; exit }' "$log") could not be found for $("$environment/bin/python" --version 2>/dev/null); check the network and pip's settings (pip config list)"
    else
      reason="$(grep -iE '^ *(error|fatal)' "$log" | tail -n 1 | cut -c 1-300)"
    fi
    fail "the packages could not be installed: ${reason:-pip gave no reason}; then run the same command again (log: $log)."
  fi
  first_on_the_path
}

# A notebook's kernel, in whatever folder it is started, finds this checkout's lib before a folder's or a package's own
# (only PYTHONPATH comes before it), and torch's threads wait there as lib/__init__.py says.
first_on_the_path() {
  local site root
  root=$("$python" -c 'import os; print(ascii(os.getcwd()))')
  for site in "$environment"/lib/python3.*/site-packages; do
    [[ ! -d $site ]] || cat >"$site/speech-adaptation-study.pth" <<TEXT
import os, sys; sys.path.insert(sys.path.index(os.path.dirname(os.__file__)), $root)
import os; os.environ.setdefault("GOMP_SPINCOUNT", "3000")
TEXT
  done
}

# Sets python to the environment's, which it makes or brings up to date if its stamp does not match the pins.
ensure_environment() {
  local wanted stamp
  if [[ -n ${CONDA_PREFIX:-} && ${CONDA_DEFAULT_ENV:-} == "$(awk '/^name:/ { print $2 }' environment.yml)" ]]; then
    environment=$CONDA_PREFIX
    python=$environment/bin/python
    is_python "$python" || fail "the conda environment $CONDA_DEFAULT_ENV has no Python 3.11 or 3.12; make it again with: conda env create -f environment.yml"
  else
    environment=.venv
  fi
  stamp=$environment/.study-stamp
  wanted="$(cat pyproject.toml constraints.txt | cksum) $PWD"
  if ! is_python "$environment/bin/python" || [[ ! -f $stamp || $(<"$stamp") != "$wanted" ]]; then
    [[ $environment != .venv ]] || python=$(find_python)
    exec 8<pyproject.toml
    lock 8 now || { say "Waiting for another run_all.sh to finish the environment."; lock 8 wait || true; }
    if [[ ! -f $stamp || $(<"$stamp") != "$wanted" ]]; then
      rm -f "$stamp"
      install
      printf '%s' "$wanted" >"$stamp.tmp"
      mv "$stamp.tmp" "$stamp"
    fi
    exec 8<&-
  fi
  [[ $environment != .venv ]] || environment=$PWD/.venv
  python=$environment/bin/python
  export PYTHONNOUSERSITE=1
}

# Whether what is meant for Snakemake sends the steps to other machines: what this one has then limits nothing.
elsewhere() { [[ " $* " =~ \ (--executor|-e|--profile|--workflow-profile)[\ =] && ! " $* " =~ \ (--executor|-e)[\ =]local\  ]]; }

# Snakemake and others keep what they can make again below HOME; where that cannot be written, it is kept in STUDY_CACHE.
check_places() {
  local home=${XDG_CACHE_HOME:-${HOME:-/nonexistent}/.cache} cache=${STUDY_CACHE:-data/cache} place
  for place in "${TMPDIR:-/tmp}" .; do
    can_write "$place" || fail "$place cannot be written, or its disk is full: free some space, or name another folder ($(
      [[ $place == . ]] && echo "copy the checkout there" || echo "in TMPDIR"))."
  done
  mkdir -p "$cache" 2>/dev/null && can_write "$cache" ||
    fail "$cache cannot be written, or its disk is full: free some space, or name another folder in STUDY_CACHE."
  if ! { mkdir -p "$home/snakemake" 2>/dev/null && can_write "$home/snakemake"; }; then
    export HF_HOME=${HF_HOME:-$home/huggingface} # what was downloaded stays in use
    XDG_CACHE_HOME=$(cd -- "$cache" && pwd)/home
    export XDG_CACHE_HOME
  fi
}

# Whether a file with something in it can be made in a folder.
can_write() { (echo something >"$1/.written-$$") 2>/dev/null && rm -f "$1/.written-$$" || { rm -f "$1/.written-$$"; false; }; }

choose_device() {
  local visible='import sys, torch; sys.exit(not torch.cuda.is_available())'
  case $device in
    cpu) ;;
    cuda)
      elsewhere "$@" || "$python" -c "$visible" ||
        fail "no GPU is visible to torch; use --device cpu, or check the driver with nvidia-smi."
      ;;
    auto)
      device=cpu
      if nvidia-smi -L >/dev/null 2>&1 && "$python" -c "$visible"; then device=cuda; fi
      ;;
  esac
}

# Two processes with one thread each, a file's tests in one of them, so that what a file prepares is prepared once.
test_command() {
  [[ ${1:-} != -- ]] || shift
  ensure_environment
  export OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 TOKENIZERS_PARALLELISM=false
  exec "$python" -m pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder "$@"
}

profile=demo cores="" device=auto dry_run="" terminal=progress python=""
if [[ ${1:-} == test ]]; then
  shift
  test_command "$@"
fi
while (($#)); do
  case $1 in
    --profile) need_value "$@"; profile=$2; shift 2 ;;
    --cores) need_value "$@"; cores=$2; shift 2 ;;
    --device) need_value "$@"; device=$2; shift 2 ;;
    --profile=* | --cores=* | --device=*) set -- "${1%%=*}" "${1#*=}" "${@:2}" ;;
    --dry-run) dry_run=yes; shift ;;
    --verbose) terminal=snakemake; shift ;;
    -h | --help) usage; exit ;;
    --) shift; break ;;
    *) fail "$1 is no option of this command (see ./run_all.sh --help); what is meant for Snakemake comes after --." ;;
  esac
done

[[ $profile != base && -f notebooks/profiles/$profile.yaml ]] ||
  fail "there is no profile $profile in notebooks/profiles; choose smoke, demo, full, paper or nonnative."
[[ -z $cores || $cores =~ ^[1-9][0-9]*$ ]] || fail "--cores $cores: give a whole number from 1 up."
[[ $device == cpu || $device == cuda || $device == auto ]] || fail "--device $device: choose cpu, cuda or auto."

ensure_environment
choose_device "$@"
if elsewhere "$@"; then
  limits=${cores:+--cores $cores}
else
  limits="--resources gpu=1 --cores ${cores:-$("$python" -c 'import os
print(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count())')}"
fi
if elsewhere "$@" && [[ $python == *[[:space:]]* ]]; then # job scripts name their Python without quotes
  export PATH=${python%/*}:$PATH
  limits="--shared-fs-usage persistence input-output sources source-cache storage-local-copies $limits"
fi
check_places

# The lock on the profile replaces Snakemake's own, which a kill leaves behind.
# The greedy scheduler needs no solver and none of its temporary files.
set -- --config "profile=$profile" "device=$device" "terminal=$terminal" --rerun-incomplete --rerun-triggers mtime params input code \
  --scheduler greedy --quiet host reason --nolock $limits "$@"
if [[ $profile == paper ]]; then
  "$python" -m lib estimate --profile paper --device "$device" >&2 ||
    say "How long it will take could not be measured; the run goes on."
fi
if [[ -n $dry_run ]]; then
  exec "$python" -m snakemake --dry-run "$@"
fi
results=${STUDY_RESULTS:-results}/$profile
mkdir -p "$results" || fail "$results cannot be made; check the rights of this folder and the space on the disk."
[[ -w $results ]] || fail "$results cannot be written; check the rights of this folder, or name another in STUDY_RESULTS."
exec 9>>"$results/.lock"
lock 9 now || fail "another run of profile $profile is at work in $results; wait for it, or stop it first."
say "The report is $results/index.html; this run makes what is missing or out of date."
exec "$python" -m snakemake "$@"
