#!/usr/bin/env bash
# The kernels of the level neon, compiled for Linux on aarch64 and tested under emulation.
#
#   tools/aarch64.sh         some cases of each test: minutes
#   tools/aarch64.sh all     the tests of functions, losses and kernels: an hour or more, before a release
#   tools/aarch64.sh FILE…   these tests, with pytest's options
#
# Needs Debian 12's debootstrap, g++-aarch64-linux-gnu, pkg-config and qemu-user-static, and `pip install meson ninja`. All
# that is made or downloaded goes into build/aarch64 and is kept for the next run.
set -euo pipefail
cd "$(dirname "$0")/.."
work=$PWD/build/aarch64
root=$work/root
site=$work/site
release=bookworm
version=3.11  # that release's Python
mkdir -p "$work"

# A system, unpacked only: its programs could not be run without binfmt_misc, and need not be.
if [ ! -x "$root/usr/bin/python$version" ]; then
    rm -rf "$root"
    debootstrap --arch=arm64 --foreign --variant=minbase --include=python3,python3-dev \
        --keyring=/usr/share/keyrings/debian-archive-keyring.gpg "$release" "$root" ${DEBIAN_MIRROR:+"$DEBIAN_MIRROR"} \
        > "$work/debootstrap.log"
    for package in "$root"/var/cache/apt/archives/*.deb; do dpkg-deb --extract "$package" "$root"; done
fi
cat > "$work/python" <<END
#!/bin/sh
exec qemu-aarch64-static -L "$root" "$root/usr/bin/python$version" "\$@"
END
chmod +x "$work/python"

# What the tests import, of that platform.
if [ ! -e "$site/numpy" ]; then
    rm -rf "$site"
    python3 -m pip install --quiet --target "$site" --only-binary=:all: --python-version "$version" --implementation cp \
        --platform manylinux_2_28_aarch64 --platform manylinux_2_27_aarch64 --platform manylinux_2_17_aarch64 \
        'numpy>=2.1' array-api-compat array-api-strict hypothesis ml_dtypes mpmath pytest scipy
fi

[ -e "$work/meson/build.ninja" ] || meson setup "$work/meson" --cross-file tools/aarch64.ini --prefix / -Dpython.platlibdir=/site \
    -Dpython.purelibdir=/site > "$work/setup.log" || { cat "$work/setup.log"; exit 1; }
meson install -C "$work/meson" --destdir "$work" --quiet

case "${1-}" in
    "") set -- --quick -k "not generic" \
        tests/functions/test_{seeds,accuracy,nonfinite}.py tests/losses/test_values.py \
        tests/kernels/test_direct{,_losses,_refused}.py ;;
    all) set -- --every-case -k "not generic" tests/functions tests/losses tests/kernels ;;
esac
export PYTHONPATH=$site PYTHONDONTWRITEBYTECODE=1
"$work/python" -c "import softgrad; assert softgrad.backend() == 'neon', softgrad.backend()"
"$work/python" -m pytest -p no:cacheprovider "$@"
