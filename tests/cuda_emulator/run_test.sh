#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# tests/cuda_emulator/run_test.sh - compiles one test and the files it names on the emulator, and
# runs it; quicker than a whole build while a kernel is being written.
#
# usage, in the tree: tests/cuda_emulator/run_test.sh tests/cuda/test_x.cu cuda/x.cu [cuda/y.c ...]
# CXX, CC: compilers. SANITIZE=1: with AddressSanitizer and UBSan. Objects of the emulator are kept
# in $TMPDIR. CK_NOFORK and the variables of README.md pass through.
set -eu

cxx=${CXX:-g++}
cc=${CC:-gcc}
here=tests/cuda_emulator
flags="-g -O2 -Wall -Werror -I. -I$here/include -DSKEIN_CUDA_EMULATOR -D_GNU_SOURCE"
flags="$flags -ffp-contract=off -fno-strict-aliasing -fno-math-errno -Wno-unknown-pragmas"
flags="$flags -Wno-missing-field-initializers -Wno-psabi"
if [ "${SANITIZE:-0}" = 1 ]; then
    flags="$flags -fsanitize=address,undefined -fno-sanitize-recover=undefined"
fi
kept=${TMPDIR:-/tmp}/skein-cuda-emulator-$(basename "$cxx")-${SANITIZE:-0}
mkdir -p "$kept"
for source in "$here"/emulator_*.cpp; do
    object=$kept/$(basename "$source").o
    if [ ! -e "$object" ] || [ -n "$(find "$here" -newer "$object" -name '*.[ch]*')" ]; then
        "$cxx" $flags -std=c++17 -I"$here" -Wextra -c "$source" -o "$object.$$"
        mv "$object.$$" "$object"
    fi
done

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
for source in "$@"; do
    object=$work/$(echo "$source" | tr / _).o
    case $source in
    *.c) "$cc" $flags -std=c11 -c "$source" -o "$object" ;;
    *) "$cxx" $flags -std=c++17 -x c++ -c "$source" -o "$object" ;;
    esac
done
"$cxx" $flags "$work"/*.o "$kept"/*.o -o "$work/test" \
    $(pkg-config --cflags --libs check 2>/dev/null || echo -lcheck) -lm
"$work/test"
