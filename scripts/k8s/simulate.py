#!/usr/bin/env python3
"""Scales fake actors with the real controllers, from the real recording rule: a check of the autoscaling, and its figures.

    scripts/k8s/tools.sh --server && python3 scripts/k8s/simulate.py [--svg FILE] [--json FILE]

What is real: the API server, the controller manager with its autoscaler, disruption and Job controllers, the scheduler, the
chart with the values of tests/k8s/values/hpa.yaml, Prometheus and the rules of deploy/prometheus/rules. What is not: kubelets
and containers (KWOK says pods run), the metrics adapter (forty lines here), and learner and actors, whom
scripts/k8s/scaling_model.py plays: steps of which the learner needs a minute, answers with a long tail.

Two runs share the namespace. The first meets PHASES; the second needs the same six actors all along, and must keep them. At last
the first is over, and its actors must stay away while its learner's last metrics still ask for some. Time
runs SPEED times faster: every duration of the autoscaler's behaviour and of the rules is divided by it, and nothing else
is changed. Times are printed as they would be at full length. Exit code 1 when an expectation fails.
"""

import argparse
import http.server
import itertools
import json
import math
import pathlib
import re
import ssl
import sys
import threading
import time
import urllib.parse
from collections.abc import Callable

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from base.local import ROOT, Expectations, free_port, read_url  # noqa: E402
from k8s.cluster import Cluster, need_tools, node  # noqa: E402
from k8s.manifests import BIN, load, render, with_namespace  # noqa: E402
from k8s.scaling_model import Case, Plant  # noqa: E402
from monitoring.tools import need  # noqa: E402

SPEED, STEP_S, STALENESS = 20, 60, 2
RULES = ROOT / "deploy" / "prometheus" / "rules" / "tactus.rules.yml"
NAMESPACE, RUNS, OTHERS = "tactus", ("tactus", "other"), 6
FINISHED_MIN = 20
# name, minutes, actors that a step's answers keep busy, share of too old answers, whether Prometheus answers
PHASES = [
    ("steady", 16, 4, 0.0, True),
    ("longer answers", 24, 12, 0.0, True),
    ("shorter answers", 36, 3, 0.0, True),
    ("no Prometheus", 12, 10, 0.0, False),
    ("Prometheus back", 20, 10, 0.0, True),
    ("too old answers", 24, 16, 0.2, True),
]


def compress(text: str) -> str:
    """Prometheus durations divided by SPEED, in milliseconds."""
    units = {"s": 1, "m": 60, "h": 3600}

    def shorter(match: re.Match) -> str:
        return f"{int(match[1]) * units[match[2]] * 1000 // SPEED}ms"

    text = re.sub(r"(?<=\[)(\d+)([smh])(?=\])", shorter, text)
    return re.sub(r"(?<=for: )(\d+)([smh])$", shorter, text, flags=re.MULTILINE)


class Run:
    """A learner and its actors, in simulated time. Thread-safe through one lock."""

    def __init__(self, name: str, demand: float) -> None:
        self.label = f"{NAMESPACE}.{name}"
        self.lock = threading.Lock()
        self.plant = Plant(Case(name, STEP_S, STALENESS, demand, math.ceil(demand)), seed=1)
        self.stale_share = self.received = self.stale = 0.0
        self.started: float | None = None

    def advance(self, actors: int) -> None:
        """To now, with so many actors."""
        with self.lock:
            self.started = time.monotonic() if self.started is None else self.started
            self.plant.resize(actors)
            while self.plant.now < (time.monotonic() - self.started) * SPEED:
                before = self.plant.sums["done"]
                self.plant.tick(1)
                self.received += self.plant.sums["done"] - before
                self.stale += (self.plant.sums["done"] - before) * self.stale_share

    def metrics(self) -> str:
        with self.lock:
            if self.started is None:
                return ""
            now, run = self.plant.scrape(), f'run="{self.label}"'
            phases = "tactus_learner_phase_seconds_total{rank=\"0\","
            return "\n".join([f'{phases}phase="wait_trajectories",{run}}} {now["wait"]}',
                              f'{phases}phase="forward",{run}}} {now["learner"]}',
                              f'tactus_learner_step{{{run}}} {now["step"]}',
                              f'tactus_completion_tokens_sum{{env="x",{run}}} {now["tokens"]}',
                              f'tactus_actors_connected{{{run}}} {now["connected"]}',
                              f'tactus_actor_busy_seconds_total{{{run}}} {now["busy"]}',
                              f'tactus_actor_tokens_total{{kind="completion",{run}}} {now["done"]}',
                              f'tactus_trajectories_received_total{{{run}}} {self.received}',
                              f'tactus_trajectories_dropped_total{{reason="stale",{run}}} {self.stale}', ""])  # fmt: skip


def serve(answer: Callable[[str], tuple[str, str] | None], tls: tuple[str, str] | None = None) -> int:
    """answer(path) gives content type and body, or None: there is no such thing. Returns the port."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:  # noqa: N802
            found = answer(self.path)
            content, body = found or ("text/plain", "")
            self.send_response(200 if found else 404)
            self.send_header("Content-Type", content)
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    if tls:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*tls)
        server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server.server_port


class Simulation(Expectations):
    def __init__(self, cluster: Cluster) -> None:
        super().__init__()
        self.cluster = cluster
        self.runs = {name: Run(name, demand) for name, demand in zip(RUNS, (PHASES[0][2], OTHERS))}
        self.answers = True
        self.others: list[int] = []  # the second run's replicas
        self.samples: list[dict] = []
        proxy = free_port()
        cluster.start(str(BIN / "kubectl"), f"--kubeconfig={cluster.kubeconfig}", "proxy", f"--port={proxy}")
        self.api = f"http://127.0.0.1:{proxy}"
        self.prometheus = f"http://127.0.0.1:{self._start_prometheus()}"
        self._start_adapter()

    def _start_prometheus(self) -> int:
        exporter = serve(lambda _: ("text/plain; version=0.0.4", "".join(run.metrics() for run in self.runs.values())))
        folder, port = self.cluster.folder, free_port()
        (folder / "rules.yml").write_text(compress(RULES.read_text()))
        (folder / "prometheus.yml").write_text(json.dumps({
            "global": {"scrape_interval": "500ms", "scrape_timeout": "400ms", "evaluation_interval": "500ms"},
            "rule_files": ["rules.yml"],
            "scrape_configs": [{"job_name": "tactus", "honor_labels": True, "static_configs": [
                {"targets": [f"127.0.0.1:{exporter}"]}]}]}))  # fmt: skip
        self.cluster.start(*need("prometheus"), "--config.file=prometheus.yml", "--storage.tsdb.path=tsdb",
                           f"--web.listen-address=127.0.0.1:{port}", "--query.lookback-delta=15s")  # fmt: skip
        return port

    def desired(self, label: str) -> float | None:
        if not self.answers:
            return None
        query = urllib.parse.urlencode({"query": f'tactus:actors_desired{{run="{label}"}}'})
        status, body = read_url(f"{self.prometheus}/api/v1/query?{query}", 10)
        result = json.loads(body)["data"]["result"] if status == 200 else []
        return float(result[0]["value"][1]) if result else None

    def _start_adapter(self) -> None:
        """The external metrics API as the aggregator asks for it, from the recording rule."""
        version = "external.metrics.k8s.io/v1beta1"

        def answer(path: str) -> tuple[str, str] | None:
            path, _, query = path.partition("?")
            if path.rstrip("/").endswith("v1beta1"):
                return "application/json", json.dumps({
                    "kind": "APIResourceList", "apiVersion": "v1", "groupVersion": version, "resources": [
                        {"name": "tactus_actors_desired", "singularName": "", "namespaced": True,
                         "kind": "ExternalMetricValueList", "verbs": ["get"]}]})  # fmt: skip
            selectors = urllib.parse.parse_qs(query).get("labelSelector")
            if not selectors:  # the aggregator asks for OpenAPI too
                return None
            label = selectors[0].removeprefix("run=")
            value = self.desired(label)
            items = [] if value is None else [{
                "metricName": "tactus_actors_desired", "metricLabels": {"run": label}, "value": f"{round(value * 1000)}m",
                "timestamp": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())}]  # fmt: skip
            body = {"kind": "ExternalMetricValueList", "apiVersion": version, "metadata": {}, "items": items}
            return "application/json", json.dumps(body)

        self.cluster.run("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", "adapter.key", "-out",
                         "adapter.pem", "-days", "2", "-subj", "/CN=localhost")  # fmt: skip
        folder = self.cluster.folder
        port = serve(answer, (str(folder / "adapter.pem"), str(folder / "adapter.key")))
        self.cluster.apply([
            {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "adapter", "namespace": "kube-system"},
             "spec": {"type": "ExternalName", "externalName": "localhost", "ports": [{"port": port}]}},
            {"apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService",
             "metadata": {"name": "v1beta1.external.metrics.k8s.io"},
             "spec": {"group": "external.metrics.k8s.io", "version": "v1beta1", "insecureSkipTLSVerify": True,
                      "groupPriorityMinimum": 100, "versionPriority": 100,
                      "service": {"namespace": "kube-system", "name": "adapter", "port": port}}}])  # fmt: skip

    def read(self, path: str) -> dict:
        status, body = read_url(self.api + path, 10)
        if status != 200:
            raise RuntimeError(f"{path}: HTTP status {status} {body}")
        return json.loads(body)

    def pods(self, component: str, run: str = RUNS[0]) -> list[dict]:
        selector = urllib.parse.quote(f"app.kubernetes.io/component={component},app.kubernetes.io/instance={run}")
        return self.read(f"/api/v1/namespaces/{NAMESPACE}/pods?labelSelector={selector}")["items"]

    def running(self, component: str, run: str = RUNS[0]) -> list[str]:
        return sorted(p["metadata"]["name"] for p in self.pods(component, run)
                      if p["status"]["phase"] == "Running" and "deletionTimestamp" not in p["metadata"])  # fmt: skip

    def replicas(self, run: str = RUNS[0]) -> int:
        return self.read(f"/apis/apps/v1/namespaces/{NAMESPACE}/deployments/{run}-actor")["spec"]["replicas"]

    def advance(self) -> None:
        for name, run in self.runs.items():
            run.advance(len(self.running("actor", name)))

    def launch(self) -> None:
        objects = [o for name in RUNS for o in load(render("hpa", run=name, namespace=NAMESPACE))]
        for o in objects:
            if o["kind"] == "HorizontalPodAutoscaler":
                for direction in o["spec"]["behavior"].values():
                    direction["stabilizationWindowSeconds"] //= SPEED
                    for policy in direction["policies"]:
                        policy["periodSeconds"] //= SPEED
            if o["kind"] == "Deployment":
                o["spec"]["replicas"] = len(self.runs[o["metadata"]["labels"]["app.kubernetes.io/instance"]].plant.running)
        objects = [o for o in objects if o["kind"] not in ("Certificate", "Issuer")]  # their operator is not here
        self.cluster.apply(with_namespace(objects))
        self.cluster.apply([{"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": f"disk-{name}"},
                             "spec": {"capacity": {"storage": "10Gi"}, "accessModes": ["ReadWriteOnce"],
                                      "hostPath": {"path": "/nowhere"}}} for name in RUNS])  # fmt: skip
        for name, run in self.runs.items():
            self.cluster.wait(lambda name=name: len(self.running("learner", name)) == 1, 60, f"the learner of {name}")
            self.cluster.wait(lambda name=name, run=run: len(self.running("actor", name)) == len(run.plant.running), 60, "the actors")

    def play(self) -> None:
        start, first = time.monotonic(), self.runs[RUNS[0]]
        for name, minutes, demand, first.stale_share, self.answers in PHASES:
            first.plant.demand(demand)
            end = time.monotonic() + minutes * 60 / SPEED
            while (now := time.monotonic()) < end:
                self.advance()
                self.samples.append({"minute": round((now - start) * SPEED / 60, 2), "phase": name, "demand": demand,
                                     "desired": self.desired(first.label), "replicas": self.replicas(),
                                     "running": len(first.plant.running)})  # fmt: skip
                self.others.append(self.replicas(RUNS[1]))
                time.sleep(max(0.0, 0.25 - (time.monotonic() - now)))

    def of_phase(self, name: str) -> list[int]:
        return [s["replicas"] for s in self.samples if s["phase"] == name]

    def judge(self) -> None:
        steady, up, down, out, back, old = (self.of_phase(p[0]) for p in PHASES)
        self.expect(set(steady) <= {4, 5}, f"steady: 4 actors stay 4, or 5 ({sorted(set(steady))})")
        # The autoscaler rounds up and lets 10 % be; emptier engines are allowed a tenth.
        self.expect(11 <= up[-1] <= 14, f"longer answers get the actors they need, 12 ({up[0]} -> {up[-1]})")
        self.expect(up == sorted(up), "... without going back and forth")
        self.expect(3 <= down[-1] <= 4, f"shorter ones go down to 3, or 4 ({down[0]} -> {down[-1]})")
        self.expect(down == sorted(down, reverse=True), "... and never up on the way")
        self.expect(len(set(out)) == 1, f"without Prometheus nothing moves ({sorted(set(out))})")
        self.expect(9 <= back[-1] <= 13, f"with it again the run gets its 10 ({back[0]} -> {back[-1]})")
        # It takes some minutes until a twentieth of the last ten minutes' answers is too old.
        self.expect(old[-1] < 15 and old[-len(old) // 3 :] == [old[-1]] * -(-len(old) // 3),
                    f"answers that come too old stop the scale-up to 16 ({sorted(set(old))})")  # fmt: skip
        late = self.others[len(self.others) // 8 :]
        changes, hours = sum(a != b for a, b in itertools.pairwise(late)), sum(p[1] for p in PHASES) * 7 / 8 / 60
        self.expect(set(self.others) <= {OTHERS, OTHERS + 1} and changes <= hours,
                    f"the other run keeps its {OTHERS}, or one more ({sorted(set(self.others))}; {changes} changes in {hours:.1f} h)")  # fmt: skip
        smallest = min(s["running"] for s in self.samples)
        self.expect(smallest >= 1, f"there is always an actor (least: {smallest})")

    def evict(self) -> None:
        """Asks for the eviction of every actor, as a drain of all nodes does: no pod can be placed anew meanwhile."""
        self.answers = False
        self.cluster.kubectl("cordon", "--selector=type=kwok")
        time.sleep(2)
        names = self.running("actor")
        answers = []
        for name in names:
            body = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name, "namespace": NAMESPACE}}
            done = self.cluster.kubectl("create", "--raw", f"/api/v1/namespaces/{NAMESPACE}/pods/{name}/eviction", "-f", "-",
                                        check=False, stdin=json.dumps(body))  # fmt: skip
            answers.append(done.stderr.strip() if done.returncode else "")
        evicted, refused = answers.count(""), sum("disruption budget" in a for a in answers)
        allowed, others = math.ceil(len(names) * 0.25), [a for a in answers if a and "disruption budget" not in a]
        self.expect(0 < evicted <= allowed, f"of {len(names)} evictions at once {evicted} pass and {refused} are refused {others or ''}")
        self.cluster.kubectl("uncordon", "--selector=type=kwok")
        self.cluster.wait(lambda: len(self.running("actor")) == len(names), 60, "the evicted actors' replacements")

    def finish(self) -> None:
        """The first learner is done. What a pod NAME-end runs takes its actors away, and the autoscaler must let them be."""
        self.answers = True
        self.cluster.end_pod(self.pods("learner")[0], 0)
        self.cluster.kubectl("-n", NAMESPACE, "scale", f"deployment/{RUNS[0]}-actor", "--replicas=0")
        self.cluster.wait(lambda: not self.pods("actor"), 60, "the end of the actors")
        end, most = time.monotonic() + FINISHED_MIN * 60 / SPEED, 0
        while time.monotonic() < end:
            most = max(most, self.replicas(), len(self.pods("actor")))
            time.sleep(0.5)
        wanted = self.desired(self.runs[RUNS[0]].label)
        self.expect(most == 0 and wanted, f"a run that is over has no actor for {FINISHED_MIN} min, though the rule still says {wanted}")
        self.expect(len(self.running("actor", RUNS[1])) == self.others[-1], f"... and the other run its {self.others[-1]}")


def svg(samples: list[dict]) -> str:
    """Replicas and what the rule asked for, over the phases."""
    width, height, left, top, bottom = 900, 300, 44, 40, 34
    last, most = samples[-1]["minute"], 18

    def x(minute: float) -> float:
        return left + (width - left - 10) * minute / last

    def y(count: float) -> float:
        return height - bottom - (height - top - bottom) * count / most

    out = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif" font-size="12">',
           f'<rect width="{width}" height="{height}" fill="#fff"/>']  # fmt: skip
    begin = 0.0
    for i, (name, minutes, demand, _, _) in enumerate(PHASES):
        if i % 2 == 0:
            out.append(f'<rect x="{x(begin):.0f}" y="{top}" width="{x(begin + minutes) - x(begin):.0f}" '
                       f'height="{height - top - bottom}" fill="#f3f4f6"/>')  # fmt: skip
        out.append(f'<text x="{x(begin) + 4:.0f}" y="{top - 6}" fill="#374151">{name}</text>')
        out.append(f'<line x1="{x(begin):.0f}" x2="{x(begin + minutes):.0f}" y1="{y(demand):.1f}" y2="{y(demand):.1f}" '
                   'stroke="#9ca3af" stroke-dasharray="4 3"/>')  # fmt: skip
        begin += minutes
    for count in range(0, most + 1, 4):
        out.append(f'<text x="{left - 8}" y="{y(count) + 4:.0f}" text-anchor="end" fill="#374151">{count}</text>')
    for minute in range(0, int(last) + 1, 10):
        out.append(f'<text x="{x(minute):.0f}" y="{height - 14}" text-anchor="middle" fill="#374151">{minute} min</text>')
    lines: list[list[str]] = [[]]
    for s in samples:
        if s["desired"] is None:
            lines.append([])
        else:
            lines[-1].append(f"{x(s['minute']):.1f},{y(min(s['desired'], most)):.1f}")
    for line in lines:
        out.append(f'<polyline points="{" ".join(line)}" fill="none" stroke="#d97706"/>')
    steps, before = [], None
    for s in samples:
        if before is not None and before != s["replicas"]:
            steps.append(f"{x(s['minute']):.1f},{y(before):.1f}")
        if before != s["replicas"] or s is samples[-1]:
            steps.append(f"{x(s['minute']):.1f},{y(s['replicas']):.1f}")
        before = s["replicas"]
    out.append(f'<polyline points="{" ".join(steps)}" fill="none" stroke="#1d4ed8" stroke-width="2"/>')
    out.append(f'<text x="{left}" y="14"><tspan fill="#1d4ed8">actors (replicas)</tspan>  <tspan fill="#d97706">'
               'tactus:actors_desired</tspan>  <tspan fill="#6b7280">- - what a step needs</tspan></text></svg>')  # fmt: skip
    return "\n".join(out) + "\n"


def table(samples: list[dict]) -> str:
    rows = ["| phase | min | needed | replicas, every 2 minutes |", "|---|---|---|---|"]
    begin = 0.0
    for name, minutes, demand, _, _ in PHASES:
        counts = []
        for minute in range(0, minutes + 1, 2):
            counts.append(str(min(samples, key=lambda s: abs(s["minute"] - begin - minute))["replicas"]))
        rows.append(f"| {name} | {minutes} | {demand} | {' '.join(counts)} |")
        begin += minutes
    return "\n".join(rows)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--svg", type=pathlib.Path)
    parser.add_argument("--json", type=pathlib.Path, help="all samples")
    args = parser.parse_args()
    need_tools("kube-apiserver", "kubectl", "kube-controller-manager", "kube-scheduler", "kwok", "helm")
    with Cluster() as cluster:
        simulation = Simulation(cluster)
        cluster.start_controllers([node(f"fake-{i}") for i in range(4)], hpa_period_s=15 / SPEED)
        simulation.launch()
        learner = [p["metadata"]["uid"] for p in simulation.pods("learner")]
        simulation.play()
        simulation.judge()
        simulation.evict()
        untouched = [p["metadata"]["uid"] for p in simulation.pods("learner")] == learner
        simulation.expect(untouched and len(simulation.running("learner")) == 1, "the learner's pod was never touched")
        simulation.finish()
    print("\n" + table(simulation.samples))
    if args.json:
        args.json.write_text(json.dumps(simulation.samples))
    if args.svg:
        args.svg.write_text(svg(simulation.samples))
    return 1 if simulation.failures else 0


if __name__ == "__main__":
    sys.exit(main())
