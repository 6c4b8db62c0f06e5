#!/usr/bin/env bash
# Builds the tools that check the Kubernetes manifests, at pinned versions, into a cache outside the repository.
#
#   scripts/k8s/tools.sh            helm, kustomize and kubeconform: about two minutes on two cores
#   scripts/k8s/tools.sh --server   also kube-apiserver, kubectl, kube-controller-manager, kube-scheduler, kwok, the JobSet operator
#                                   and the CRDs of all operators: about ten minutes on two cores, once; beside compilers two hours
#   scripts/k8s/tools.sh --where    prints the folder of the binaries, builds nothing
#
# Needs Go 1.26 and a Go module proxy. TACTUS_K8S_TOOLS names another cache than ~/.cache/tactus-k8s-tools, JOBS how many
# packages are built at once [2]. What is there already is not built again; an interrupted build goes on where Go's own cache stands.
set -euo pipefail

HELM=v3.19.0
KUSTOMIZE=v5.8.1
KUBECONFORM=v0.8.0
KUBERNETES=1.36.3
KWOK=v0.8.0
JOBSET=v0.12.0
# module@version  folder of its CustomResourceDefinitions
CRDS="sigs.k8s.io/jobset@$JOBSET config/components/crd/bases
sigs.k8s.io/lws@v0.8.0 config/crd/bases
sigs.k8s.io/kueue@v0.19.2 config/components/crd/bases
github.com/kedacore/keda/v2@v2.20.2 config/crd/bases
github.com/prometheus-operator/prometheus-operator@v0.92.1 example/prometheus-operator-crd
github.com/cert-manager/cert-manager@v1.21.2 deploy/crds"

cache=${TACTUS_K8S_TOOLS:-$HOME/.cache/tactus-k8s-tools}
bin=$cache/bin
server=false
case "${1:-}" in
  "") ;;
  --server) server=true ;;
  --where)
    echo "$bin"
    exit 0
    ;;
  *)
    echo "k8s/tools.sh: unknown argument '$1'; expected --server, --where or nothing" >&2
    exit 2
    ;;
esac
command -v go > /dev/null || {
  echo "k8s/tools.sh: needs Go 1.26 (https://go.dev/dl), found no 'go'" >&2
  exit 2
}
mkdir -p "$bin"
export GOBIN=$bin GOFLAGS=-p=${JOBS:-2} CGO_ENABLED=0

# module_dir MODULE@VERSION: downloads it and prints its folder.
module_dir() {
  go mod download -json "$1" | sed -n 's/^\t"Dir": "\(.*\)",\{0,1\}$/\1/p'
}

# install_tool NAME VERSION PACKAGE: go install, unless this very version is there.
install_tool() {
  [[ -x $bin/$1 && $(cat "$bin/.$1.version" 2> /dev/null) == "$2" ]] && return
  echo "building $1 $2"
  go install "$3@$2"
  echo "$2" > "$bin/.$1.version"
}

# The Kubernetes module refuses `go install` because of its replace lines; a module of our own repeats them.
build_kubernetes() {
  local work=$cache/kubernetes-$KUBERNETES source
  mkdir -p "$work"
  source=$(module_dir "k8s.io/kubernetes@v$KUBERNETES")
  {
    printf 'module local/k8stools\n\ngo 1.26.0\n\nrequire k8s.io/kubernetes v%s\n' "$KUBERNETES"
    awk -v s="0.${KUBERNETES#*.}" '/^\t[a-z].* => \.\/staging/ {print "replace " $1 " => " $1 " v" s}' "$source/go.mod"
  } > "$work/go.mod"
  {
    printf '//go:build tools\n\npackage tools\n\nimport (\n'
    for name in kube-apiserver kubectl kube-controller-manager kube-scheduler; do
      printf '\t_ "k8s.io/kubernetes/cmd/%s"\n' "$name"
    done
    printf ')\n'
  } > "$work/tools.go"
  local minor=${KUBERNETES#*.} flags
  minor=${minor%%.*}
  flags="-s -w -X k8s.io/component-base/version.gitVersion=v$KUBERNETES -X k8s.io/component-base/version.gitMajor=1"
  flags+=" -X k8s.io/component-base/version.gitMinor=$minor"
  for name in kube-apiserver kubectl kube-controller-manager kube-scheduler; do
    [[ -x $bin/$name && $(cat "$bin/.$name.version" 2> /dev/null) == "$KUBERNETES" ]] && continue
    echo "building $name $KUBERNETES"
    [[ -f $work/go.sum ]] || (cd "$work" && go mod tidy)
    (cd "$work" && go build -trimpath -ldflags "$flags" -o "$bin/$name" "k8s.io/kubernetes/cmd/$name")
    echo "$KUBERNETES" > "$bin/.$name.version"
  done
}

# KWOK and the JobSet operator, from one module of our own: most of what they are made of is the same.
build_operators() {
  local work=$cache/operators-$KWOK-$JOBSET name package version
  mkdir -p "$work"
  printf 'module local/operators\n\ngo 1.26.0\n\nrequire sigs.k8s.io/kwok %s\nrequire sigs.k8s.io/jobset %s\n' \
    "$KWOK" "$JOBSET" > "$work/go.mod"
  while read -r name package version; do
    [[ -x $bin/$name && $(cat "$bin/.$name.version" 2> /dev/null) == "$version" ]] && continue
    echo "building $name $version"
    (cd "$work" && go build -mod=mod -ldflags "-s -w" -o "$bin/$name" "$package")
    echo "$version" > "$bin/.$name.version"
  done <<< "kwok sigs.k8s.io/kwok/cmd/kwok $KWOK
jobset sigs.k8s.io/jobset $JOBSET"
}

# KWOK's stages (what a fake kubelet does) and the operators' CRDs are plain files of the modules. A node's heartbeat is its lease
# alone, as KWOK holds it: so a check can take that away.
copy_manifests() {
  local module folder stages name
  mkdir -p "$cache/crds"
  while read -r module folder; do
    name=${module%@*}
    name=$cache/crds/${name//\//_}.yaml
    [[ $(head -n 1 "$name" 2> /dev/null) == "# $module" ]] && continue
    {
      echo "# $module"
      for file in "$(module_dir "$module")/$folder"/*.yaml; do
        [[ $(basename "$file") == kustomization.yaml ]] && continue
        echo "---"
        cat "$file"
        echo
      done
    } > "$name"
  done <<< "$CRDS"
  stages=$(module_dir "sigs.k8s.io/kwok@$KWOK")/kustomize/stage
  for name in node/fast/node-initialize pod/fast/pod-ready pod/fast/pod-delete; do
    cat "$stages/$name.yaml"
    printf '\n---\n'
  done > "$cache/kwok-stages.yaml"
}

install_tool helm "$HELM" helm.sh/helm/v3/cmd/helm
install_tool kustomize "$KUSTOMIZE" sigs.k8s.io/kustomize/kustomize/v5
install_tool kubeconform "$KUBECONFORM" github.com/yannh/kubeconform/cmd/kubeconform
if $server; then
  copy_manifests
  build_kubernetes
  build_operators
fi
echo "$bin"
