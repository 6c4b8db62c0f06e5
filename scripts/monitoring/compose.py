"""Structural checks of deploy/compose.yaml. No container engine is needed."""

import pathlib
import re

from monitoring import metrics
from monitoring.tools import ROOT, help_of, load_yaml

PATH = ROOT / "deploy/compose.yaml"
# The fields of the Compose specification that we use; anything else is a mistake in writing.
SERVICE_FIELDS = {
    "image",
    "user",
    "working_dir",
    "read_only",
    "tmpfs",
    "cap_drop",
    "security_opt",
    "init",
    "restart",
    "networks",
    "command",
    "environment",
    "volumes",
    "stop_grace_period",
    "healthcheck",
    "depends_on",
    "deploy",
    "ports",
}
HEALTH_FIELDS = {"test", "interval", "timeout", "retries", "start_period"}
SERVICES = {"learner", "actor", "prometheus", "alertmanager", "grafana"}


def problems(document: dict, build: pathlib.Path | None) -> list[str]:
    """What is wrong with a compose document; with a build also whether our programs know their flags."""
    found = [] if set(document["services"]) == SERVICES else [f"services: expected {', '.join(sorted(SERVICES))}"]
    for name, service in document["services"].items():
        found += [f"{name}: {problem}" for problem in _service_problems(document, service)]
        if build and service.get("image", "").startswith("tactus"):
            found += [f"{name}: {problem}" for problem in _flag_problems(service, build)]
    used = {n for s in document["services"].values() for n in s.get("networks", ())}
    found += [f"network {n} is not declared" for n in used - set(document.get("networks", {}))]
    return found + _scrape_problems(document)


def _service_problems(document: dict, service: dict) -> list[str]:
    found = [f"unknown field {field}" for field in sorted(set(service) - SERVICE_FIELDS)]
    if not re.fullmatch(r"[\w./-]+:(?!latest)[\w.-]+", service.get("image", "")):
        found.append("image: expected name:version")
    if service.get("user", "0").split(":")[0] in ("0", "root"):
        found.append("user: expected one that is not root")
    if service.get("read_only") is not True:
        found.append("read_only: expected true")
    if service.get("cap_drop") != ["ALL"] or "no-new-privileges:true" not in service.get("security_opt", ()):
        found.append("expected cap_drop ALL and no-new-privileges")
    health = service.get("healthcheck", {})
    if not HEALTH_FIELDS <= set(health) or isinstance(health["test"], list) and health["test"][0] != "CMD":
        found.append(f"healthcheck: expected {', '.join(sorted(HEALTH_FIELDS))}")
    found += [
        f"port {port} is not bound to loopback"
        for port in service.get("ports", ())
        if not port.startswith("127.0.0.1:")
    ]
    for volume in service.get("volumes", ()):
        source, target, *mode = volume.split(":")
        if source.startswith("."):
            if not (PATH.parent / source).exists():
                found.append(f"volume {source} does not exist")
            if mode != ["ro"]:
                found.append(f"volume {source}: expected :ro")
        elif source not in document.get("volumes", {}):
            found.append(f"volume {source} is not declared")
    for other in service.get("depends_on", {}):
        if other not in document["services"]:
            found.append(f"depends_on: no service {other}")
    return found


def _flag_problems(service: dict, build: pathlib.Path) -> list[str]:
    program, *flags = service["command"]
    _, text = help_of(str(build / "bin" / program))
    known = set(re.findall(r"^\s+--([a-z][a-z-]*)", text, re.MULTILINE))
    given = [f[2:].split("=")[0] for f in flags] + [
        v[7:].lower().replace("_", "-") for v in service.get("environment", {})
    ]
    return [f"{program} has no --{flag}" for flag in given if flag not in known]


def _scrape_problems(document: dict) -> list[str]:
    """Whether Prometheus' targets are services of this file and carry the labels that the rules need."""
    found = []
    for job in load_yaml(ROOT / "deploy/prometheus/prometheus.yml")["scrape_configs"]:
        hosts = [t.split(":")[0] for c in job.get("static_configs", ()) for t in c["targets"]]
        hosts += [name for c in job.get("dns_sd_configs", ()) for name in c["names"]]
        found += [f"prometheus.yml: no service {h}" for h in hosts if h not in {*document["services"], "localhost"}]
        if job["job_name"] in ("learner", "actor"):
            labels = {k for c in job.get("static_configs", ()) for k in c.get("labels", {})}
            labels |= {c["target_label"] for c in job.get("relabel_configs", ())} | {"job", "instance"}
            if labels != metrics.TARGET_LABELS:
                found.append(
                    f"prometheus.yml: {job['job_name']}: expected the labels {', '.join(sorted(metrics.TARGET_LABELS))}"
                )
    return found


def seeded_faults(document_of) -> dict[str, dict]:
    """Documents with one fault each, which problems() must name."""

    def broken(service: str, **fields) -> dict:
        document = document_of()
        document["services"][service].update(fields)
        return document

    return {
        "image": broken("actor", image="tactus:latest"),
        "user": broken("learner", user="0:0"),
        "read_only": broken("grafana", read_only=False),
        "no-new-privileges": broken("prometheus", security_opt=[]),
        "healthcheck": broken("actor", healthcheck={}),
        "is not bound to loopback": broken("grafana", ports=["3000:3000"]),
        "does not exist": broken("prometheus", volumes=["./prometheus/rulez:/etc/prometheus/rules:ro"]),
        "expected :ro": broken("prometheus", volumes=["./prometheus/rules:/etc/prometheus/rules"]),
        "is not declared": broken("learner", volumes=["runs:/var/lib/tactus"]),
        "unknown field": broken("learner", enviroment={}),
        "no service": broken("actor", depends_on={"lerner": {}}),
        "has no --": broken("actor", command=["tactus-actor", "--metrics-lisen=0.0.0.0:8080"]),
    }
