#!/usr/bin/env python3
"""Runs the pod NAME-end of each run that has one: real kubectl, the chart's arguments, and its own Role in force.

    python3 scripts/k8s/end_check.py

kubectl (from PATH) runs what the pod's containers run, one after the other, against an API server of these lines: it knows a JobSet,
a Deployment and a ScaledObject, and allows what the rendered Role allows, as RBAC does. The JobSet ends while kubectl watches it;
then the Deployment must want no actors, and KEDA must be told. As a self-test the Role loses each of its verbs that kubectl
uses, and that must be noticed. Exit code 77 where kubectl or helm is missing. Some seconds.
"""

import copy
import http.server
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import threading
import urllib.parse

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from base import local  # noqa: E402
from k8s.manifests import BIN, Manifests, load, render, value_files  # noqa: E402

KINDS = {"jobsets": ("jobset.x-k8s.io/v1alpha2", "JobSet"), "deployments": ("apps/v1", "Deployment"),
         "scaledobjects": ("keda.sh/v1alpha1", "ScaledObject")}  # fmt: skip
COMMAND_S = 60


class Api(http.server.ThreadingHTTPServer):
    def __init__(self, objects: list[dict], rules: list[dict]):
        super().__init__(("127.0.0.1", 0), Handler)
        self.objects = {(k, o["metadata"]["name"]): copy.deepcopy(o) for o in objects for k, (_, kind) in KINDS.items() if o["kind"] == kind}
        for o in self.objects.values():
            o["metadata"] |= {"uid": "u", "resourceVersion": "1"}
        self.rules, self.used, self.denied = rules, set(), []
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def allows(self, group: str, resource: str, verb: str, name: str) -> bool:
        """As RBAC: a rule with names holds for requests that name one of them, a list or watch by its field selector."""
        for i, rule in enumerate(self.rules):
            named = name in rule["resourceNames"] if rule.get("resourceNames") else True
            if group in rule["apiGroups"] and resource in rule["resources"] and verb in rule["verbs"] and named:
                self.used.add((i, verb))
                return True
        self.denied.append(f"{verb} {resource} {name}")
        return False


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Api

    def log_message(self, *_: object) -> None:
        pass

    def answer(self, body: dict, status: int = 200) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def discovery(self, parts: list[str]) -> dict:
        groups = {version: plural for plural, (version, _) in KINDS.items()}
        if parts == ["api"]:
            return {"kind": "APIVersions", "versions": ["v1"]}
        if parts == ["apis"]:
            found = [{"name": v.split("/")[0], "versions": [{"groupVersion": v, "version": v.split("/")[1]}],
                      "preferredVersion": {"groupVersion": v, "version": v.split("/")[1]}} for v in groups]  # fmt: skip
            return {"kind": "APIGroupList", "apiVersion": "v1", "groups": found}
        version = "/".join(parts[1:])
        names = [groups[version], f"{groups[version]}/scale"] if version in groups else []
        return {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": version, "resources": [
            {"name": n, "singularName": n.partition("/")[0][:-1], "namespaced": True, "kind": "Scale" if "/" in n else KINDS[n][1],
             "verbs": ["get", "list", "watch", "patch", "update"]} for n in names]}  # fmt: skip

    def do_GET(self) -> None:
        url = urllib.parse.urlsplit(self.path)
        parts, query = url.path.strip("/").split("/"), dict(urllib.parse.parse_qsl(url.query))
        if "namespaces" not in parts:
            self.answer(self.discovery(parts) if parts[0] in ("api", "apis") else {"kind": "Status", "code": 404}, 200 if parts[0] in ("api", "apis") else 404)
            return
        group, plural, rest = parts[1], parts[5], parts[6:]
        name = rest[0] if rest else query.get("fieldSelector", "").removeprefix("metadata.name=")
        watch = query.get("watch") in ("true", "1")
        verb = "get" if rest else "watch" if watch else "list"
        if not self.allowed(group, plural, verb, name, rest):
            return
        found = self.server.objects[plural, name]
        if watch:
            found["status"] = {"terminalState": "Completed"}
            data = json.dumps({"type": "MODIFIED", "object": found}).encode() + b"\n"
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Connection", "close")
            self.end_headers()
            self.wfile.write(data)
            self.close_connection = True
        else:
            version, kind = KINDS[plural]
            self.answer(found if rest else {"apiVersion": version, "kind": f"{kind}List", "metadata": {"resourceVersion": "1"}, "items": [found]})

    def allowed(self, group: str, plural: str, verb: str, name: str, rest: list[str]) -> bool:
        resource = "/".join([plural, *rest[1:]])
        if self.server.allows(group, resource, verb, name):
            return True
        self.answer({"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "Forbidden", "code": 403,
                     "message": f"cannot {verb} {resource} {name}"}, 403)  # fmt: skip
        return False

    def do_PATCH(self) -> None:
        parts = urllib.parse.urlsplit(self.path).path.strip("/").split("/")
        patch = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        group, plural, rest = parts[1], parts[5], parts[6:]
        if not self.allowed(group, plural, "patch", rest[0], rest):
            return
        found = self.server.objects[plural, rest[0]]
        if rest[1:] == ["scale"]:
            found["spec"]["replicas"] = patch["spec"]["replicas"]
            self.answer({"apiVersion": "autoscaling/v1", "kind": "Scale", "metadata": {"name": rest[0]}, "spec": patch["spec"]})
        else:
            found["metadata"].setdefault("annotations", {}).update(patch["metadata"]["annotations"])
            self.answer(found)


def run_pod(m: Manifests, rules: list[dict], folder: pathlib.Path) -> tuple[list[str], Api]:
    """What is wrong after the pod's containers have run, and the API server that they asked."""
    job = next(o for o in m.of("Job") if o["metadata"]["labels"]["app.kubernetes.io/component"] == "end")
    spec, namespace = job["spec"]["template"]["spec"], job["metadata"]["namespace"]
    api = Api(m.objects, rules)
    config = folder / "config"
    config.write_text(json.dumps({
        "apiVersion": "v1", "kind": "Config", "current-context": "c", "users": [{"name": "u", "user": {}}],
        "clusters": [{"name": "c", "cluster": {"server": f"http://127.0.0.1:{api.server_address[1]}"}}],
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u", "namespace": namespace}}]}))  # fmt: skip
    found = []
    try:
        for c in spec["initContainers"] + spec["containers"]:
            log = folder / "log"
            with log.open("w") as output:
                process = subprocess.Popen(c["command"] + c["args"], env=os.environ | {"KUBECONFIG": str(config), "HOME": str(folder)},
                                           stdin=subprocess.DEVNULL, stdout=output, stderr=output)  # fmt: skip
                local.wait(lambda process=process: process.poll() is not None or api.denied, COMMAND_S)
                process.kill()  # one that may not watch would try again for ever
            if process.wait() or api.denied:
                found += [f"{c['name']}: exit code {process.returncode}: {log.read_text().strip()}"]
                found += [f"{c['name']}: its Role forbids: {x}" for x in api.denied]
                break
    finally:
        api.shutdown()
        api.server_close()
    actors = api.objects["deployments", next(n for k, n in api.objects if k == "deployments")]
    if actors["spec"].get("replicas") != 0:
        found.append(f"{actors['spec'].get('replicas')} actors are wanted after the run's end, expected none")
    for (kind, _), o in api.objects.items():
        if kind == "scaledobjects" and o["metadata"].get("annotations", {}).get("autoscaling.keda.sh/paused-replicas") != "0":
            found.append("KEDA is not paused at none")
    return found, api


def main() -> int:
    if not shutil.which("kubectl") or not (BIN / "helm").exists():
        local.skip("no kubectl on PATH, or no helm (scripts/k8s/tools.sh)")
    found, runs = [], 0
    with tempfile.TemporaryDirectory(prefix="tactus-end-") as name:
        folder = pathlib.Path(name)
        for values in value_files():
            m = Manifests(values, load(render(values)))
            if not m.of("JobSet"):
                continue
            rules = m.of("Role")[0]["rules"]
            problems, api = run_pod(m, rules, folder)
            found += [f"{values}: {x}" for x in problems]
            for i, verb in sorted(api.used) if not runs else ():
                weaker = copy.deepcopy(rules)
                weaker[i]["verbs"].remove(verb)
                if not run_pod(m, weaker, folder)[0]:
                    found.append(f"self-test: without {verb} of {rules[i]['resources'][0]} the pod still ends the run")
            unused = [f"{verb} of {r['resources'][0]}" for i, r in enumerate(rules) for verb in r["verbs"] if (i, verb) not in api.used]
            found += [f"{values}: nothing uses {x}" for x in unused]
            runs += 1
    print("\n".join(found) if found else f"{runs} runs ended: no actor wanted, KEDA paused, no verb too many or too few")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
