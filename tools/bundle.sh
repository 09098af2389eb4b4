#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# tools/bundle.sh [--with-cuda] FOLDER - a folder with Skein that starts on another machine.
#
# Builds a release with the CUDA backend where nvcc is here (SKEIN_ARCH=90 for one kind of card,
# default: all), and puts into FOLDER: bin/skein, lib/ with the shared libraries it needs but for
# the C library, share/skein/ with the World vocabulary where it can be had. --with-cuda adds
# CUDA's libraries (about 600 MB); else the other machine has them. It needs x86-64 Linux with a C
# library as new as the one here, and for CUDA the driver.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
with_cuda=
if [ "${1:-}" = --with-cuda ]; then
    with_cuda=1
    shift
fi
if [ $# -ne 1 ] || [ -z "$1" ]; then
    echo "usage: tools/bundle.sh [--with-cuda] FOLDER" >&2
    exit 2
fi
folder=$1
build=$root/build-bundle

say() {
    echo "bundle.sh: $*" >&2
}

# Libraries that belong to the system or its driver, and must be the other machine's own.
is_of_system() {
    case $1 in
    linux-vdso.so.* | ld-linux*.so.* | libc.so.* | libm.so.* | libdl.so.* | librt.so.* | \
        libpthread.so.* | libcuda.so.* | libnvidia-*) return 0 ;;
    esac
    return 1
}

is_of_cuda() {
    case $1 in
    libcudart.so.* | libcublas*.so.*) return 0 ;;
    esac
    return 1
}

copy_libraries() {
    local name arrow path
    ldd "$build/skein" | while read -r name arrow path _; do
        is_of_system "$(basename "$name")" && continue
        is_of_cuda "$name" && [ -z "$with_cuda" ] && continue
        if [ "$arrow" != "=>" ] || [ ! -e "$path" ]; then
            say "$name is not found here"
            return 1
        fi
        cp -L "$path" "$folder/lib/$name"
    done
}

say "building a release"
if [ ! -f "$build/build.ninja" ]; then
    # Old-style run path: it also serves the libraries of the libraries.
    meson setup "$build" "$root" --buildtype=release -Dtests=disabled \
        -Dcuda-arch="${SKEIN_ARCH:-}" \
        "-Dcuda=$(command -v nvcc >/dev/null || [ -x /usr/local/cuda/bin/nvcc ] &&
            echo enabled || echo disabled)" \
        "-Dc_link_args=-Wl,--disable-new-dtags,-rpath,\$ORIGIN/../lib" >/dev/null
fi
ninja --quiet -C "$build"

mkdir -p "$folder/bin" "$folder/lib" "$folder/share/skein"
cp "$build/skein" "$folder/bin/skein"
copy_libraries
cp "$root/LICENSE" "$root/README.md" "$folder/"
"$root/tools/world_vocabulary.sh" "$folder/share/skein" 2>/dev/null ||
    say "the World vocabulary cannot be had here: put its file into $folder/share/skein"
say "$folder is ready: $(du -sh "$folder" | cut -f1), bin/skein needs $(
    ldd --version | head -1 | grep -o '[0-9.]*$') or later of the C library"
