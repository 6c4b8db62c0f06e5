#!/usr/bin/env python3
"""Checks k8s/ without a cluster: kustomize build, schemas, and the rules of scripts/k8s/policy.py.

    python3 scripts/k8s/check.py [--build build/release]   the checks; with a build, the real `tactus check-config` too
    python3 scripts/k8s/check.py --render                  writes k8s/rendered/ anew
    python3 scripts/k8s/check.py --self-test               breaks the manifests in many ways; each must be noticed

k8s/rendered/ holds what kustomize makes of each overlay, for reviews and for machines without kustomize (without the files
in ConfigMaps, their hashes, and Prometheus' rules). Where scripts/k8s/tools.sh has put kustomize and kubeconform they are
used: then the rendered files must be current, the variants in tests/k8s/variants are checked too, and kubeconform must
agree. Needs PyYAML; without jsonschema the manifests are not held against k8s/schemas, and it says so.
"""

import argparse
import copy
import pathlib
import re
import subprocess
import sys
from collections.abc import Callable

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from base.local import ROOT  # noqa: E402
from k8s import policy as rules  # noqa: E402
from k8s.manifests import BIN, OVERLAYS, RENDERED, SCHEMAS, VARIANTS, Manifests, build, kustomizations, load, yaml  # noqa: E402


def rendered(text: str) -> str:
    """The objects without what is kept elsewhere: files in ConfigMaps, their hashes, and the rules of Prometheus."""
    objects = [o for o in load(text) if o["kind"] != "PrometheusRule"]
    hashed = []
    for o in objects:
        if o["kind"] == "ConfigMap":
            o["data"] = {name: "(a file)" if "\n" in data else data for name, data in o["data"].items()}
            if re.search(r"-[0-9a-z]{10}$", o["metadata"]["name"]):
                hashed.append(o["metadata"]["name"])
    head = "# Written by scripts/k8s/check.py --render; edit k8s/overlays, components and base instead.\n"
    text = head + yaml.safe_dump_all(objects, sort_keys=True, width=1000)
    for name in hashed:
        text = text.replace(name, name[:-10] + "hash")
    return text


def allowed(name: str) -> frozenset:
    return frozenset({"writable-root", "rdma"} & {name})


def kubeconform(name: str, text: str) -> list[str]:
    location = str(SCHEMAS) + "/{{.ResourceKind}}{{.KindSuffix}}.json"
    command = [str(BIN / "kubeconform"), "-strict", "-schema-location", location, "-"]
    done = subprocess.run(command, input=text, capture_output=True, text=True)
    return [f"{name}: kubeconform: {line}" for line in (done.stdout + done.stderr).splitlines()] if done.returncode else []


def check(binaries: pathlib.Path | None) -> int:
    found: list[str] = []
    have_tools = (BIN / "kustomize").exists() and (BIN / "kubeconform").exists()
    checked = 0
    for folder in kustomizations(OVERLAYS) + (kustomizations(VARIANTS) if have_tools else []):
        name = folder.name
        file = RENDERED / f"{name}.yaml"
        if have_tools:
            text = build(folder)
            found += kubeconform(name, text)
            if folder.parent == OVERLAYS and (not file.exists() or file.read_text() != rendered(text)):
                found.append(f"{name}: {file.relative_to(ROOT)} is not current: run scripts/k8s/check.py --render")
        else:
            text = file.read_text()
        found += rules.problems(Manifests(name, load(text), allowed(name), binaries))
        checked += 1
    if not have_tools:
        print(f"SKIPPED: kustomize build, kubeconform and {len(kustomizations(VARIANTS))} variants: no tools in {BIN} (scripts/k8s/tools.sh)")
    if rules.NO_SCHEMAS:
        print(rules.NO_SCHEMAS)
    if binaries is None:
        print("SKIPPED: tactus check-config on the pods' settings: no --build")
    print("\n".join(found) if found else f"{checked} sets of manifests, {len(rules.CHECKS)} rules, 0 problems")
    return 1 if found else 0


# ---- the self-test


def actor(m: Manifests) -> dict:
    return m.of("Deployment")[0]["spec"]["template"]["spec"]


def job(m: Manifests) -> dict:
    return m.of("JobSet")[0]["spec"]["replicatedJobs"][0]["template"]["spec"]


def policy(m: Manifests, name: str) -> dict:
    return next(p for p in m.of("NetworkPolicy") if p["metadata"]["name"] == name)["spec"]


def drop(m: Manifests, kind: str, name: str) -> None:
    m.objects[:] = [o for o in m.objects if (o["kind"], o["metadata"]["name"]) != (kind, name)]


def set_env(container: dict, name: str, value: str) -> None:
    next(e for e in container["env"] if e["name"] == name)["value"] = value


Mutations = list[tuple[str, Callable[[Manifests], object], str]]
OF_SCHEMAS: Mutations = [
    ("unknown field", lambda m: actor(m).update(nodeNam="x"), "'nodeNam' was unexpected"),
    ("wrong type", lambda m: m.of("JobSet")[0]["spec"]["failurePolicy"].update(maxRestarts="ten"), "maxRestarts: 'ten' is not of type 'integer'"),
    ("neither type", lambda m: m.of("Service")[0]["spec"]["ports"][0].update(targetPort=1.5), "targetPort: 1.5 is not valid under any"),
    ("unknown action", lambda m: m.of("JobSet")[0]["spec"]["failurePolicy"]["rules"][0].update(action="Explode"), "'Explode' is not one of"),
    ("bad pattern", lambda m: m.of("PodMonitor")[0]["spec"]["podMetricsEndpoints"][0].update(interval="often"), "'often' does not match"),
    ("missing field", lambda m: m.of("ScaledObject")[0]["spec"]["triggers"][0].pop("type"), "'type' is a required property"),
]  # fmt: skip
MUTATIONS: Mutations = [
    ("root", lambda m: actor(m)["securityContext"].update(runAsUser=0), "may run as root"),
    ("no seccomp", lambda m: actor(m)["securityContext"].pop("seccompProfile"), "seccomp"),
    ("token", lambda m: actor(m).update(automountServiceAccountToken=True), "token"),
    ("host network", lambda m: actor(m).update(hostNetwork=True), "hostNetwork"),
    ("host path", lambda m: actor(m)["volumes"].append({"name": "h", "hostPath": {"path": "/"}}), "hostPath"),
    ("capability", lambda m: actor(m)["containers"][0]["securityContext"]["capabilities"].update(add=["NET_RAW"]), "adds"),
    ("writable root", lambda m: actor(m)["containers"][0]["securityContext"].update(readOnlyRootFilesystem=False), "readOnly"),
    ("pod security", lambda m: m.of("Namespace")[0]["metadata"]["labels"].pop("pod-security.kubernetes.io/enforce"), "enforces"),
    ("no limit", lambda m: actor(m)["containers"][0]["resources"]["limits"].pop("memory"), "limit of memory"),
    ("request over limit", lambda m: actor(m)["containers"][0]["resources"]["requests"].update(cpu="99"), "more cpu"),
    ("unbounded scratch", lambda m: actor(m)["volumes"][1]["emptyDir"].pop("sizeLimit"), "sizeLimit"),
    ("shm over the limit", lambda m: next(v for v in job(m)["template"]["spec"]["volumes"] if v["name"] == "shm")["emptyDir"].update(sizeLimit="500Gi"), "in memory"),
    ("no probe", lambda m: actor(m)["containers"][0].pop("readinessProbe"), "readinessProbe"),
    ("short grace", lambda m: actor(m).update(terminationGracePeriodSeconds=60), "60 s of grace"),
    ("short learner grace", lambda m: job(m)["template"]["spec"].update(terminationGracePeriodSeconds=30), "30 s of grace"),
    ("short start", lambda m: actor(m)["containers"][0]["startupProbe"].update(failureThreshold=3), "is killed after"),
    ("unknown variable", lambda m: actor(m)["containers"][0]["env"].append({"name": "TACTUS_LERNER", "value": "x"}), "TACTUS_LERNER is no flag"),
    ("unknown argument", lambda m: [c["args"].append("--sett=a=b") for c in actor(m)["containers"] + actor(m)["initContainers"]], "--sett=a=b is no flag"),
    ("undefined variable", lambda m: actor(m)["initContainers"][0].pop("envFrom"), "$(TACTUS_CONFIG), which is not defined"),
    ("unchecked setting", lambda m: actor(m)["initContainers"][0]["args"].pop(), "check-config checks"),
    ("missing config", lambda m: next(o for o in m.of("ConfigMap") if "TACTUS_CONFIG" in o["data"])["data"].update(TACTUS_CONFIG="/etc/tactus/x"), "no ConfigMap holds"),
    ("latest", lambda m: actor(m)["containers"][0].update(image="tactus:latest"), "expected the tag"),
    ("missing claim", lambda m: drop(m, "PersistentVolumeClaim", "tactus-run"), "PersistentVolumeClaim tactus-run"),
    ("missing account", lambda m: drop(m, "ServiceAccount", "tactus-actor"), "ServiceAccount tactus-actor"),
    ("missing volume", lambda m: actor(m)["volumes"].pop(0), "which is no volume"),
    ("wrong selector", lambda m: m.of("Deployment")[0]["spec"]["selector"]["matchLabels"].update(a="b"), "select its own"),
    ("service of nobody", lambda m: m.of("Service")[0]["spec"]["selector"].update(a="b"), "selects 0 pods"),
    ("unknown target port", lambda m: m.of("Service")[0]["spec"]["ports"][0].update(targetPort="grcp"), "has no port grcp"),
    ("wrong learner address", lambda m: set_env(actor(m)["containers"][0], "TACTUS_LEARNER", "learner:7070"), "no Service serves"),
    ("budget of nobody", lambda m: m.of("PodDisruptionBudget")[0]["spec"]["selector"]["matchLabels"].update(a="b"), "selects nothing"),
    ("unscraped", lambda m: m.of("PodMonitor")[0]["spec"]["podMetricsEndpoints"][0].update(port="http"), "leaves out metrics of"),
    ("hosts differ", lambda m: job(m).update(completions=3), "TACTUS_HOSTS differ"),
    ("gpus differ", lambda m: set_env(job(m)["template"]["spec"]["containers"][0], "TACTUS_RANKS_PER_HOST", "4"), "GPUs for 4 ranks"),
    ("too few metrics ports", lambda m: job(m)["template"]["spec"]["containers"][0]["ports"].pop(), "metrics ports"),
    ("wrong store", lambda m: m.of("JobSet")[0]["spec"]["network"].update(subdomain="x"), "TACTUS_STORE is"),
    ("mistakes restart", lambda m: job(m)["podFailurePolicy"]["rules"][1]["onExitCodes"].update(values=[130]), "exit code 2"),
    ("rules in the wrong order", lambda m: job(m)["podFailurePolicy"]["rules"].reverse(), "DisruptionTarget"),
    ("no fail rule", lambda m: m.of("JobSet")[0]["spec"]["failurePolicy"]["rules"].pop(), "failure rules"),
    ("replicas beside a scaler", lambda m: m.of("Deployment")[0]["spec"].update(replicas=3), "replicas and an autoscaler"),
    ("scales the learner", lambda m: m.of("ScaledObject")[0]["spec"]["scaleTargetRef"].update(name="tactus-learner"), "expected tactus-actor"),
    ("unknown series", lambda m: m.of("ScaledObject")[0]["spec"]["triggers"][0]["metadata"].update(query="tactus:wanted"), "does not record"),
    ("null is zero", lambda m: m.of("ScaledObject")[0]["spec"]["triggers"][0]["metadata"].pop("ignoreNullValues"), "ignoreNullValues"),
    ("no fallback", lambda m: m.of("ScaledObject")[0]["spec"].pop("fallback"), "outage"),
    ("fast down", lambda m: m.of("ScaledObject")[0]["spec"]["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]["scaleDown"].update(stabilizationWindowSeconds=0), "too fast"),
    ("certificate of another name", lambda m: [c["spec"].update(dnsNames=["x"]) for c in m.of("Certificate")], "does not name"),
    ("no certificate volume", lambda m: actor(m).update(volumes=[v for v in actor(m)["volumes"] if v["name"] != "tls"]), "go together"),
    ("actors cut off", lambda m: drop(m, "NetworkPolicy", "actors-to-learner"), "cannot reach port 7070"),
    ("learner cut off", lambda m: policy(m, "learner-from-actors")["ingress"][0]["ports"][0].update(port=7071), "cannot reach port 7070"),
    ("ranks cut off", lambda m: drop(m, "NetworkPolicy", "learner-to-learner"), "do not reach each other"),
    ("no DNS", lambda m: policy(m, "allow-dns")["egress"][0]["to"][0]["namespaceSelector"]["matchLabels"].update({"kubernetes.io/metadata.name": "dns"}), "the DNS"),
    ("no scrape", lambda m: drop(m, "NetworkPolicy", "metrics-from-monitoring"), "Prometheus cannot reach"),
    ("open to all", lambda m: drop(m, "NetworkPolicy", "default-deny") or policy(m, "learner-from-actors")["ingress"][0].pop("from"), "other namespaces reach"),
    ("internet", lambda m: policy(m, "allow-dns")["egress"].append({}), "reaches the internet"),
]  # fmt: skip


def problems_after(original: Manifests, mutate: Callable[[Manifests], object]) -> list[str]:
    broken = copy.deepcopy(original)
    mutate(broken)
    return rules.problems(broken)


def self_test() -> int:
    original = Manifests.rendered("multi-node-gpu")
    if rules.problems(original):
        sys.exit("k8s/check.py: the manifests have problems themselves:\n" + "\n".join(rules.problems(original)))
    if rules.NO_SCHEMAS:
        print(rules.NO_SCHEMAS)
    mutations = ([] if rules.NO_SCHEMAS else OF_SCHEMAS) + MUTATIONS
    missed, reached = [], set()
    for name, mutate, expected in mutations:
        found = problems_after(original, mutate)
        reached |= {problem.split(": ")[1] for problem in found}
        if not any(expected in problem for problem in found):
            missed.append(f"{name}: expected '{expected}', found {found}")
    missed += [f"rule {c.__name__}: no mutation reaches it" for c in rules.CHECKS if c.__name__ not in reached]
    print("\n".join(missed) if missed else f"{len(mutations)} mutations, all noticed")
    return 1 if missed else 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", type=pathlib.Path, help="build folder, as in build/release")
    parser.add_argument("--render", action="store_true")
    parser.add_argument("--self-test", action="store_true")
    args = parser.parse_args()
    if args.self_test:
        return self_test()
    if args.render:
        RENDERED.mkdir(exist_ok=True)
        for folder in kustomizations(OVERLAYS):
            (RENDERED / f"{folder.name}.yaml").write_text(rendered(build(folder)))
        return 0
    binaries = args.build / "bin" if args.build and (args.build / "bin" / "tactus").exists() else None
    return check(binaries.resolve() if binaries else None)


if __name__ == "__main__":
    sys.exit(main())
