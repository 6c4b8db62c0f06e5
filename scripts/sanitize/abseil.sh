#!/bin/sh
# Builds Abseil with the thread sanitizer's instrumentation, from the source of the installed Debian or Ubuntu package, into
# .cache/tsan-abseil. Programs of the preset `tsan` find it by LD_LIBRARY_PATH=.cache/tsan-abseil/lib. The packaged library is
# not instrumented: the sanitizer sees none of absl::Mutex's locks in it, and reports races by the thousand that are none.
#
#   scripts/sanitize/abseil.sh [--jobs N]      some minutes of one core; does nothing when it is there already
set -eu
cd "$(dirname "$0")/../.."

jobs=$(nproc)
[ "${1:-}" = --jobs ] && jobs=$2
version=$(dpkg-query -W -f='${source:Version}' libabsl-dev)
out=$PWD/.cache/tsan-abseil
[ "$(cat "$out/version" 2>/dev/null)" = "$version" ] && exit 0

say() { printf 'sanitize: %s\n' "$*"; }
. /etc/os-release
case "$ID" in
  debian) mirror=http://deb.debian.org/debian suites="$VERSION_CODENAME $VERSION_CODENAME-updates" ;;
  ubuntu) mirror=http://archive.ubuntu.com/ubuntu suites="$VERSION_CODENAME $VERSION_CODENAME-updates" ;;
  *) say "this is $ID: no source package of Abseil is known here"; exit 77 ;;
esac
work=$out.new
rm -rf "$work"
mkdir -p "$work/lists/partial" "$work/source" "$work/lib"
components=main
[ "$ID" = ubuntu ] && components="main universe"
for suite in $suites; do echo "deb-src $mirror $suite $components"; done >"$work/sources.list"

# An apt of its own: the machine's lists of packages stay as they are. Signatures are checked as always.
fetch() {
  apt-get -qq -o Dir::Etc::SourceList="$work/sources.list" -o Dir::Etc::SourceParts=- -o Dir::State::Lists="$work/lists" \
    -o APT::Sandbox::User=root "$@"
}
say "fetching Abseil $version's source (20 MB with the lists)"
fetch update || { say "no package lists: is there a network?"; exit 77; }
(cd "$work/source" && fetch source --download-only "abseil=$version") || { say "no source package abseil $version"; exit 77; }
# dpkg-source without its package dpkg-dev: patches are in the debian archive's series.
mkdir "$work/tree"
tar -xf "$work"/source/*.orig.tar.* -C "$work/tree" --strip-components=1
tar -xf "$work"/source/*.debian.tar.* -C "$work/tree"
while read -r name; do
  case "$name" in '' | '#'*) ;; *) patch -s -p1 -d "$work/tree" <"$work/tree/debian/patches/$name" ;; esac
done <"$work/tree/debian/patches/series"

say "building it with -fsanitize=thread"
cmake -S "$work/tree" -B "$work/build" -G Ninja -DCMAKE_BUILD_TYPE=RelWithDebInfo -DCMAKE_CXX_STANDARD=17 \
  -DBUILD_SHARED_LIBS=ON -DCMAKE_CXX_FLAGS="-fsanitize=thread -g1" >"$work/log"
cmake --build "$work/build" --parallel "$jobs" >>"$work/log" 2>&1 || { tail -n 30 "$work/log"; exit 1; }
find "$work/build" -name 'libabsl_*.so*' -exec cp -P {} "$work/lib/" \;
echo "$version" >"$work/version"
rm -rf "$out" "$work/source" "$work/tree" "$work/build" "$work/lists"
mv "$work" "$out"
say "done: $(find "$out/lib" -name '*.so.*' | wc -l) libraries in $out/lib"
