#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# tools/world_vocabulary.sh FOLDER - puts the RWKV World vocabulary into a folder.
#
# It is a dependency, not a file of this tree: it comes from the PyPI package that carries it, and
# counts only with its SHA-256. Does nothing when it is there; fails when it cannot be had.
set -euo pipefail

folder=$1
name=rwkv_vocab_v20230424.txt
sha256=e6dee3d4e31b4d5c40ac99508ac6c701ceef4bed681bf2167ce9a908552bca89
release=rwkv==0.8.32

# shellcheck source=packages.sh
. "$(dirname "${BASH_SOURCE[0]}")/../packages.sh"

is_vocabulary() {
    [ -f "$1" ] && echo "$sha256  $1" | sha256sum --check --status
}

if is_vocabulary "$folder/$name"; then
    exit 0
fi

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python=python3
[ ! -x /usr/bin/python3 ] || python=/usr/bin/python3

# shellcheck disable=SC2086 # A list of words.
packages_install $vocabulary_packages
"$python" -m venv "$work/venv"
"$work/venv/bin/pip" -q --disable-pip-version-check download --no-deps -d "$work" "$release"
"$python" -m zipfile -e "$work"/rwkv-*.whl "$work/package"
# The package's copy ends its lines with CR LF; the checksum is that of the file with LF alone.
tr -d '\r' <"$work/package/rwkv/$name" >"$work/$name"
if ! is_vocabulary "$work/$name"; then
    echo "the file in $release is not the World vocabulary" >&2
    exit 1
fi
mkdir -p "$folder"
mv "$work/$name" "$folder/$name"
