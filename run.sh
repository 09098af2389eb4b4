#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# run.sh [arguments of skein serve] - installs what is missing, builds into build/ and serves.
#
# Without --model it serves the built-in Gosling. Asks nothing; a second call installs and
# downloads nothing.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
build=$root/build
# shellcheck source=packages.sh
. "$root/packages.sh"

say() {
    echo "run.sh: $*" >&2
}

# Tells whether the arguments or the environment name a model file.
wants_model() {
    [ -z "${SKEIN_MODEL:-}" ] || return 0
    local argument
    for argument in "$@"; do
        case $argument in
        --model | --model=*) return 0 ;;
        esac
    done
    return 1
}

# Runs a command with its output in a log, which is shown when it fails.
logged() {
    local log=$1
    shift
    "$@" >"$log" 2>&1 || { cat "$log" >&2; return 1; }
}

build_binary() {
    mkdir -p "$build"
    if [ ! -f "$build/build.ninja" ]; then
        say "configuring build/"
        logged "$build/configure.log" meson setup "$build" "$root" -Dtests=disabled
    fi
    if [ -x "$build/skein" ]; then
        say "building what has changed"
    else
        say "building into build/; this takes a minute or two"
    fi
    logged "$build/build.log" ninja --quiet -C "$build"
}

# shellcheck disable=SC2086 # A list of words.
packages_install $build_packages
build_binary
if wants_model "$@"; then
    say "making sure that the World vocabulary is there"
    logged "$build/vocabulary.log" "$root/tools/world_vocabulary.sh" "$build/vocab" ||
        say "the World vocabulary cannot be had here; give its file with --vocab"
fi
exec "$build/skein" serve "$@"
