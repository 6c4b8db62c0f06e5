#!/usr/bin/env bash
# Makes an authority and one certificate per role for mutual TLS between actors and learner, with openssl alone.
#
#   deploy/certificates/make_certs.sh FOLDER [NAME ...]
#
# NAME: what actors call the learner, a DNS name or an IP address, beside localhost and the names of its Service in Kubernetes: of
# the run RUN in the namespace NAMESPACE, both `tactus` when left out. FOLDER gets ca.crt, ca.key, learner/, actor/ and environment/ (a reward
# server's, at the same NAMEs: docs/ENVIRONMENTS.md), each with tls.crt, tls.key and ca.crt. An authority
# that is there is used again; the roles' certificates (90 days; DAYS=N changes it) are made anew. The programs read replaced
# files within 10 s. Keep ca.key off the machines that train. As Secrets for the chart's `tls: secrets`:
#
#   RUN=mine NAMESPACE=team deploy/certificates/make_certs.sh FOLDER
#   for role in learner actor; do
#     kubectl -n team create secret generic mine-$role-tls --from-file=FOLDER/$role
#   done
set -euo pipefail

if [[ $# -lt 1 || $1 == -* ]]; then
  sed -n '2,5s/^# \{0,1\}//p' "$0" >&2
  exit 2
fi
folder=$1
shift
umask 077
mkdir -p "$folder"
cd "$folder"

key() { openssl ecparam -name prime256v1 -genkey -noout -out "$1"; }

if [[ ! -e ca.key ]]; then
  key ca.key
  openssl req -x509 -new -key ca.key -sha256 -days 3650 -subj /CN=tactus-ca -out ca.crt \
    -addext basicConstraints=critical,CA:TRUE -addext keyUsage=critical,keyCertSign,cRLSign
fi

run=${RUN:-tactus} namespace=${NAMESPACE:-tactus}
service=$run-learner
names=DNS:$service,DNS:$service.$namespace.svc,DNS:$service.$namespace.svc.cluster.local,DNS:localhost,IP:127.0.0.1,IP:::1
installation=spiffe://tactus${RUN:+/$namespace/$run}
for name in "$@"; do
  if [[ $name =~ ^[0-9.]+$ || $name == *:* ]]; then names+=,IP:$name; else names+=,DNS:$name; fi
done

# certificate ROLE SUBJECT_ALT_NAMES USAGES
certificate() {
  mkdir -p "$1"
  key "$1/tls.key.new"
  openssl req -new -key "$1/tls.key.new" -subj "/CN=tactus-$1" -out "$1/request"
  openssl x509 -req -in "$1/request" -CA ca.crt -CAkey ca.key -set_serial "0x$(openssl rand -hex 16)" -sha256 \
    -days "${DAYS:-90}" -out "$1/tls.crt.new" 2> /dev/null -extfile <(printf '%s\n' "subjectAltName=$2" \
      basicConstraints=critical,CA:FALSE keyUsage=critical,digitalSignature "extendedKeyUsage=$3")
  openssl verify -CAfile ca.crt "$1/tls.crt.new" > /dev/null
  cp ca.crt "$1/ca.crt"
  mv "$1/tls.key.new" "$1/tls.key"
  mv "$1/tls.crt.new" "$1/tls.crt"
  rm "$1/request"
  echo "$folder/$1: $2, until $(openssl x509 -in "$1/tls.crt" -noout -enddate | cut -d= -f2)"
}

certificate learner "URI:$installation/learner,$names" serverAuth,clientAuth
certificate actor "URI:$installation/actor" serverAuth,clientAuth # it serves weights to other actors with service.relay_fan_out
certificate environment "URI:$installation/environment,$names" serverAuth
