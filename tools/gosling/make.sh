#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# tools/gosling/make.sh - trains Gosling, evaluates it and records prompts, all into one folder.
#
# Usage: make.sh FOLDER [options of train.py]. Nothing outside FOLDER is written; install.py puts
# the results into their places. FOLDER/progress.log follows the work; FOLDER/done appears at its
# end, with the exit status.
set -u
if [ $# -lt 1 ]; then
    echo "usage: make.sh FOLDER [options of train.py]" >&2
    exit 2
fi
out=$1
shift
tools=$(dirname "$0")
mkdir -p "$out"
rm -f "$out/done"
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-2}" PYTHONUNBUFFERED=1

all() {
    python3 "$tools/train.py" --out "$out" "$@" &&
        python3 "$tools/evaluate.py" --model "$out/gosling.safetensors" --out "$out" \
            --count "${EVALUATION_COUNT:-1000}" --show-errors 5
}

all "$@" >"$out/progress.log" 2>&1
status=$?
echo "$status" >"$out/done"
tail -n 40 "$out/progress.log"
exit "$status"
