#!/usr/bin/env bash
# The kernels under the sanitizers of a compiler, and the core of the suite on them at every level of this machine:
#
#     tools/sanitize.sh                          addresses and undefined behaviour
#     tools/sanitize.sh thread                   data races, with the tests of threads
#     tools/sanitize.sh address,undefined -k x86-64-v3 tests/functions/test_scores.py     what pytest runs instead
#
# CXX names the compiler. Each sees what the other does not: GCC checks the arithmetic of vectors, Clang the addresses
# of masked loads and stores. BUILD names a folder that keeps what was compiled. The environment needs the extra
# `test-core`.
#
# Python itself is not instrumented: the library of the sanitizer is loaded before it, and leaks, which Python has, are
# not looked for. The first report ends the process that it is about, and the script fails; reports are printed last,
# since pytest keeps what a test prints. Unoptimized, a level compiles in a minute, otherwise in four.
set -euo pipefail
cd "$(dirname "$0")/.."
sanitizers=${1:-address,undefined}
shift || true
tests=("$@")
if [ "$#" = 0 ]; then
    tests=(--numprocesses logical --dist worksteal --every-case -m "not exhaustive" tests/kernels/test_threads.py)
    [ "$sanitizers" = thread ] || tests+=(
        tests/functions/test_{accuracy,nonfinite,layouts,masks,out,temperature,scores,sparse,decoding,sampling}.py
        tests/losses/test_values.py tests/kernels/test_{direct,direct_losses,direct_refused,front_door}.py)
fi
compiler=${CXX:-c++}
build=${BUILD:-$(mktemp -d)}

# Clang expects the library in the executable, which is Python, unless told otherwise.
first=${sanitizers%%,*}
first=${first/address/asan}
first=${first/thread/tsan}
first=${first/undefined/ubsan}
if "$compiler" --version | grep -qi clang; then
    export LDFLAGS=-shared-libsan
    library=libclang_rt.${first/ubsan/ubsan_standalone}-$(uname -m).so
else
    library=lib$first.so
fi
export CXXFLAGS="-g1 -fno-omit-frame-pointer -fno-sanitize-recover=all"
[ -f "$build/build.ninja" ] || meson setup "$build" --buildtype=plain -Doptimization=0 \
    -Db_sanitize="$sanitizers" -Db_lundef=false -Dkernels=enabled
ninja -C "$build"

rm -rf "$build/package" "$build/reports"
mkdir "$build/package" "$build/reports"
cp -r src/softgrad "$build/package"
rm -f "$build"/package/softgrad/_kernels*.so
cp "$build"/src/kernels/module/_kernels*.so "$build/package/softgrad"

# libstdc++ has to be there when the library looks for the functions that it replaces.
preload=$("$compiler" -print-file-name="$library"):$("$compiler" -print-file-name=libstdc++.so.6)
options=log_path=$build/reports/report
status=0
env PYTHONPATH="$build/package" PYTHONMALLOC=malloc LD_PRELOAD="$preload" \
    ASAN_OPTIONS="$options:detect_leaks=0:allocator_may_return_null=1" UBSAN_OPTIONS="$options:print_stacktrace=1" \
    TSAN_OPTIONS="$options:halt_on_error=1:die_after_fork=0" python -m pytest -p no:cacheprovider "${tests[@]}" || status=$?
for report in "$build"/reports/*; do
    [ -f "$report" ] || continue
    cat "$report"
    status=1
done
exit "$status"
