#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# tests/fuzz/run.sh SECONDS [TARGET...] - builds every libFuzzer target and runs each for so long.
#
# Begins from tests/fuzz/corpus/TARGET; what it finds worth keeping goes into
# build-test/fuzz/corpus/TARGET. A crash, a leak, a hang or 17 MiB in one piece is a finding: its
# input stays in build-test/fuzz/findings and the exit status is 1. Needs clang; without it, 77.
# Ends with a line that tests/count.py reads.
set -uo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/../.." || exit 1
seconds=${1:-60}
shift || true
build=${SKEIN_FUZZ_BUILD:-build-test/fuzz}
targets=("$@")
[ $# -gt 0 ] || targets=(fuzz_model_file fuzz_pickle fuzz_regex fuzz_request fuzz_schema \
    fuzz_vocabulary)
if ! command -v clang >/dev/null; then
    echo "clang is not installed"
    exit 77
fi
mkdir -p "$build/findings"

build_target() {
    local target=$1
    # The checksum is replaced, or no changed archive would be read further (fuzz_model_file.c).
    local wrap=()
    [ "$target" != fuzz_model_file ] || wrap=(-Wl,--wrap=crc32_z)
    local more=()
    [ "$target" != fuzz_request ] ||
        more=(server/json_*.c server/tool_*.c server/openai_{params,fields,prompt,sampling}.c
            server/openai_{modes,structured,content,grammar,tools,error}.c server/reply_buffer.c
            server/{responses,messages}_input.c server/messages_error.c engine/chat_template.c
            -lcjson)
    clang -std=c11 -D_GNU_SOURCE -g -O1 -I. -fno-omit-frame-pointer -fno-sanitize-recover=all \
        -fsanitize=fuzzer,address,undefined "tests/fuzz/$target.c" base/*.c grammar/*.c \
        engine/json_scan.c engine/model_file*.c engine/model_spec.c engine/pickle_*.c \
        engine/tensor.c engine/token_trie.c engine/tokenizer.c engine/tuned_state.c \
        engine/vocabulary_file.c \
        "${wrap[@]}" "${more[@]}" -lz -lm -lpthread -o "$build/$target"
}

# Prints how many inputs were run.
run_target() {
    local target=$1 log=$build/$1.log
    mkdir -p "$build/corpus/$target"
    "$build/$target" -max_total_time="$seconds" -max_len=65536 -timeout=10 -rss_limit_mb=1024 \
        -malloc_limit_mb=17 -print_final_stats=1 -artifact_prefix="$build/findings/$target-" \
        "$build/corpus/$target" "tests/fuzz/corpus/$target" >"$log" 2>&1
}

passed=0 failed=0
for target in "${targets[@]}"; do
    if ! build_target "$target"; then
        failed=$((failed + 1))
        continue
    fi
    if run_target "$target"; then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
        tail -n 60 "$build/$target.log"
    fi
    echo "$target: $(sed -n 's/^stat::number_of_executed_units: //p' "$build/$target.log") inputs"
done
echo "$passed passed, $failed failed, 0 skipped"
[ "$failed" -eq 0 ]
