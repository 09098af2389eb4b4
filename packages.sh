# SPDX-License-Identifier: Apache-2.0
#
# packages.sh - the Debian and Ubuntu packages this tree needs, and the one way to install them.
#
# Sourced by run.sh, test.sh and docker/Dockerfile.cpu; does nothing by itself. Plain sh.
# shellcheck shell=sh disable=SC2034

# To build and serve.
build_packages="gcc libc6-dev meson ninja-build pkg-config \
libuv1-dev libmicrohttpd-dev libcjson-dev libinih-dev libsodium-dev zlib1g-dev"

# To run every test; libclang-rt is clang's sanitizers and libFuzzer.
test_packages="check clang libclang-rt-14-dev python3-venv"

# To fetch the World vocabulary (run.sh --model).
vocabulary_packages="python3-venv"

# Tells whether a package is installed; asks no network.
package_is_installed() {
    dpkg-query -W -f '${db:Status-Status}\n' "$1" 2>/dev/null | grep -qx installed
}

# Installs those of the named packages that are missing. Without the right to do so, prints the one
# line that does it and fails. Says nothing when there is nothing to do.
packages_install() {
    missing=
    if ! command -v dpkg-query >/dev/null; then
        echo "no dpkg here: install these with your own package manager: $*" >&2
        return 0
    fi
    for package in "$@"; do
        package_is_installed "$package" || missing="$missing $package"
    done
    [ -n "$missing" ] || return 0

    as_root=
    if [ "$(id -u)" -ne 0 ]; then
        if ! sudo -n true 2>/dev/null; then
            echo "packages are missing; install them with this line, then start again:" >&2
            echo "  sudo apt-get install -y --no-install-recommends$missing" >&2
            return 1
        fi
        as_root=sudo
    fi
    echo "installing:$missing" >&2
    # The lists of a fresh machine may be absent or old; an install from old lists may fail.
    $as_root apt-get -qq update || echo "the package lists could not be renewed" >&2
    # shellcheck disable=SC2086 # $missing is a list of words.
    $as_root env DEBIAN_FRONTEND=noninteractive \
        apt-get -qq install -y --no-install-recommends $missing >/dev/null
}
