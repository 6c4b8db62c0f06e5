#!/usr/bin/env python3
"""Checks k8s/ and deploy/chart without a cluster: Helm, schemas, and the rules of scripts/k8s/policy.py.

    python3 scripts/k8s/check.py [--build build/release]   the checks; with a build, the real `tactus check-config` too
    python3 scripts/k8s/check.py --render                  writes k8s/overlays/*/{run,claim}.yaml anew
    python3 scripts/k8s/check.py --self-test               breaks the manifests in many ways; each must be noticed

The overlays are what the chart makes of their values, committed for clusters and machines without Helm. Where
scripts/k8s/tools.sh has put helm, kustomize and kubeconform they are used: then the overlays must be current, the values in
tests/k8s/values are checked too, kubeconform must agree, wrong values must be refused, and two runs beside each other must
share nothing. Needs PyYAML; without jsonschema the manifests are not held against k8s/schemas, and it says so.
"""

import argparse
import copy
import dataclasses
import pathlib
import subprocess
import sys
from collections.abc import Callable

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from base.local import ROOT  # noqa: E402
from k8s import policy as rules  # noqa: E402
from k8s import manifests  # noqa: E402
from k8s.manifests import BIN, OVERLAYS, PLATFORM, SCHEMAS, VARIANTS, Manifests, load  # noqa: E402

HEAD = "# Written by scripts/k8s/check.py --render from deploy/chart and values.yaml: edit those.\n"
# What --set is given, and what Helm must say.
REFUSED = [
    ("learner.host=2", "'host' not allowed"),
    ("learner.hosts=2", "at '/learner/hosts': value must be 1"),
    ("learner.workload=StatefulSet", "at '/learner/workload': value must be one of"),
    ("learner.memory=lots", "at '/learner/memory': 'lots' does not match pattern"),
    ("actors.min=0", "minimum: got 0, want 1"),
    ("actors.min=3", "actors.min is 3 and actors.max 2: expected no more than that"),
    ("gpu.enabled=true", "expected JobSet"),
    ("image=tactus", "at '/image': 'tactus' does not match pattern"),
    ("artifacts.models=registry.example/qwen3:1", "at '/artifacts/models': 'registry.example/qwen3:1' does not match pattern"),
    (f"claims.data=mine,artifacts.data=r/data@sha256:{'0' * 64}", "expected one of them"),
    ("settings={lr}", "does not match pattern"),
    ("tls=mutual", "at '/tls': value must be one of"),
]


def files(text: str) -> dict[str, str]:
    """What Helm printed as the files of an overlay: the claim, which outlives the run, apart."""
    documents = [d.split("\n", 1)[1].strip("\n") for d in f"\n{text}".split("\n---\n")[1:]]  # without "# Source: ..."
    claims = [d for d in documents if "\nkind: PersistentVolumeClaim\n" in f"\n{d}\n"]
    others = [d for d in documents if d not in claims]
    return {name: HEAD + "---\n" + "\n---\n".join(chosen) + "\n" for name, chosen in [("claim.yaml", claims), ("run.yaml", others)]}


def kubeconform(name: str, text: str) -> list[str]:
    location = str(SCHEMAS) + "/{{.ResourceKind}}{{.KindSuffix}}.json"
    command = [str(BIN / "kubeconform"), "-strict", "-schema-location", location, "-"]
    done = subprocess.run(command, input=text, capture_output=True, text=True)
    return [f"{name}: kubeconform: {line}" for line in (done.stdout + done.stderr).splitlines()] if done.returncode else []


def check_with_tools(binaries: pathlib.Path | None) -> list[str]:
    """Everything that is rendered anew."""
    found = []
    for name, values in manifests.value_files().items():
        text = manifests.render(name)
        found += kubeconform(name, text)
        for file, expected in files(text).items() if values.parent.parent == OVERLAYS else ():
            path = values.parent / file
            if not path.exists() or path.read_text() != expected:
                found.append(f"{name}: {path.relative_to(ROOT)} is not current: run scripts/k8s/check.py --render")
        found += rules.problems(Manifests(name, manifests.with_namespace(load(text)), binaries))
    for folder in [PLATFORM, *(p.parent for p in sorted(OVERLAYS.glob("*/kustomization.yaml")))]:
        done = subprocess.run([str(BIN / "kustomize"), "build", str(folder)], capture_output=True, text=True)
        found += [f"kustomize build {folder.name}: {done.stderr.strip()}"] * bool(done.returncode or done.stderr)
        found += kubeconform(folder.name, done.stdout)
    return found + kubeconform("queue.yaml", (PLATFORM / "queue.yaml").read_text()) + refused_values() + two_runs()


def refused_values() -> list[str]:
    found = []
    for setting, expected in REFUSED:
        done = manifests.template("--set-file", f"config={ROOT / 'configs/quickstart.textproto'}", "--set", setting)
        if not done.returncode or expected not in done.stderr:
            found.append(f"helm template --set {setting}: expected '{expected}', got '{done.stderr.strip()}'")
    done = manifests.template()
    found += [f"a run without a configuration: got '{done.stderr.strip()}'"] * ("at '/config': minLength: got 0, want 1" not in done.stderr)
    done = manifests.template("--set", "config=x", run="a-name-of-which-no-pod-could-be-named-after-all")
    return found + ["a run's name that is too long is accepted"] * ("expected at most 36" not in done.stderr)


def two_runs() -> list[str]:
    """A second run in the namespace, and one of the same name in another: no object twice, no pod selected by another run."""
    sets = [load(manifests.render("multi-node-gpu", run=run, namespace=namespace))
            for run, namespace in [("tactus", "tactus"), ("other", "tactus"), ("tactus", "elsewhere")]]  # fmt: skip
    found, owners = [], {}
    for i, objects in enumerate(sets):
        for o in objects:
            key = (o["kind"], o["metadata"]["namespace"], o["metadata"]["name"])
            if owners.setdefault(key, i) != i:
                found.append(f"two runs: both make {' '.join(key)}")
    first, second = (Manifests("two runs", objects) for objects in sets[:2])
    for a, b in [(first, second), (second, first)]:
        for name, selector in rules.selectors(a.objects):
            found += [f"two runs: {name} selects {p.owner} of the other" for p in b.all_pods() if manifests.matches(selector, p.labels)]
    names = {rules.metrics_run(Manifests("", objects)) for objects in sets}
    return found + [f"two runs: three runs have the names {sorted(names)} in the metrics"] * (len(names) != 3)


def check(binaries: pathlib.Path | None) -> int:
    overlays = sorted(p.parent.name for p in OVERLAYS.glob("*/run.yaml"))
    found = [problem for name in overlays for problem in rules.problems(dataclasses.replace(Manifests.rendered(name), binaries=binaries))]
    checked = len(overlays)
    if all((BIN / tool).exists() for tool in ("helm", "kustomize", "kubeconform")):
        found += check_with_tools(binaries)
        checked = len(manifests.value_files())
    else:
        print(f"SKIPPED: helm, kubeconform and {len(list(VARIANTS.glob('*.yaml')))} more values: no tools in {BIN} (scripts/k8s/tools.sh)")
    if rules.NO_SCHEMAS:
        print(rules.NO_SCHEMAS)
    if binaries is None:
        print("SKIPPED: tactus check-config on the pods' settings: no --build")
    found = list(dict.fromkeys(found))
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
    ("artifact by tag", lambda m: actor(m)["volumes"].append({"name": "a", "image": {"reference": "r/a:1"}}), "named by its digest"),
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
    ("undefined variable", lambda m: actor(m)["containers"][0]["command"].append("$(TACTUS_WHAT)"), "$(TACTUS_WHAT), which is not defined"),
    ("unchecked setting", lambda m: actor(m)["initContainers"][0]["args"].pop(), "check-config checks"),
    ("missing config", lambda m: m.of("ConfigMap")[0]["data"].clear(), "no ConfigMap holds"),
    ("another config checked", lambda m: set_env(actor(m)["containers"][0], "TACTUS_CONFIG", "/etc/tactus/x"), "check-config reads"),
    ("latest", lambda m: actor(m)["containers"][0].update(image="tactus:latest"), "expected the tag"),
    ("missing claim", lambda m: drop(m, "PersistentVolumeClaim", "tactus-run"), "PersistentVolumeClaim tactus-run"),
    ("missing account", lambda m: drop(m, "ServiceAccount", "tactus-actor"), "ServiceAccount tactus-actor"),
    ("missing volume", lambda m: actor(m)["volumes"].pop(0), "which is no volume"),
    ("wrong selector", lambda m: m.of("Deployment")[0]["spec"]["selector"]["matchLabels"].update(a="b"), "select its own"),
    ("service of nobody", lambda m: m.of("Service")[0]["spec"]["selector"].update(a="b"), "selects 0 pods"),
    ("unknown target port", lambda m: m.of("Service")[0]["spec"]["ports"][0].update(targetPort="grcp"), "has no port grcp"),
    ("wrong learner address", lambda m: set_env(actor(m)["containers"][0], "TACTUS_LEARNER", "learner:7070"), "no Service serves"),
    ("budget of nobody", lambda m: m.of("PodDisruptionBudget")[0]["spec"]["selector"]["matchLabels"].update(a="b"), "selects nothing"),
    ("unscraped", lambda m: m.of("PodMonitor")[0]["spec"]["podMetricsEndpoints"][0]["relabelings"][0].update(regex="metrics"), "leaves out metrics-1 of"),
    ("hosts differ", lambda m: job(m).update(completions=3), "TACTUS_HOSTS differ"),
    ("gpus differ", lambda m: set_env(job(m)["template"]["spec"]["containers"][0], "TACTUS_RANKS_PER_HOST", "4"), "GPUs for 4 ranks"),
    ("too few metrics ports", lambda m: job(m)["template"]["spec"]["containers"][0]["ports"].pop(-2), "metrics ports"),
    ("wrong store", lambda m: m.of("JobSet")[0]["spec"]["network"].update(subdomain="x"), "TACTUS_STORE is"),
    ("mistakes restart", lambda m: job(m)["podFailurePolicy"]["rules"][1]["onExitCodes"].update(values=[130]), "exit code 2"),
    ("rules in the wrong order", lambda m: job(m)["podFailurePolicy"]["rules"].reverse(), "DisruptionTarget"),
    ("no fail rule", lambda m: m.of("JobSet")[0]["spec"]["failurePolicy"]["rules"].pop(), "failure rules"),
    ("replicas beside a scaler", lambda m: m.of("Deployment")[0]["spec"].update(replicas=3), "replicas and an autoscaler"),
    ("scales the learner", lambda m: m.of("ScaledObject")[0]["spec"]["scaleTargetRef"].update(name="tactus-learner"), "which is no Deployment"),
    ("unknown series", lambda m: m.of("ScaledObject")[0]["spec"]["triggers"][0]["metadata"].update(query="tactus:wanted"), "does not record"),
    ("null is zero", lambda m: m.of("ScaledObject")[0]["spec"]["triggers"][0]["metadata"].pop("ignoreNullValues"), "ignoreNullValues"),
    ("no fallback", lambda m: m.of("ScaledObject")[0]["spec"].pop("fallback"), "outage"),
    ("fast down", lambda m: m.of("ScaledObject")[0]["spec"]["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]["scaleDown"].update(stabilizationWindowSeconds=0), "too fast"),
    ("certificate of another name", lambda m: [c["spec"].update(dnsNames=["x"]) for c in m.of("Certificate")], "does not name"),
    ("identity of another run", lambda m: m.of("Certificate")[-1]["spec"].update(uris=["spiffe://tactus/actor"]), "expected spiffe://tactus/tactus/tactus/actor"),
    ("no certificate volume", lambda m: actor(m).update(volumes=[v for v in actor(m)["volumes"] if v["name"] != "tls"]), "go together"),
    ("actors cut off", lambda m: drop(m, "NetworkPolicy", "tactus-actors-to-learner"), "cannot reach port 7070"),
    ("learner cut off", lambda m: policy(m, "tactus-learner-from-actors")["ingress"][0]["ports"][0].update(port=7071), "cannot reach port 7070"),
    ("ranks cut off", lambda m: drop(m, "NetworkPolicy", "tactus-learner-to-learner"), "do not reach each other"),
    ("no DNS", lambda m: policy(m, "tactus-dns")["egress"][0]["to"][0]["namespaceSelector"]["matchLabels"].update({"kubernetes.io/metadata.name": "dns"}), "the DNS"),
    ("no local DNS", lambda m: policy(m, "tactus-dns")["egress"][0]["to"].pop(), "the DNS at {'address'"),
    ("query of another run", lambda m: m.of("ScaledObject")[0]["spec"]["triggers"][0]["metadata"].update(query='tactus:actors_desired{run="x"}'), "expected the run tactus.tactus"),
    ("name of another run", lambda m: m.of("Service")[0]["metadata"].update(name="learner"), "not named and labelled by"),
    ("of the whole cluster", lambda m: m.of("Service")[0]["metadata"].pop("namespace"), "not of the run's namespace"),
    ("selects every run", lambda m: policy(m, "tactus-default-deny").update(podSelector={}), "selects pods of other runs"),
    ("metrics of another run", lambda m: m.of("PodMonitor")[0]["spec"]["podMetricsEndpoints"][0]["relabelings"][1].update(replacement="x"), "calls the run"),
    ("claim goes with the run", lambda m: m.of("PersistentVolumeClaim")[0]["metadata"].pop("annotations"), "is deleted with the run"),
    ("config may change", lambda m: m.of("ConfigMap")[0].pop("immutable"), "may change under a run"),
    ("nobody ends it", lambda m: drop(m, "Job", "tactus-end"), "0 pods end 1 JobSets"),
    ("ends more", lambda m: m.of("Role")[0]["rules"][0].pop("resourceNames"), "may use"),
    ("ends nothing", lambda m: m.of("Job")[0]["spec"]["template"]["spec"]["initContainers"].pop(), "calls"),
    ("no scrape", lambda m: drop(m, "NetworkPolicy", "tactus-metrics"), "Prometheus cannot reach"),
    ("open to all", lambda m: drop(m, "NetworkPolicy", "tactus-default-deny") or policy(m, "tactus-learner-from-actors")["ingress"][0].pop("from"), "other namespaces reach"),
    ("internet", lambda m: policy(m, "tactus-dns")["egress"].append({}), "reaches the internet"),
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
        for name in manifests.CONFIGS.keys() | {"kind-cpu"}:
            for file, text in files(manifests.render(name)).items():
                (OVERLAYS / name / file).write_text(text)
        return 0
    binaries = args.build / "bin" if args.build and (args.build / "bin" / "tactus").exists() else None
    return check(binaries.resolve() if binaries else None)


if __name__ == "__main__":
    sys.exit(main())
