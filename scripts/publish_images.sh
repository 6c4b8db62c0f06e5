#!/usr/bin/env bash
# Builds the image for CPUs and the one for GPUs and pushes both, under tags that cannot be taken for each other.
#
#   scripts/publish_images.sh REGISTRY/NAME [cpu|cuda ...]      both when none is named
#
# Tags: VERSION-cpu, VERSION-cuda (the version of CMakeLists.txt; the commit is a label and in `tactus --version`). What is
# printed last is the name by digest, for `image:` of deploy/chart. Signed where cosign is there (COSIGN_KEY, or keyless). Uses
# buildah, podman or docker, the first that is there; ENGINE names another. The tree must be committed: an image is of a commit.
set -euo pipefail
cd "$(dirname "$0")/.."

fail() {
  echo "publish_images.sh: $1" >&2
  exit 2
}

[[ $# -ge 1 && $1 == */* ]] || fail "expected REGISTRY/NAME, as registry.example/tactus, got '${1:-}'"
name=$1
shift
flavours=("$@")
[[ $# -gt 0 ]] || flavours=(cpu cuda)
for flavour in "${flavours[@]}"; do
  [[ $flavour == cpu || $flavour == cuda ]] || fail "expected cpu or cuda, got '$flavour'"
done
engine=${ENGINE:-}
for candidate in buildah podman docker; do
  [[ -n $engine ]] || ! command -v "$candidate" > /dev/null || engine=$candidate
done
[[ -n $engine ]] || fail "found no buildah, podman or docker"
[[ -z $(git status --porcelain) ]] || fail "the tree has changes that are not committed"

version=$(sed -n 's/^project(tactus VERSION \([0-9.]*\).*/\1/p' CMakeLists.txt)
commit=$(git rev-parse HEAD)
digest_file=$(mktemp)
trap 'rm -f "$digest_file"' EXIT
for flavour in "${flavours[@]}"; do
  image=$name:$version-$flavour
  "$engine" build -f deploy/Containerfile -t "$image" --build-arg "FLAVOUR=$flavour" --build-arg "COMMIT=$commit" \
    --label "org.opencontainers.image.revision=$commit" --label "org.opencontainers.image.version=$version-$flavour" .
  if [[ $engine == docker ]]; then
    docker push "$image"
    by_digest=$(docker image inspect --format '{{index .RepoDigests 0}}' "$image")
  else
    "$engine" push --digestfile "$digest_file" "$image"
    by_digest=$name@$(< "$digest_file")
  fi
  if command -v cosign > /dev/null; then
    cosign sign --yes ${COSIGN_KEY:+--key "$COSIGN_KEY"} "$by_digest"
  else
    echo "publish_images.sh: no cosign: $image is not signed" >&2
  fi
  echo "$flavour: $by_digest"
done
