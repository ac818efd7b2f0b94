# The Debian 12 packages that coppice needs; sourced by docs/quickstart and tests/run. The only list of them.

# To build the program.
build_packages=(
    ca-certificates cmake g++ make ninja-build
    libboost1.81-dev libboost-json1.81-dev libboost-log1.81-dev libboost-program-options1.81-dev
    libsqlite3-dev libsqlitecpp-dev libssl-dev libsystemd-dev libzstd-dev pkg-config zlib1g-dev
)
# To build and run the tests as well: foreign readers to compare with, and what the scripts are written in.
test_packages=(
    ccache libgmock-dev libgtest-dev libvhdi-utils python3 python3-libvhdi qemu-system-common qemu-utils strace zstd
    e2fsprogs iproute2 kmod lvm2 systemd udev user-mode-linux  # for tests/vm; installing them starts nothing
)
# For the demonstration.
demo_packages=(python3 python3-libvhdi qemu-utils)

# install_missing PACKAGE…: asks the package manager only where something is missing.
install_missing() {
    local missing=() package
    for package in "$@"; do
        dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q '^install ok installed' || missing+=("$package")
    done
    [ ${#missing[@]} -eq 0 ] && return 0
    if [ "$(id -u)" -ne 0 ]; then
        echo "missing packages, which root can install: apt-get install ${missing[*]}" >&2
        return 1
    fi
    export DEBIAN_FRONTEND=noninteractive
    echo "installing ${missing[*]}" >&2
    # The lists may be there already; they are fetched only where the packages cannot be found without.
    apt-get install -y -q --no-install-recommends "${missing[@]}" >&2 ||
        { apt-get update -q >&2 && apt-get install -y -q --no-install-recommends "${missing[@]}" >&2; }
}
