"""Queries and panels that more than one dashboard shows.

A learner step may take ten minutes. What a step counts when it ends is 0 in most rate intervals and far too much in one of
them, so it is never shown as a rate of its own: the gauges of the last step say how fast it was, and shares and quantiles are
taken over $window. RATE is for what moves all along: actors, requests, bytes, processes.
"""

from monitoring import metrics
from monitoring.panels import Panel, Query, by_step, heatmap, line, stat, table

TABLE = metrics.load()
RATE, WINDOW, RANGE = "[$__rate_interval]", "[$window]", "[$__range]"
GREEN, ORANGE, RED = "green", "orange", "red"


def rate(metric: str, by: str = "", over: str = RATE) -> str:
    """Sum of a counter's rate, by labels."""
    return f"sum{f' by ({by})' if by else ''} (rate({metric}{over}))"


def increase(metric: str, by: str = "run", over: str = WINDOW) -> str:
    return f"sum by ({by}) (increase({metric}{over}))"


def ratio(part: str, of: str, by: str = "run") -> str:
    """A share of what was counted in $window: part and whole are counted at the same moment, so a step's length is no matter."""
    return f"{rate(part, by, WINDOW)} / on (run) group_left () ({rate(of, 'run', WINDOW)} > 0)"


def quantiles(metric: str, by: str = "", of: tuple[float, ...] = (0.5, 0.95), over: str = WINDOW) -> list[tuple[str, str]]:
    groups = f"{by}, le" if by else "le"
    legend = " ".join(f"{{{{{name.strip()}}}}}" for name in by.split(",") if by)
    expr = "histogram_quantile({:g}, sum by ({}) (rate({}_bucket{})))".format
    return [(expr(q, groups, metric, over), f"{legend} p{q * 100:g}".strip()) for q in of]


def newest(metric: str, by: str = "run") -> str:
    return f"max by ({by}) ({metric})"


CHECKPOINT_AGE = f"time() - {newest('tactus_checkpoint_last_success_timestamp_seconds > 0')}"
CERTIFICATE_LEFT = "min by (instance, certificate) (tactus_tls_certificate_expiry_timestamp_seconds > 0) - time()"
STEP_SECONDS = newest("run:tactus_learner_step_duration_seconds:mean_rate6h")
LEFT = f"({newest('tactus_learner_steps_planned')} - {newest('tactus_learner_step')}) * {STEP_SECONDS}"
STEPS_PER_HOUR = f"3600 / {newest('tactus_step_seconds')}"
RANKS = "count by (run) (tactus_learner_step)"
CONNECTED = newest("tactus_actors_connected")
COST_PER_HOUR = f"({RANKS} + on (run) {CONNECTED}) * $price"
TRAINED = newest('tactus_step_tokens_per_second{kind="trained"}')
GENERATED = newest('tactus_step_tokens_per_second{kind="generated"}')
# Operations of a token, as they are counted, by the peak of all ranks' GPUs.
MFU = (
    f"{TRAINED} * on (run) (sum by (run) (tactus_learner_model_flops_total) / (sum by (run) (tactus_learner_tokens_total) > 0))"
    f" / on (run) ({RANKS} * $peak)"
)
WAITED = newest('tactus_step_phase_seconds{phase="wait_trajectories"}')
LEARNER_WAITS = f"{WAITED} / on (run) {newest('tactus_step_seconds')}"
ACTORS_BLOCKED = newest("run:tactus_actor_blocked:ratio_rate5m")
VERSION_LAG = (
    'max by (run) (tactus_weight_version{job="learner"}) - on (run) group_right () '
    'max by (run, instance) (tactus_weight_version{job="actor"})'
)
_TOTAL = "sum by (run) (tactus_trajectories_{}_total)".format
UNRECEIVED = f"{_TOTAL('received')} - {_TOTAL('accepted')} - {_TOTAL('rejected')}"
UNTRAINED = (
    f"{_TOTAL('accepted')} - {_TOTAL('trained')} - {_TOTAL('dropped')} - sum by (run) (tactus_trajectory_queue_depth)"
)


def of_step(name: str, width: int = 8, **kwargs) -> Panel:
    """A gauge of the last learner step, as its row tells it."""
    metric, (expr, legend, unit) = TABLE[name], _of_step(name)
    return line(metric.title, unit, metric.help, (expr, legend), width=width, **kwargs)


def of_steps(name: str, matchers: str = "", width: int = 8, title: str = "") -> Panel:
    """The same over the number of the step."""
    metric, (_, _, unit) = TABLE[name], _of_step(name)
    return by_step(title or metric.title, unit, metric.help, f"max by (run) ({name}{matchers})", width=width)


def _of_step(name: str) -> tuple[str, str, str]:
    metric = TABLE[name]
    by = ["run", *metric.labels]
    units = {"ratio": "percentunit", "seconds": "s"}
    return newest(name, ", ".join(by)), " ".join(f"{{{{{x}}}}}" for x in by), units.get(metric.unit, "short")


def reward(width: int = 24) -> Panel:
    return line(
        "Reward by task, and pass@k on held-out prompts", "short",
        "Mean reward of the last batch; the held-out value is of the last evaluation, and missing before the first.",
        ('avg by (run, env) (tactus_reward_mean{component="total"})', "{{run}} {{env}} reward"),
        (newest("tactus_eval_pass_ratio", "run, env, k"), "{{run}} {{env}} held-out pass@{{k}}"), width=width)  # fmt: skip


def held_out_sets(width: int) -> Panel:
    return line(
        "Held-out sets, with their intervals", "percentunit",
        "Newest scores of each set (eval.sets; test is that of eval's own fields) and the ends of their 95 % intervals.",
        (newest("tactus_eval_set_score_ratio", "run, set, score"), "{{run}} {{set}} {{score}}"), width=width)  # fmt: skip


def sources(width: int) -> Panel:
    return line(
        "Reward by source", "short",
        "Mean reward of each of task.sources in the last batch that had some of it, and the share of right answers. Empty where there are none.",
        (newest("tactus_source_reward_mean", "run, source, component"), "{{run}} {{source}} {{component}}"), width=width)  # fmt: skip


def source_groups(width: int) -> Panel:
    return line(
        "Groups by source", "short", "Groups trained of each of task.sources, by its weight. Empty where there are none.",
        (increase("tactus_source_groups_total", "run, source"), "{{run}} {{source}}"), width=width)  # fmt: skip


def step_phases(width: int = 12) -> Panel:
    return line(
        "Step time by phase (rank 0)", "s",
        "Where the last step's time went. Waiting for trajectories is the actors' side; the rest is the learner's.",
        (newest("tactus_step_phase_seconds", "run, phase"), "{{run}} {{phase}}"), stacked=True, width=width)  # fmt: skip


def policy_kl(width: int) -> Panel:
    return of_step("tactus_policy_kl_nats", width, thresholds=[(None, GREEN), (0.1, RED)])


def mismatch_kl(width: int) -> Panel:
    return of_step("tactus_sampler_mismatch_kl_nats", width, thresholds=[(None, GREEN), (0.01, RED)])


def lengths(width: int = 8) -> Panel:
    return line("Completion length", "short", "Tokens of the trained completions: the last step's mean, and those of $window.",
                (newest("tactus_completion_length_tokens"), "{{run}} mean"),
                *quantiles("tactus_completion_tokens", "run", (0.95,)), width=width)  # fmt: skip


def throughput(width: int = 8) -> Panel:
    return line("Tokens a second, by GPU", "short", "Of the last step: trained, by rank; sampled, by connected actor.",
                (f"{TRAINED} / on (run) {RANKS}", "{{run}} trained"),
                (f"{GENERATED} / on (run) ({CONNECTED} > 0)", "{{run}} sampled"), width=width)  # fmt: skip


def waiting(width: int = 8) -> Panel:
    return line("Who waits", "percentunit", "The learner for trajectories, of its last step; actors for prompts, of five minutes.",
                (LEARNER_WAITS, "{{run}} learner"), (ACTORS_BLOCKED, "{{run}} actors"), width=width)  # fmt: skip


def actors_wanted(width: int = 8) -> Panel:
    return line("Actors: connected, desired", "short", "Desired: as many as sample a step while the learner takes one; held while "
                "more than 5 % of the answers come too late.",
                (CONNECTED, "{{run}} connected"), (newest("tactus:actors_desired"), "{{run}} desired"),
                (newest("tactus:actors_desired_unheld"), "{{run}} desired, without the hold"), width=width)  # fmt: skip


def books(width: int = 8) -> Panel:
    return line("Unaccounted completions", "short", "Both stay at 0, the second below 0 after a resume: what is left of the books.",
                (UNRECEIVED, "{{run}} received less accepted, rejected"),
                (UNTRAINED, "{{run}} accepted less trained, dropped, queued"), width=width)  # fmt: skip


def staleness(width: int = 12) -> Panel:
    return heatmap("Staleness of trained completions", "short", "Versions between the first token's weights and training.",
                   f"sum by (le) (increase(tactus_trajectory_staleness_versions_bucket{WINDOW}))", width=width)  # fmt: skip


def rejections(width: int = 12) -> Panel:
    return line("Rejections and drops", "short",
                "Completions of $window refused on receipt, and accepted ones that were not trained, by reason.",
                (increase("tactus_trajectories_rejected_total", "reason"), "rejected: {{reason}}"),
                (increase("tactus_trajectories_dropped_total", "reason"), "dropped: {{reason}}"), width=width)  # fmt: skip


def alerts(width: int) -> Panel:
    by = ["severity", "alertstate", "run", "alertname"]
    return table("Alerts", "Firing and pending alerts; the runbook (above) has a section for each.",
                 [("Alerts", "short", 'sum by (alertstate, severity, run, alertname) (ALERTS{alertname!=""})')], by,
                 hidden=("Value",), width=width)  # fmt: skip


def checkpoint_age(width: int) -> Panel:
    return stat("Last checkpoint", "s", "Age of the newest complete checkpoint of this process.", (CHECKPOINT_AGE, "{{run}}"),
                width=width, thresholds=[(None, GREEN), (3600, ORANGE), (7200, RED)])  # fmt: skip


def not_finite(width: int) -> Panel:
    return line("Errors", "short", "Of $window, all 0 in a run that is well: values that are not finite, updates skipped for them, "
                "collective operations aborted, checkpoints that failed.",
                (increase("tactus_nonfinite_values_total", "run, where"), "{{run}} not finite: {{where}}"),
                (increase('tactus_learner_steps_total{outcome="skipped"}'), "{{run}} updates skipped"),
                (increase("tactus_collective_aborts_total"), "{{run}} collectives aborted"),
                (increase('tactus_checkpoints_total{outcome="failed"}'), "{{run}} checkpoints failed"), width=width)  # fmt: skip


def checkpoint_time(width: int = 12) -> Panel:
    return line("Checkpoint time", "s", "95th percentile by phase; the training waits for the snapshot alone.",
                *quantiles("tactus_checkpoint_duration_seconds", "phase", (0.95,)), width=width)  # fmt: skip


def upload_age(width: int = 12) -> Panel:
    return line("Last upload", "s", "Age of the newest checkpoint that was copied elsewhere; nothing without checkpoint.upload.",
                (f"time() - {newest('tactus_checkpoint_last_upload_timestamp_seconds > 0')}", "{{run}}"), width=width)  # fmt: skip


def checkpoint_outcomes(width: int = 12) -> Panel:
    return line("Checkpoints", "short", "Of $window, by outcome.",
                (increase("tactus_checkpoints_total", "run, outcome"), "{{run}} {{outcome}}"), width=width)  # fmt: skip


def certificate(width: int = 8) -> Panel:
    return line("Certificate validity left", "s", "Time until the certificate files expire; nothing in plaintext.",
                (CERTIFICATE_LEFT, "{{instance}} {{certificate}}"), width=width)  # fmt: skip


def processes(width: int = 12) -> list[Panel]:
    return [line("CPU", "short", "Cores in use by each process.", (rate("process_cpu_seconds_total", "instance"), "{{instance}}"),
                 width=width),
            line("Resident memory", "bytes", "Memory of each process.",
                 (newest("process_resident_memory_bytes", "instance"), "{{instance}}"), width=width)]  # fmt: skip


def actors_table() -> Panel:
    link = {
        "title": "This actor",
        "targetBlank": False,
        "url": "/d/tactus-actors?var-instance=${__value.text}&${datasource:queryparam}&${run:queryparam}",
    }
    columns = [
        ("Tokens/s", "short", rate('tactus_actor_tokens_total{kind="completion"}', "run, instance")),
        ("Blocked", "percentunit", rate("tactus_actor_blocked_seconds_total", "run, instance")),
        ("Versions behind", "short", VERSION_LAG),
        ("Running", "short", 'sum by (run, instance) (tactus_actor_requests{state="running"})'),
        ("KV pages", "percentunit", newest("tactus_actor_kv_cache_usage_ratio", "run, instance")),
    ]
    return table("Actors", "One row an actor: what it samples, how long it is blocked, how far its weights are behind.", columns,
                 ["run", "instance"], link=link, width=24)  # fmt: skip
