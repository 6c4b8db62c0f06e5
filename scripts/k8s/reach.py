"""Who reaches whom, by the network policies of a run: a rule of scripts/k8s/policy.py."""

from collections.abc import Iterator

from k8s.manifests import INDEX, Manifests, Pod, matches

MONITORING = {"kubernetes.io/metadata.name": "monitoring"}
DNS_NAMESPACE = {"kubernetes.io/metadata.name": "kube-system"}


def peer_allows(peers: list[dict] | None, labels: dict, namespace: dict | None, own_namespace: dict) -> bool:
    """Whether a rule's from/to admits a pod with these labels in a namespace with those; None = none of the cluster's, whose
    label `address` is where it is."""
    if not peers:
        return True
    for peer in peers:
        if "ipBlock" in peer:
            if labels.get("address") == peer["ipBlock"]["cidr"].removesuffix("/32"):
                return True
            continue
        if namespace is None:
            continue
        wanted = peer.get("namespaceSelector")
        in_namespace = namespace == own_namespace if wanted is None else matches(wanted, namespace)
        if in_namespace and ("podSelector" not in peer or matches(peer["podSelector"], labels)):
            return True
    return False


def allows(m: Manifests, direction: str, pod: dict, other: dict, namespace: dict | None, port: int, own: dict) -> bool:
    policies = [p["spec"] for p in m.of("NetworkPolicy")
                if direction in p["spec"]["policyTypes"] and matches(p["spec"]["podSelector"], pod)]  # fmt: skip
    key, side = ("ingress", "from") if direction == "Ingress" else ("egress", "to")
    rules = [rule for policy in policies for rule in policy.get(key, [])]
    return not policies or any(
        peer_allows(rule.get(side), other, namespace, own)
        and ("ports" not in rule or any(p["port"] <= port <= p.get("endPort", p["port"]) for p in rule["ports"]))
        for rule in rules)  # fmt: skip


def reaches_what_it_needs(m: Manifests) -> Iterator[str]:
    own = {"kubernetes.io/metadata.name": m.of("Namespace")[0]["metadata"]["name"]}
    pods = m.pods()
    actors, learners = m.actors(), m.learners()

    def flow(a: Pod, b: Pod, port: int) -> bool:
        return allows(m, "Egress", a.labels, b.labels, own, port, own) and allows(
            m, "Ingress", b.labels, a.labels, own, port, own)  # fmt: skip

    for actor in actors:
        for learner in learners:
            root = learner.labels[INDEX] == "0"
            if flow(actor, learner, 7070) != root:
                yield f"{actor.owner} {'cannot reach' if root else 'reaches'} port 7070 of {learner.owner}"
            if flow(actor, learner, 29500) or flow(learner, actor, 8080):
                yield f"{actor.owner} and {learner.owner} reach ports of each other that they do not need"
        if flow(actor, actor, 8080):
            yield f"{actor.owner} reaches other actors"
        relays = any(e["name"] == "TACTUS_RELAY_LISTEN" for e in actor.main()["env"])
        if flow(actor, actor, 7080) != relays:
            yield f"{actor.owner} {'cannot reach' if relays else 'reaches'} other actors' weights"
    for a in learners:
        for b in learners:
            if a is not b and not (flow(a, b, 29500) and flow(a, b, 45678)):
                yield f"ranks of {a.owner} do not reach each other"
    for pod in pods:
        for port in pod.main().get("ports", []):
            number, scraped = port["containerPort"], port["name"].startswith("metrics")
            if allows(m, "Ingress", pod.labels, {}, MONITORING, number, own) != scraped:
                yield f"Prometheus {'cannot reach' if scraped else 'reaches'} port {number} of {pod.owner}"
            if allows(m, "Ingress", pod.labels, {}, {"kubernetes.io/metadata.name": "other"}, number, own):
                yield f"other namespaces reach port {number} of {pod.owner}"
        for labels, namespace in [({"k8s-app": "kube-dns"}, DNS_NAMESPACE), ({"k8s-app": "node-local-dns"}, DNS_NAMESPACE),
                                  ({"address": "169.254.20.10"}, None)]:  # fmt: skip
            if not allows(m, "Egress", pod.labels, labels, namespace, 53, own):
                yield f"{pod.owner} cannot reach the DNS at {labels}"
        if allows(m, "Egress", pod.labels, {}, None, 443, own):
            yield f"{pod.owner} reaches the internet"
