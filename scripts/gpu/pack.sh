#!/bin/sh
# Packs what a machine with a GPU needs to run the checks of scripts/gpu/checks.sh: the programs, tests and benches of
# build/cuda that use a GPU, stripped, with the Debian libraries they load.
#
#   scripts/gpu/pack.sh [OUT]      default: dist/tactus-cuda.tar.gz
#
# The libraries of torch and NVIDIA (3.9 GB) are not in it: that machine has them in a Python environment with the same
# torch, 2.11.0+cu130. The file is at most 64 MiB, or this script fails.
set -eu
cd "$(dirname "$0")/../.."

out=${1:-dist/tactus-cuda.tar.gz}
limit=$((64 * 1024 * 1024))
say() { printf 'gpu/pack: %s\n' "$*"; }
die() {
  printf 'gpu/pack: error: %s\n' "$*" >&2
  exit 2
}

case "$out" in
  -h | --help)
    sed -n '2,8s/^# \{0,1\}//p' "$0"
    exit 0
    ;;
esac
for program in tactus tactus-learner tactus-actor; do
  [ -x "build/cuda/bin/$program" ] || die "build/cuda/bin/$program is not there: run scripts/gpu/build.sh first"
done

uses_gpu() { readelf -d "$1" 2>/dev/null | grep -qE 'NEEDED.*\[lib(torch_cuda|c10_cuda|cudart|cublas|nccl)\.so'; }

stage=$(mktemp -d)
trap 'rm -rf "$stage"' EXIT
pack=$stage/tactus-cuda
mkdir -p "$pack/bin" "$pack/tests" "$pack/lib"
for folder in bin tests; do
  for file in build/cuda/"$folder"/*; do
    [ -x "$file" ] && [ -f "$file" ] && uses_gpu "$file" || continue
    strip -o "$pack/$folder/$(basename "$file")" "$file"
  done
done

# What ldd finds outside glibc, the compiler's own libraries and the wheels.
for file in "$pack"/bin/* "$pack"/tests/*; do ldd "$file"; done |
  sed -n 's/.* => \(\/[^ ]*\) (.*/\1/p' | sort -u |
  grep -vE '/site-packages/|/lib(c|m|dl|rt|pthread|resolv|stdc\+\+|gcc_s|gomp)\.so\.[0-9]+$' |
  while read -r library; do cp -L "$library" "$pack/lib/"; done
strip --strip-unneeded "$pack"/lib/*

# Tests look for their data where they were built.
pwd >"$pack/source_folder"
git rev-parse --short HEAD >"$pack/commit"
mkdir -p "$(dirname "$out")"
tar -C "$stage" -czf "$out" tactus-cuda
bytes=$(stat -c %s "$out")
say "$out: $bytes bytes; $(ls "$pack/bin" | wc -l) programs and benches, $(ls "$pack/tests" | wc -l) test binaries," \
  "$(ls "$pack/lib" | wc -l) libraries"
[ "$bytes" -le "$limit" ] || die "$out has $bytes bytes, expected at most $limit"
