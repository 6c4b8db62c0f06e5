"""Queries and panels that more than one dashboard shows."""

from monitoring import metrics
from monitoring.panels import Panel, Query, heatmap, series, stat, table

TABLE = metrics.load()
RATE = "[$__rate_interval]"
GREEN, ORANGE, RED = "green", "orange", "red"


def rate(metric: str, by: str = "") -> str:
    """Sum of a counter's rate, by labels."""
    return f"sum{f' by ({by})' if by else ''} (rate({metric}{RATE}))"


def quantiles(metric: str, by: str = "", of: tuple[float, ...] = (0.5, 0.95)) -> list[Query]:
    groups = f"{by}, le" if by else "le"
    names = [name.strip() for name in by.split(",") if name.strip()]
    legend = " ".join(f"{{{{{name}}}}}" for name in names)
    return [
        Query(
            f"histogram_quantile({q:g}, sum by ({groups}) (rate({metric}_bucket{RATE})))",
            f"{legend} p{q * 100:g}".strip(),
        )
        for q in of
    ]


PASS_RATIO = (
    f'{rate("""tactus_trajectory_verdicts_total{verdict="pass"}""")} / ({rate("tactus_trajectory_verdicts_total")} > 0)'
)
WAIT_RATIO = f'max by (run) (rate(tactus_learner_phase_seconds_total{{phase="wait_trajectories",rank="0"}}{RATE}))'
CHECKPOINT_AGE = "time() - max by (run) (tactus_checkpoint_last_success_timestamp_seconds > 0)"
NON_FINITE = "sum(increase(tactus_nonfinite_values_total[$__range]))"
CERTIFICATE_LEFT = "min by (instance, certificate) (tactus_tls_certificate_expiry_timestamp_seconds > 0) - time()"
# A learner step takes longer than most rate intervals, in which a rate would be 0 or far too high.
STEP_SECONDS = "max by (run) (run:tactus_learner_step_duration_seconds:mean_rate6h)"
VERSION_LAG = (
    'max by (run) (tactus_weight_version{job="learner"}) - on (run) group_right () '
    'max by (run, instance) (tactus_weight_version{job="actor"})'
)


def reward(width: int = 24) -> Panel:
    return series(
        "Reward by task, and pass@k on held-out prompts",
        "short",
        "Mean reward of the last batch; the held-out value is of the last evaluation, and missing before the first.",
        [
            Query('avg by (run, env) (tactus_reward_mean{component="total"})', "{{run}} {{env}} reward"),
            Query("max by (run, env, k) (tactus_eval_pass_ratio)", "{{run}} {{env}} held-out pass@{{k}}"),
        ],
        width=width,
    )


def step_phases() -> Panel:
    steps = f"(sum (rate(tactus_learner_step_duration_seconds_count{RATE})) > 0)"
    seconds = f'sum by (phase) (rate(tactus_learner_phase_seconds_total{{rank="0"}}{RATE}))'
    return series(
        "Step time by phase (rank 0)",
        "s",
        "Where a step's time goes. Waiting for trajectories is the actors' side; the rest is the learner's.",
        [Query(f"{seconds} / ignoring (phase) group_left () {steps}", "{{phase}}")],
        stacked=True,
        width=12,
    )


def rank_phases() -> Panel:
    return series(
        "Share of time by rank and phase",
        "percentunit",
        "Ranks above 0 wait for rank 0's orders, which counts as waiting for trajectories.",
        [Query(rate("tactus_learner_phase_seconds_total", "rank, phase"), "{{rank}} {{phase}}")],
        stacked=True,
        width=12,
    )


def of_step(name: str, width: int = 8, **kwargs) -> Panel:
    """A gauge of the last learner step, as its row tells it."""
    metric = TABLE[name]
    by = ["run", *metric.labels]
    units = {"ratio": "percentunit", "seconds": "s"}
    query = Query(f"max by ({', '.join(by)}) ({name})", " ".join(f"{{{{{label}}}}}" for label in by))
    return series(metric.title, units.get(metric.unit, "short"), metric.help, [query], width=width, **kwargs)


def mismatch_kl(width: int) -> Panel:
    return of_step("tactus_sampler_mismatch_kl_nats", width, thresholds=[(None, GREEN), (0.01, RED)])


def staleness(width: int = 12) -> Panel:
    return heatmap(
        "Staleness of trained completions",
        "short",
        "Versions between the first token's weights and training.",
        f"sum by (le) (increase(tactus_trajectory_staleness_versions_bucket{RATE}))",
        width=width,
    )


def rejections(width: int = 12) -> Panel:
    return series(
        "Rejections and drops",
        "cps",
        "Completions refused on receipt, and accepted ones that were not trained, by reason.",
        [
            Query(rate("tactus_trajectories_rejected_total", "reason"), "rejected: {{reason}}"),
            Query(rate("tactus_trajectories_dropped_total", "reason"), "dropped: {{reason}}"),
        ],
        width=width,
    )


def checkpoint_age(width: int) -> Panel:
    return stat(
        "Last checkpoint",
        "s",
        "Age of the newest complete checkpoint of this process.",
        [Query(CHECKPOINT_AGE, "{{run}}")],
        width=width,
        thresholds=[(None, GREEN), (3600, ORANGE), (7200, RED)],
    )


def checkpoint_time(width: int = 12) -> Panel:
    return series(
        "Checkpoint time",
        "s",
        "95th percentile by phase; the learner waits for all of them.",
        quantiles("tactus_checkpoint_duration_seconds", "phase", (0.95,)),
        width=width,
    )


def checkpoint_outcomes(width: int = 12) -> Panel:
    return series(
        "Checkpoints",
        "short",
        "Checkpoints in each interval, by outcome.",
        [Query(f"sum by (run, outcome) (increase(tactus_checkpoints_total{RATE}))", "{{run}} {{outcome}}")],
        width=width,
    )


def certificate(width: int = 8) -> Panel:
    return series(
        "Certificate validity left",
        "s",
        "Time until the certificate files expire; nothing in plaintext.",
        [Query(CERTIFICATE_LEFT, "{{instance}} {{certificate}}")],
        width=width,
    )


def cpu(width: int = 8) -> Panel:
    return series(
        "CPU",
        "short",
        "Cores in use by each process.",
        [Query(f"sum by (instance) (rate(process_cpu_seconds_total{RATE}))", "{{instance}}")],
        width=width,
    )


def memory(width: int = 8) -> Panel:
    return series(
        "Resident memory",
        "bytes",
        "Memory of each process.",
        [Query("max by (instance) (process_resident_memory_bytes)", "{{instance}}")],
        width=width,
    )


def weight_times(width: int = 12) -> Panel:
    publish, load = "tactus_weight_publish_duration_seconds", "tactus_weight_load_duration_seconds"
    return series(
        "Weights: publish and load",
        "s",
        "95th percentile of making a version available (learner), and of fetching and checking it (actor).",
        [
            Query(quantiles(publish, "", (0.95,))[0].expr, "publish p95"),
            Query(quantiles(load, "", (0.95,))[0].expr, "load p95"),
        ],
        width=width,
    )


def actors_table() -> Panel:
    link = {
        "title": "This actor",
        "targetBlank": False,
        "url": "/d/tactus-actors?var-instance=${__value.text}&${datasource:queryparam}&${run:queryparam}",
    }
    return table(
        "Actors",
        "One row an actor: what it samples, how long it is blocked, how far its weights are behind.",
        [
            (
                "Tokens/s",
                "short",
                f'sum by (run, instance) (rate(tactus_actor_tokens_total{{kind="completion"}}{RATE}))',
            ),
            ("Blocked", "percentunit", f"sum by (run, instance) (rate(tactus_actor_blocked_seconds_total{RATE}))"),
            ("Versions behind", "short", VERSION_LAG),
            ("Running", "short", 'sum by (run, instance) (tactus_actor_requests{state="running"})'),
            ("KV pages", "percentunit", "max by (run, instance) (tactus_actor_kv_cache_usage_ratio)"),
        ],
        ["run", "instance"],
        link=link,
        width=24,
    )
