#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# test.sh [--long] - installs what is missing, builds into build-test/* and runs every test that
# this machine can run. Ends with the line `N passed, N failed, N skipped`; 1 if any failed.
#
# A unit test that runs in four builds counts four times. --long adds what takes minutes or needs
# more than a plain machine: container, long waits, larger load. Asks nothing.
set -uo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")" || exit 1
# shellcheck source=packages.sh
. ./packages.sh

long=
case ${1:-} in
--long) long=1 ;;
'') ;;
*)
    echo "usage: ./test.sh [--long]" >&2
    exit 2
    ;;
esac

logs=build-test/logs
passed=0 failed=0 skipped=0
export UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1
export ASAN_OPTIONS=detect_stack_use_after_return=1
export TSAN_OPTIONS=halt_on_error=1:second_deadlock_stack=1

say() {
    printf '[%4d s] %s\n' "$SECONDS" "$*"
}

# Adds three counts and says them.
add_counts() {
    passed=$((passed + $2)) failed=$((failed + $3)) skipped=$((skipped + $4))
    say "  $1: $2 passed, $3 failed, $4 skipped"
}

# Shows the end of the log of a step that failed.
show_log() {
    sed 's/^/    | /' "$1" | tail -n "${2:-60}"
}

# Runs a command as one step: its own closing line counts, else its exit status counts as one test.
run_step() {
    local name=$1 log=$logs/$1.log status counts
    shift
    say "$name"
    "$@" >"$log" 2>&1
    status=$?
    if ! counts=$(python3 tests/count.py output "$log"); then
        counts="1 0 0"
        case $status in
        0) ;;
        77) counts="0 0 1" ;;
        *) counts="0 1 0" ;;
        esac
    elif [ $status -ne 0 ] && [[ $counts == *" 0 "* ]]; then
        counts="${counts%% *} 1 ${counts##* }"
    fi
    [ $status -eq 0 ] || [ $status -eq 77 ] || show_log "$log"
    # shellcheck disable=SC2086 # Three words.
    add_counts "$name" $counts
}

# Configures and builds build-test/NAME; a failure counts as one failed test.
build_tree() {
    local name=$1 log=$logs/build-$1.log
    shift
    say "building build-test/$name"
    if [ ! -f "build-test/$name/build.ninja" ]; then
        meson setup "build-test/$name" "$@" >"$log" 2>&1 || { build_failed "$name"; return 1; }
    fi
    ninja --quiet -C "build-test/$name" >"$log" 2>&1 || { build_failed "$name"; return 1; }
}

build_failed() {
    show_log "$logs/build-$1.log"
    add_counts "build $1" 0 1 0
}

# Runs the unit tests of a tree; the arguments after the tree go to meson test.
run_units() {
    local name=$1 counts
    shift
    say "unit tests of build-test/$name"
    "${fixed_addresses[@]}" meson test -C "build-test/$name" --no-rebuild --print-errorlogs \
        "$@" >"$logs/unit-$name.log" 2>&1 || show_log "$logs/unit-$name.log" 100
    counts=$(python3 tests/count.py meson "build-test/$name/meson-logs/testlog.json") ||
        counts="0 1 0"
    # shellcheck disable=SC2086 # Three words.
    add_counts "unit $name" $counts
}

# Runs tests/e2e against a tree; the arguments after the tree go to pytest.
run_e2e() {
    local name=$1 results=$logs/e2e-$1.xml counts
    shift
    say "end-to-end tests of build-test/$name"
    rm -f "$results"
    SKEIN_BINARY=$PWD/build-test/$name/skein "${fixed_addresses[@]}" \
        .venv-test/bin/python -m pytest -p no:cacheprovider -q -rfEs --durations=5 \
        --junitxml="$results" "$@" tests/e2e >"$logs/e2e-$name.log" 2>&1 ||
        show_log "$logs/e2e-$name.log" 150
    counts=$(python3 tests/count.py junit "$results") || counts="0 1 0"
    # shellcheck disable=SC2086 # Three words.
    add_counts "e2e $name" $counts
}

# Makes a venv hold exactly what a file of tests/e2e pins.
ensure_python_packages() {
    local venv=$1 wanted=$2 python=python3
    cmp -s "$wanted" "$venv/installed.txt" && return 0
    [ -x /usr/bin/python3 ] && python=/usr/bin/python3
    say "installing the Python packages of $wanted into $venv"
    rm -rf "$venv"
    "$python" -m venv "$venv" &&
        "$venv/bin/pip" -q install --no-deps -r "$wanted" &&
        cp "$wanted" "$venv/installed.txt"
}

find_nvcc() {
    command -v nvcc >/dev/null || PATH=$PATH:/usr/local/cuda/bin
    command -v nvcc >/dev/null
}

# Compiles the CUDA backend. With a GPU the tests of the device follow; without one, that asking for
# it is refused as documented.
check_cuda() {
    if command -v nvidia-smi >/dev/null && nvidia-smi -L >/dev/null 2>&1; then
        build_tree cuda -Dcuda=enabled && run_units cuda --suite device
        return
    fi
    build_tree cuda -Dcuda=enabled -Dcuda-arch=90 -Dtests=disabled || return
    # shellcheck disable=SC2016 # For the inner shell.
    run_step cuda-refused bash -c \
        'build-test/cuda/skein run --device cuda hello 2>&1 | grep "no CUDA device"
         [ "${PIPESTATUS[0]}" -eq 4 ]'
}

mkdir -p "$logs"
say "installing what is missing"
# shellcheck disable=SC2086 # Lists of words.
packages_install $build_packages $test_packages || exit 1
ensure_python_packages .venv-test tests/e2e/requirements.txt ||
    add_counts "Python packages" 0 1 0
if ! tools/world_vocabulary.sh build-test/vocab >"$logs/vocabulary.log" 2>&1; then
    say "no World vocabulary can be had here: its tests are skipped"
fi
export SKEIN_TEST_VOCAB=$PWD/build-test/vocab/rwkv_vocab_v20230424.txt

# The thread sanitizer of these compilers does not know the widest randomisation of addresses.
fixed_addresses=()
if [ "$(cat /proc/sys/vm/mmap_rnd_bits 2>/dev/null || echo 0)" -gt 28 ]; then
    fixed_addresses=(setarch -R)
fi

sanitized=(-Dbuildtype=debugoptimized -Db_lundef=false)
# A build with sanitizers gets more time, and not what only takes longer there. The whole CUDA
# backend on the emulator (suite emulated) runs in the gcc build, its kernels one by one also here.
sanitized_units=(--timeout-multiplier 4 --no-suite gosling --no-suite float64
    --no-suite emulated --no-suite long)
long_only=(-m 'not long')
short_units=(--no-suite long)
# The clients of test_clients.py have a venv of their own.
[ -z "$long" ] || long_only=(--ignore=tests/e2e/test_clients.py) short_units=()

if CC=gcc build_tree gcc --werror; then
    # Only here: jsonschema judges half a million texts.
    SKEIN_TEST_PYTHON=$PWD/.venv-test/bin/python run_units gcc "${short_units[@]}"
    run_e2e gcc "${long_only[@]}"
    run_step load python3 tests/e2e/load.py --binary build-test/gcc/skein
fi
if [ -f tests/conformance/mutations.py ]; then
    run_step mutations python3 tests/conformance/mutations.py
fi
if CC=clang build_tree clang --werror; then
    run_units clang --no-suite emulated --no-suite long
fi
if CC=gcc build_tree asan "${sanitized[@]}" -Db_sanitize=address,undefined; then
    CK_TIMEOUT_MULTIPLIER=10 run_units asan "${sanitized_units[@]}"
    SKEIN_E2E_SLOWNESS=10 run_e2e asan -m short
fi
if CC=gcc build_tree tsan "${sanitized[@]}" -Db_sanitize=thread; then
    CK_TIMEOUT_MULTIPLIER=20 run_units tsan "${sanitized_units[@]}" \
        --suite engine --suite server
    SKEIN_E2E_SLOWNESS=20 run_e2e tsan -m short
fi
if [ -n "$long" ]; then
    python3 tools/gosling/prompts.py >"$logs/gosling-prompts.jsonl"
    run_step gosling build-test/gcc/tests/gosling/test_gosling "$PWD/$logs/gosling-prompts.jsonl"
    run_step fuzz tests/fuzz/run.sh 60
    if ensure_python_packages .venv-test-long tests/e2e/requirements-long.txt; then
        SKEIN_BINARY=$PWD/build-test/gcc/skein run_step clients \
            .venv-test-long/bin/python -m pytest -p no:cacheprovider -q -rfEs -W ignore \
            tests/e2e/test_clients.py
    else
        add_counts "Python packages of the clients" 0 1 0
    fi
fi
if find_nvcc; then
    check_cuda
else
    say "no nvcc: the CUDA backend is not compiled, its kernels ran on the emulator"
fi

say "done"
echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" -eq 0 ]
