#!/usr/bin/env bash
# Copies a folder out of a run's claim, whether the run is there or over: a checkpoint, its model, or all.
#
#   scripts/k8s/copy_out.sh NAMESPACE RUN                                        lists the checkpoints
#   scripts/k8s/copy_out.sh NAMESPACE RUN checkpoints/step-000150/model > m.tar  a tar of that folder
#
# A pod of the run's own image (IMAGE=... where none of its pods is left) mounts the claim to read for as long as it takes; it
# fits Pod Security `restricted`. A claim that one node may mount (ReadWriteOnce) is free when its learner has ended. Needs
# kubectl, and leave to make pods and to exec into them.
set -euo pipefail

fail() {
  echo "copy_out.sh: $1" >&2
  exit 2
}

[[ $# -eq 2 || $# -eq 3 ]] || fail "expected NAMESPACE RUN [FOLDER], got $# arguments"
namespace=$1 run=$2 folder=${3:-}
[[ $folder != /* && $folder != *..* ]] || fail "FOLDER is '$folder': expected one below the run's folder"
pod=$run-copy-$$
image=${IMAGE:-$(kubectl -n "$namespace" get pods -l "app.kubernetes.io/instance=$run,app.kubernetes.io/component=learner" \
  -o 'jsonpath={.items[0].spec.containers[0].image}' 2> /dev/null || true)}
[[ -n $image ]] || fail "no learner pod of $run is left in $namespace: name the image, as IMAGE=registry.example/tactus@sha256:..."

trap 'kubectl -n "$namespace" delete pod "$pod" --ignore-not-found --wait=false > /dev/null' EXIT
kubectl -n "$namespace" create -f - > /dev/null << POD
apiVersion: v1
kind: Pod
metadata: {name: $pod, labels: {app.kubernetes.io/name: tactus-copy}}
spec:
  restartPolicy: Never
  terminationGracePeriodSeconds: 1
  activeDeadlineSeconds: 86400
  automountServiceAccountToken: false
  securityContext: {runAsNonRoot: true, runAsUser: 10001, runAsGroup: 10001, fsGroup: 10001, seccompProfile: {type: RuntimeDefault}}
  containers:
    - name: copy
      image: $image
      command: [sleep, infinity]
      resources: {requests: {cpu: 100m, memory: 64Mi}, limits: {cpu: "1", memory: 256Mi}}
      securityContext: {allowPrivilegeEscalation: false, readOnlyRootFilesystem: true, capabilities: {drop: [ALL]}}
      volumeMounts: [{name: run, mountPath: /run-folder, readOnly: true}]
  volumes: [{name: run, persistentVolumeClaim: {claimName: $run-run}}]
POD
kubectl -n "$namespace" wait --for=condition=Ready --timeout=600s "pod/$pod" > /dev/null ||
  fail "$pod is not ready: see kubectl -n $namespace describe pod $pod"
if [[ -z $folder ]]; then
  kubectl -n "$namespace" exec "$pod" -- ls /run-folder/checkpoints
else
  kubectl -n "$namespace" exec "$pod" -- tar c -C "/run-folder/$folder" .
fi
