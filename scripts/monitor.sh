#!/bin/sh
# Watches a run of `tactus train` on this machine: a Prometheus that scrapes its processes and evaluates the rules and
# alerts of deploy/prometheus, and the panels in this terminal and on a page.
#
#   scripts/monitor.sh RUN_FOLDER [--port 9090] [--page-port 9300]
#
# Needs Debian's prometheus package (scripts/setup.sh --lint has it). Ctrl-C ends all of it. Samples are kept in
# RUN_FOLDER/monitor.
set -eu

die() {
  printf 'monitor: error: %s\n' "$*" >&2
  exit 2
}

run=""
port=9090
page_port=9300
while [ $# -gt 0 ]; do
  case "$1" in
    -h | --help)
      sed -n '2,8s/^# \{0,1\}//p' "$0"
      exit 0
      ;;
    --port | --page-port)
      case "${2:-}" in '' | *[!0-9]*) die "$1 needs a number" ;; esac
      [ "$1" = --port ] && port=$2 || page_port=$2
      shift 2
      ;;
    -*) die "unknown argument '$1'; see --help" ;;
    *)
      [ -z "$run" ] || die "one run's folder at a time"
      run=$1
      shift
      ;;
  esac
done
here=$(cd "$(dirname "$0")/.." && pwd)
tactus=$here/build/release/bin/tactus
[ -n "$run" ] || die "expected the folder of a run; see --help"
[ -f "$run/logs/metrics-targets.json" ] || die "$run/logs/metrics-targets.json is not there: has 'tactus train' started the run?"
command -v prometheus >/dev/null || die "prometheus is not installed: scripts/setup.sh --lint"
[ -x "$tactus" ] || die "$tactus is not built: scripts/setup.sh, then cmake --preset release && cmake --build --preset release"

run=$(cd "$run" && pwd)
mkdir -p "$run/monitor"
cat >"$run/monitor/prometheus.yml" <<YAML
global: {scrape_interval: 1s, evaluation_interval: 5s}
rule_files: ["$here/deploy/prometheus/rules/*.yml"]
scrape_configs:
  - job_name: tactus
    file_sd_configs: [{files: ["$run/logs/metrics-targets.json"], refresh_interval: 5s}]
YAML
prometheus --config.file="$run/monitor/prometheus.yml" --storage.tsdb.path="$run/monitor/samples" \
  --web.listen-address="127.0.0.1:$port" --log.level=warn 2>"$run/monitor/prometheus.log" &
prometheus_pid=$!
trap 'kill "$prometheus_pid" 2>/dev/null || true; wait "$prometheus_pid" 2>/dev/null || true' EXIT
tries=0
until curl -fsS -o /dev/null "http://127.0.0.1:$port/-/ready" 2>/dev/null; do
  kill -0 "$prometheus_pid" 2>/dev/null || die "prometheus ended: $(tail -n 1 "$run/monitor/prometheus.log")"
  tries=$((tries + 1))
  [ "$tries" -le 100 ] || die "prometheus was not ready after 10 s; see $run/monitor/prometheus.log"
  sleep 0.1
done
printf 'Prometheus at http://127.0.0.1:%s/ (alerts: /alerts), the live page at http://127.0.0.1:%s/\n' "$port" "$page_port" >&2
"$tactus" top --prometheus "http://127.0.0.1:$port" --http "127.0.0.1:$page_port"
