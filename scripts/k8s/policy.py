"""What must hold for every rendered set of Kubernetes objects; scripts/k8s/check.py calls it.

Each rule is a generator of problems, one sentence each, over a Manifests. A rule knows Tactus: which program runs in a
container, which flags it has, which ports it opens, who has to reach whom.
"""

import json
import pathlib
import re
import subprocess
import tempfile
from collections.abc import Iterator

from base.local import ROOT
from k8s.manifests import COMPONENT, INDEX, PLATFORM, SCHEMAS, VARIABLE, Manifests, Pod, command, jobs_of, load, matches
from k8s.reach import reaches_what_it_needs

try:
    import jsonschema
except ImportError:
    jsonschema = None

RULES = PLATFORM / "prometheusrule.yaml"
INSTANCE = "app.kubernetes.io/instance"
EXTERNAL_CLAIMS = {"tactus-models"}  # the user's


def quantity(text: str) -> float:
    """A Kubernetes quantity as a number."""
    match = re.fullmatch(r"([0-9.]+)([A-Za-z]*)", str(text))
    units = {"": 1, "m": 1e-3, "k": 1e3, "M": 1e6, "G": 1e9, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40}
    return float(match[1]) * units[match[2]]


# ---- schemas


def schema_of(o: dict, definitions: dict) -> dict | None:
    """None where k8s/schemas has none. References to _definitions.json become references within the schema."""
    group, _, version = o["apiVersion"].rpartition("/")
    parts = (o["kind"].lower(), group.split(".")[0], version)
    file = SCHEMAS / ("-".join(x for x in parts if x) + ".json")
    if not file.exists():
        return None
    return json.loads(file.read_text().replace("_definitions.json#", "#")) | {"definitions": definitions}


def fits_schemas(m: Manifests) -> Iterator[str]:
    definitions = json.loads((SCHEMAS / "_definitions.json").read_text())["definitions"]
    for o in m.objects:
        schema = schema_of(o, definitions)
        if schema is None:
            yield f"{o['apiVersion']} {o['kind']} has no schema in k8s/schemas"
            continue
        for error in jsonschema.Draft7Validator(schema).iter_errors(o):
            yield f"{o['kind']} {o['metadata']['name']}{error.json_path[1:]}: {error.message}"


# ---- pods


def containers(pod: Pod) -> Iterator[tuple[str, dict, bool]]:
    """What a message calls it, the container, and whether it is an init container."""
    for c in pod.init():
        yield f"{pod.owner}: {c['name']}", c, True
    for c in pod.spec["containers"]:
        yield f"{pod.owner}: {c['name']}", c, False


def is_restricted(m: Manifests) -> Iterator[str]:
    for namespace in m.of("Namespace"):
        level = namespace["metadata"]["labels"].get("pod-security.kubernetes.io/enforce")
        if level != "restricted":
            yield f"namespace {namespace['metadata']['name']} enforces {level}, expected restricted"
    for pod in m.all_pods():
        security = pod.spec.get("securityContext", {})
        if security.get("runAsNonRoot") is not True or not security.get("runAsUser", 0) >= 1000:
            yield f"{pod.owner} may run as root"
        if security.get("seccompProfile", {}).get("type") != "RuntimeDefault":
            yield f"{pod.owner} has no seccomp profile RuntimeDefault"
        if pod.spec.get("automountServiceAccountToken") is not (pod.labels[COMPONENT] == "end"):
            yield f"{pod.owner} mounts a service account token"
        if pod.spec.get("enableServiceLinks") is not False:
            yield f"{pod.owner} gets variables TACTUS_... from services: expected enableServiceLinks: false"
        for field in ("hostNetwork", "hostPID", "hostIPC"):
            if pod.spec.get(field):
                yield f"{pod.owner} has {field}"
        for volume in pod.volumes().values():
            kind = next(k for k in volume if k != "name")
            if kind not in ("configMap", "emptyDir", "image", "persistentVolumeClaim", "secret"):
                yield f"{pod.owner} mounts a {kind}"
            if kind == "image" and "@sha256:" not in volume["image"]["reference"]:
                yield f"{pod.owner} mounts an artifact that is not named by its digest"
        for name, c, init in containers(pod):
            context = c.get("securityContext", {})
            if context.get("allowPrivilegeEscalation") is not False:
                yield f"{name} may gain privileges"
            if context.get("capabilities", {}).get("drop") != ["ALL"]:
                yield f"{name} keeps capabilities"
            if context.get("capabilities", {}).get("add"):
                yield f"{name} adds capabilities"
            writable = m.name == "writable-root" and not init and pod.labels[COMPONENT] != "end"
            if context.get("readOnlyRootFilesystem") is not (not writable):
                yield f"{name} has readOnlyRootFilesystem {context.get('readOnlyRootFilesystem')}"
            if not init and pod.labels[COMPONENT] != "end" and "/tmp" not in {v["mountPath"] for v in c.get("volumeMounts", [])}:
                yield f"{name} has no volume on /tmp"


def has_resources(m: Manifests) -> Iterator[str]:
    for pod in m.all_pods():
        scratch = {v["name"]: v["emptyDir"] for v in pod.volumes().values() if "emptyDir" in v}
        for name, empty in scratch.items():
            if "sizeLimit" not in empty:
                yield f"{pod.owner}: emptyDir {name} has no sizeLimit"
        for name, c, _ in containers(pod):
            requests, limits = (c.get("resources", {}).get(x, {}) for x in ("requests", "limits"))
            for what in ("cpu", "memory"):
                if what not in requests or what not in limits:
                    yield f"{name} has no request or limit of {what}"
                elif quantity(requests[what]) > quantity(limits[what]):
                    yield f"{name} requests more {what} than its limit"
            if requests.get("nvidia.com/gpu") != limits.get("nvidia.com/gpu"):
                yield f"{name} requests other GPUs than its limit"
            mounted = {v["name"] for v in c.get("volumeMounts", [])}
            in_memory = sum(quantity(e.get("sizeLimit", "0")) for n, e in scratch.items()
                            if n in mounted and e.get("medium") == "Memory")  # fmt: skip
            if "memory" in limits and in_memory > quantity(limits["memory"]) / 2:
                yield f"{name}: volumes in memory may take more than half of its limit"


def has_probes(m: Manifests) -> Iterator[str]:
    paths = {"startupProbe": "/healthz", "readinessProbe": "/readyz", "livenessProbe": "/healthz"}
    for pod in m.pods():
        c = pod.main()
        ports = {p["name"] for p in c.get("ports", [])}
        for probe, path in paths.items():
            get = c.get(probe, {}).get("httpGet", {})
            if get.get("path") != path or get.get("port") != "metrics" or "metrics" not in ports:
                yield f"{pod.owner} has no {probe} at {path} of the port metrics"


def gives_time(m: Manifests) -> Iterator[str]:
    """Grace covers the drain or the checkpoint; start-up covers the wait for the learner."""
    for pod in m.pods():
        env = m.environment(pod.main())
        grace = pod.grace_s()
        if "TACTUS_DRAIN_GRACE_S" in env and grace < float(env["TACTUS_DRAIN_GRACE_S"]) + 20:
            yield f"{pod.owner} has {grace} s of grace, expected 20 s more than TACTUS_DRAIN_GRACE_S"
        if pod.kind != "Deployment" and grace < 300:
            yield f"{pod.owner} has {grace} s of grace for a checkpoint, expected 300 s or more"
        startup = pod.main().get("startupProbe", {})
        window = startup.get("periodSeconds", 10) * startup.get("failureThreshold", 3)
        if window < float(env.get("TACTUS_LEARNER_TIMEOUT_S", 0)):
            yield f"{pod.owner} is killed after {window} s, before TACTUS_LEARNER_TIMEOUT_S"


def flags_of(program: list[str]) -> set[str]:
    """The flags in a program's source; `tactus ranks` passes its environment on to tactus-learner."""
    files = {"tactus-actor": ["actor/main.cc"], "tactus-learner": ["learner/main.cc"],
             "tactus ranks": ["tools/cmd_ranks.cc", "learner/main.cc"]}  # fmt: skip
    name = " ".join(program[:2]) if program[0] == "tactus" else program[0]
    files[name].append("common/config/flags.cc")  # AddLogFormat
    return {flag for file in files[name] for flag in re.findall(r'app, "--([a-z-]+)[ "]', (ROOT / file).read_text())}


NO_FLAGS = ("TACTUS_CACHE",)  # read by what fetches (common/storage/local_copy.h)


def uses_known_flags(m: Manifests) -> Iterator[str]:
    for pod in m.pods():
        for name, c, init in containers(pod):
            env = m.environment(c)
            for variable in VARIABLE.findall(" ".join(c["command"] + c.get("args", []))):
                if variable not in env:
                    yield f"{name} uses $({variable}), which is not defined"
            if init:
                continue
            flags = flags_of(c["command"])
            for variable in env:
                flag = variable.removeprefix("TACTUS_").lower().replace("_", "-")
                if variable.startswith("TACTUS_") and flag not in flags and variable not in NO_FLAGS:
                    yield f"{name}: {variable} is no flag of {' '.join(c['command'])}"
            for arg in c.get("args", []):
                if re.match(r"--[a-z-]+=", arg) is None or arg[2 : arg.index("=")] not in flags:
                    yield f"{name}: {arg} is no flag of {' '.join(c['command'])}"


def checks_its_config(m: Manifests) -> Iterator[str]:
    for pod in m.pods():
        init, main = pod.init()[0], pod.main()
        if init.get("args") != main.get("args"):
            yield f"{pod.owner}: check-config checks {init.get('args')}, but {main['name']} runs with {main.get('args')}"
        file = pathlib.PurePath(m.environment(main).get("TACTUS_CONFIG", ""))
        if command(init, {})[2] != str(file):
            yield f"{pod.owner}: check-config reads {command(init, {})[2]}, but {main['name']} {file}"
        mounted = {v["mountPath"]: pod.volumes()[v["name"]] for v in main["volumeMounts"] if v["name"] in pod.volumes()}
        text = m.config_map(mounted.get(str(file.parent), {}).get("configMap", {}).get("name", "")).get(file.name)
        if text is None:
            yield f"{pod.owner}: TACTUS_CONFIG is {file}, which no ConfigMap holds"
        elif m.binaries:
            with tempfile.NamedTemporaryFile("w", suffix=".textproto") as config:
                config.write(text)
                config.flush()
                done = subprocess.run([str(m.binaries / "tactus"), "check-config", config.name, "--config-only", *main.get("args", [])],
                                      capture_output=True, text=True, timeout=60, cwd=ROOT)  # fmt: skip
            if done.returncode:
                yield f"{pod.owner}: {done.stderr.strip()}"


def names_version(m: Manifests) -> Iterator[str]:
    version = re.search(r"project\(tactus VERSION ([0-9.]+)", (ROOT / "CMakeLists.txt").read_text())[1]
    for pod in m.pods():
        for name, c, _ in containers(pod):
            if not c["image"].endswith(f":{version}"):
                yield f"{name} has the image {c['image']}, expected the tag {version}"


# ---- how objects fit together


def refers_to_what_exists(m: Manifests) -> Iterator[str]:
    secrets = {c["spec"]["secretName"] for c in m.of("Certificate")}
    priorities = {o["metadata"]["name"] for o in load((PLATFORM / "priority-classes.yaml").read_text())}
    for pod in m.all_pods():
        needs = [("ServiceAccount", pod.spec.get("serviceAccountName"), m.names("ServiceAccount")),
                 ("PriorityClass", pod.spec.get("priorityClassName"), priorities)]  # fmt: skip
        for volume in pod.volumes().values():
            needs.append(("ConfigMap", volume.get("configMap", {}).get("name"), m.names("ConfigMap")))
            needs.append(("Secret", volume.get("secret", {}).get("secretName"), secrets))
            needs.append(("PersistentVolumeClaim", volume.get("persistentVolumeClaim", {}).get("claimName"),
                          m.names("PersistentVolumeClaim") | EXTERNAL_CLAIMS))  # fmt: skip
        for name, c, _ in containers(pod):
            missing = {v["name"] for v in c.get("volumeMounts", [])} - pod.volumes().keys()
            if missing:
                yield f"{name} mounts {', '.join(sorted(missing))}, which is no volume"
        for kind, name, there in needs:
            if name is not None and name not in there:
                yield f"{pod.owner} names the {kind} {name}, which is not there"


def selects_what_it_means(m: Manifests) -> Iterator[str]:
    pods = m.pods()
    for deployment in m.of("Deployment"):
        if not matches(deployment["spec"]["selector"], deployment["spec"]["template"]["metadata"]["labels"]):
            yield f"Deployment {deployment['metadata']['name']} does not select its own pods"
    for service in m.of("Service"):
        chosen = [p for p in pods if matches({"matchLabels": service["spec"]["selector"]}, p.labels)]
        if len({p.owner for p in chosen}) != 1:
            yield f"Service {service['metadata']['name']} selects {len(chosen)} pods, expected those of one workload"
        for port in service["spec"]["ports"]:
            for pod in chosen:
                if port["targetPort"] not in {p["name"] for p in pod.main().get("ports", [])}:
                    yield f"Service {service['metadata']['name']}: {pod.owner} has no port {port['targetPort']}"
    for kind in ("PodDisruptionBudget", "PodMonitor"):
        for o in m.of(kind):
            chosen = [p for p in pods if matches(o["spec"]["selector"], p.labels)]
            if not chosen:
                yield f"{kind} {o['metadata']['name']} selects nothing"
            for pod in chosen if kind == "PodMonitor" else []:
                kept = [r["regex"] for e in o["spec"]["podMetricsEndpoints"] for r in e["relabelings"] if r.get("action") == "keep"]
                for port in pod.main().get("ports", []):
                    if port["name"].startswith("metrics") != any(re.fullmatch(regex, port["name"]) for regex in kept):
                        yield f"PodMonitor {o['metadata']['name']} leaves out {port['name']} of {pod.owner}, or should"
    address = {(s["metadata"]["name"], p["port"]) for s in m.of("Service") for p in s["spec"]["ports"]}
    for pod in pods:
        host, _, port = (m.environment(pod.main()).get("TACTUS_LEARNER") or "").partition(":")
        if host and (host, int(port)) not in address:
            yield f"{pod.owner}: TACTUS_LEARNER is {host}:{port}, which no Service serves"


def fits_the_job_set(m: Manifests) -> Iterator[str]:
    for job_set in m.of("JobSet"):
        name, spec = job_set["metadata"]["name"], job_set["spec"]
        rules = {pattern: r["action"] for r in spec["failurePolicy"]["rules"] for pattern in r["onJobFailureMessagePatterns"]}
        if rules != {"condition DisruptionTarget": "RestartJobSetAndIgnoreMaxRestarts",
                     "failed with exit code 130 ": "RestartJobSetAndIgnoreMaxRestarts",
                     "failed with exit code 2 ": "FailJobSet"}:  # fmt: skip
            yield f"JobSet {name} has the failure rules {rules}"
        for replicated in spec["replicatedJobs"]:
            job = replicated["template"]["spec"]
            c = job["template"]["spec"]["containers"][0]
            env = m.environment(c)
            if not str(job["completions"]) == str(job["parallelism"]) == env["TACTUS_HOSTS"]:
                yield f"JobSet {name}: completions, parallelism and TACTUS_HOSTS differ"
            gpus = c["resources"]["limits"].get("nvidia.com/gpu")
            if gpus is not None and gpus != env["TACTUS_RANKS_PER_HOST"]:
                yield f"JobSet {name}: {gpus} GPUs for {env['TACTUS_RANKS_PER_HOST']} ranks"
            ports = [p["containerPort"] for p in c["ports"] if p["name"].startswith("metrics")]
            if ports != [8080 + i for i in range(int(env["TACTUS_RANKS_PER_HOST"]))]:
                yield f"JobSet {name} has the metrics ports {ports} for {env['TACTUS_RANKS_PER_HOST']} ranks"
            store = f"{name}-{replicated['name']}-0-0.{spec['network']['subdomain']}:29500"
            if env["TACTUS_STORE"] != store:
                yield f"JobSet {name}: TACTUS_STORE is {env['TACTUS_STORE']}, expected {store}"
            index = [e["valueFrom"]["fieldRef"]["fieldPath"] for e in c["env"] if e["name"] == "TACTUS_HOST_INDEX"]
            if index != [f"metadata.labels['{INDEX}']"]:
                yield f"JobSet {name}: TACTUS_HOST_INDEX comes from {index}"
    jobs = [("Ignore" if o["kind"] == "Job" else "FailJob", *job) for o in m.objects for job in jobs_of(o)]
    for on_disruption, name, job in jobs:
        if job["template"]["metadata"]["labels"][COMPONENT] == "end":
            continue
        rules = job["podFailurePolicy"]["rules"]
        if "onPodConditions" not in rules[0] or rules[0]["action"] != on_disruption:
            yield f"{name}: the first pod failure rule is not {on_disruption} on DisruptionTarget"
        codes = {code: r["action"] for r in rules for code in r.get("onExitCodes", {}).get("values", [])}
        if codes != {2: "FailJob"} | ({3: "Ignore"} if on_disruption == "Ignore" else {130: "FailJob"}):
            yield f"{name}: exit code 2 does not fail the job, or a stop in order counts: {codes}"
        if job["template"]["spec"].get("restartPolicy") != "Never" or job["completionMode"] != "Indexed":
            yield f"{name}: expected restartPolicy Never and completionMode Indexed"


def metrics_run(m: Manifests) -> str:
    """The label `run` of the run's metrics."""
    deployment = m.of("Deployment")[0]["metadata"]
    return f"{deployment['namespace']}.{deployment['labels'][INSTANCE]}"


def belongs_to_its_run(m: Manifests) -> Iterator[str]:
    """So that a second run beside it, in this namespace or another, shares nothing with it."""
    run = m.of("Deployment")[0]["metadata"]["labels"][INSTANCE]
    for o in m.objects:
        name, labels = f"{o['kind']} {o['metadata']['name']}", o["metadata"].get("labels", {})
        if o["kind"] == "Namespace":
            continue
        if o["metadata"].get("namespace") != m.of("Namespace")[0]["metadata"]["name"]:
            yield f"{name} is not of the run's namespace"
        if labels.get(INSTANCE) != run or not f"{o['metadata']['name']}-".startswith(f"{run}-"):
            yield f"{name} is not named and labelled by the run {run}"
    for name, selector in selectors(m.objects):
        if selector.get("matchLabels", {}).get(INSTANCE) != run:
            yield f"{name} selects pods of other runs"
    for monitor in m.of("PodMonitor"):
        for endpoint in monitor["spec"]["podMetricsEndpoints"]:
            label = [r["replacement"] for r in endpoint["relabelings"] if r.get("targetLabel") == "run"]
            if label != [metrics_run(m)]:
                yield f"PodMonitor {monitor['metadata']['name']} calls the run {label}, expected {metrics_run(m)}"


def selectors(objects: list[dict]) -> Iterator[tuple[str, dict]]:
    """Every selector of pods of the run's own namespace, and what a message calls its object."""
    for o in objects:
        name, spec = f"{o['kind']} {o['metadata']['name']}", o.get("spec", {})
        if o["kind"] == "Service":
            yield name, {"matchLabels": spec["selector"]}
        elif "selector" in spec:
            yield name, spec["selector"]
        if o["kind"] == "NetworkPolicy":
            yield name, spec["podSelector"]
            peers = [p for rule in spec.get("ingress", []) for p in rule.get("from", [])]
            peers += [p for rule in spec.get("egress", []) for p in rule.get("to", [])]
            yield from ((name, p["podSelector"]) for p in peers if "podSelector" in p and "namespaceSelector" not in p)


def outlives_its_objects(m: Manifests) -> Iterator[str]:
    for claim in m.of("PersistentVolumeClaim"):
        if claim["metadata"].get("annotations", {}).get("helm.sh/resource-policy") != "keep":
            yield f"PersistentVolumeClaim {claim['metadata']['name']} is deleted with the run"
    for config in m.of("ConfigMap"):
        if config.get("immutable") is not True:
            yield f"ConfigMap {config['metadata']['name']} may change under a run"


def ends(m: Manifests) -> Iterator[str]:
    """Under a JobSet a pod waits for its end and takes the actors away, and may do no more than that."""
    found = [p for p in m.all_pods() if p.labels[COMPONENT] == "end"]
    if len(found) != len(m.of("JobSet")):
        yield f"{len(found)} pods end {len(m.of('JobSet'))} JobSets"
    for pod in found:
        role = next((r for r in m.of("Role") if r["metadata"]["name"] == pod.spec["serviceAccountName"]), {"rules": []})
        allowed = {(resource, name) for r in role["rules"] for resource in r["resources"] for name in r.get("resourceNames", ["*"])}
        needed = {("jobsets", m.of("JobSet")[0]["metadata"]["name"])}
        needed |= {(kind, d) for d in m.names("Deployment") for kind in ("deployments", "deployments/scale")}
        needed |= {("scaledobjects", s) for s in m.names("ScaledObject")}
        if allowed != needed:
            yield f"{pod.owner} may use {sorted(allowed)}, expected {sorted(needed)}"
        words = [" ".join(command(c, {})) for _, c, _ in containers(pod)]
        verbs = ["kubectl wait jobset/", *["kubectl annotate scaledobject/"] * len(m.of("ScaledObject")), "kubectl scale deployment/"]
        if len(words) != len(verbs) or not all(w.startswith(v) for w, v in zip(words, verbs)):
            yield f"{pod.owner} calls {words}, expected {verbs}"


def scales_actors_only(m: Manifests) -> Iterator[str]:
    scalers = m.of("ScaledObject") + m.of("HorizontalPodAutoscaler")
    if len(scalers) > 1:
        yield "two autoscalers would fight"
    for scaler in scalers:
        name = f"{scaler['kind']} {scaler['metadata']['name']}"
        if scaler["spec"]["scaleTargetRef"]["name"] not in m.names("Deployment"):
            yield f"{name} scales {scaler['spec']['scaleTargetRef']['name']}, which is no Deployment"
        spec = scaler["spec"]
        if scaler["kind"] == "ScaledObject":
            spec = spec["advanced"]["horizontalPodAutoscalerConfig"]
            trigger = scaler["spec"]["triggers"][0]["metadata"]
            series = re.match(r"[a-zA-Z_:][\w:]*", trigger["query"])[0]
            if f"record: {series}\n" not in RULES.read_text():
                yield f"{name} asks for {series}, which {RULES.name} does not record"
            if not trigger["query"].endswith(f'{{run="{metrics_run(m)}"}}'):
                yield f"{name} asks for {trigger['query']}, expected the run {metrics_run(m)}"
            if trigger.get("ignoreNullValues") != "false" or trigger.get("threshold") != "1":
                yield f"{name}: expected threshold 1 and ignoreNullValues false"
            if scaler["spec"].get("fallback", {}).get("behavior") != "currentReplicas":
                yield f"{name}: an outage of Prometheus would change the number of actors"
        if spec["behavior"]["scaleDown"]["stabilizationWindowSeconds"] < 300:
            yield f"{name} scales down too fast"
    for deployment in m.of("Deployment"):
        if ("replicas" in deployment["spec"]) == bool(scalers):
            yield f"Deployment {deployment['metadata']['name']}: replicas and an autoscaler, or neither"


def certificates_name_the_service(m: Manifests) -> Iterator[str]:
    names = {n for c in m.of("Certificate") for n in c["spec"].get("dnsNames", [])}
    own = metrics_run(m).replace(".", "/")
    for c in m.of("Certificate"):
        role = c["metadata"]["labels"].get(COMPONENT)
        if role and c["spec"].get("uris") != [f"spiffe://tactus/{own}/{role}"]:
            yield f"Certificate {c['metadata']['name']} is of {c['spec'].get('uris')}, expected spiffe://tactus/{own}/{role}"
    for pod in m.pods():
        secure = any(a.startswith("--set=service.tls_cert_path") for a in pod.main().get("args", []))
        if secure != any("secret" in v for v in pod.volumes().values()) or secure != bool(m.of("Certificate")):
            yield f"{pod.owner}: tls flags, certificates and their volume do not go together"
        host = (m.environment(pod.main()).get("TACTUS_LEARNER") or "").partition(":")[0]
        if secure and host and host not in names:
            yield f"{pod.owner} reaches the learner as {host}, which its certificate does not name"


NO_SCHEMAS = "" if jsonschema else "SKIPPED: k8s/schemas: no jsonschema (scripts/setup.sh --lint installs python3-jsonschema)"
CHECKS = [*([fits_schemas] if jsonschema else []), is_restricted, has_resources, has_probes, gives_time, uses_known_flags,
          checks_its_config, names_version, refers_to_what_exists, selects_what_it_means, fits_the_job_set, scales_actors_only,
          belongs_to_its_run, outlives_its_objects, ends, certificates_name_the_service, reaches_what_it_needs]  # fmt: skip


def problems(m: Manifests) -> list[str]:
    return [f"{m.name}: {check.__name__}: {problem}" for check in CHECKS for problem in dict.fromkeys(check(m))]
