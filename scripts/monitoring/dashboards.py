"""What the five dashboards show. scripts/monitoring/make.py writes them to deploy/grafana/dashboards/."""

import json

from monitoring.panels import Query, dashboard, series, stat, table
from monitoring.process_dashboards import actors, learner
from monitoring.shared_panels import (
    GREEN,
    ORANGE,
    RED,
    PASS_RATIO,
    STEP_SECONDS,
    TABLE,
    WAIT_RATIO,
    NON_FINITE,
    actors_table,
    certificate,
    checkpoint_age,
    checkpoint_outcomes,
    checkpoint_time,
    cpu,
    memory,
    mismatch_kl,
    of_step,
    step_phases,
    quantiles,
    rate,
    rejections,
    reward,
    staleness,
    weight_times,
)


def overview() -> dict:
    stats = [
        stat(
            "Mean reward",
            "short",
            "Of the last batch.",
            [Query('avg(tactus_reward_mean{component="total"})', "reward")],
        ),
        stat(
            "Pass ratio", "percentunit", "Share of the trained completions that are right.", [Query(PASS_RATIO, "pass")]
        ),
        stat(
            "Steps per hour",
            "short",
            "Learner steps, by their mean time in the last six hours.",
            [Query(f"3600 / {STEP_SECONDS}", "{{run}}")],
        ),
        stat(
            "Trained tokens",
            "cps",
            "Completion tokens trained a second.",
            [Query(rate('tactus_learner_tokens_total{kind="completion"}'), "tokens/s")],
        ),
        stat(
            "Learner waits",
            "percentunit",
            "Share of its time that the learner waits for trajectories.",
            [Query(WAIT_RATIO, "{{run}}")],
            thresholds=[(None, GREEN), (0.3, ORANGE), (0.5, RED)],
        ),
        stat(
            "Actors connected, desired",
            "short",
            "Desired is what the autoscaler aims at.",
            [Query("sum(tactus_actors_connected)", "connected"), Query("sum(tactus:actors_desired)", "desired")],
        ),
        stat(
            "Staleness p95",
            "short",
            "Versions between sampling and training.",
            quantiles("tactus_trajectory_staleness_versions", "", (0.95,)),
            width=2,
        ),
        checkpoint_age(2),
        stat(
            "Not finite",
            "short",
            "NaN or infinity seen in the dashboard's time range.",
            [Query(NON_FINITE, "values")],
            width=2,
            thresholds=[(None, GREEN), (1, RED)],
        ),
    ]
    mean_tokens = f"({rate('tactus_completion_tokens_sum')} / ({rate('tactus_completion_tokens_count')} > 0))"
    throughput = series(
        "Throughput",
        "cps",
        "Completion tokens a second on their way. Accepted ones are counted in completions: times the mean length.",
        [
            Query(rate('tactus_actor_tokens_total{kind="completion"}'), "generated"),
            Query(f"{rate('tactus_trajectories_accepted_total')} * {mean_tokens}", "accepted"),
            Query(rate('tactus_learner_tokens_total{kind="completion"}'), "trained"),
        ],
        width=12,
    )
    truncated = f"{rate('tactus_completions_truncated_total')} / ({rate('tactus_completion_tokens_count')} > 0)"
    return dashboard(
        "tactus-overview",
        "Tactus / Overview",
        "One look at a run: is it learning, is it fast, is it safe?",
        [
            ("Now", stats),
            ("Reward", [reward()]),
            ("Speed", [throughput, step_phases()]),
            ("Staleness", [staleness(), rejections()]),
            (
                "Stability",
                [
                    of_step("tactus_policy_entropy_nats", 5),
                    of_step("tactus_policy_kl_nats", 5),
                    mismatch_kl(5),
                    of_step("tactus_clip_ratio", 5),
                    of_step("tactus_gradient_norm", 4),
                ],
            ),
            (
                "Completions",
                [
                    series(
                        "Completion length",
                        "short",
                        "Tokens of the trained completions.",
                        quantiles("tactus_completion_tokens"),
                        width=12,
                    ),
                    series(
                        "Truncated",
                        "percentunit",
                        "Share of completions cut at rollout.max_completion_tokens.",
                        [Query(truncated, "truncated")],
                        width=12,
                    ),
                ],
            ),
            ("Actors", [actors_table()]),
            (
                "Weights",
                [
                    weight_times(),
                    series(
                        "Weights on the network",
                        "Bps",
                        "Sent by learners and received by actors.",
                        [Query(rate("tactus_weight_transfer_bytes_total", "job"), "{{job}}")],
                        width=12,
                    ),
                ],
            ),
            ("Checkpoints", [checkpoint_time(), checkpoint_outcomes()]),
            (
                "GPU",
                [
                    series(
                        "GPU use",
                        "percent",
                        "From NVIDIA's DCGM exporter, of all GPUs that Prometheus knows.",
                        [Query("max by (Hostname, gpu) (DCGM_FI_DEV_GPU_UTIL)", "{{Hostname}} {{gpu}}")],
                        width=6,
                    ),
                    series(
                        "Tensor cores active",
                        "percentunit",
                        "Share of cycles in which the tensor cores are busy.",
                        [Query("max by (Hostname, gpu) (DCGM_FI_PROF_PIPE_TENSOR_ACTIVE)", "{{Hostname}} {{gpu}}")],
                        width=6,
                    ),
                    series(
                        "GPU memory in use",
                        "decmbytes",
                        "Frame buffer in use.",
                        [Query("max by (Hostname, gpu) (DCGM_FI_DEV_FB_USED)", "{{Hostname}} {{gpu}}")],
                        width=6,
                    ),
                    series(
                        "Last XID error",
                        "short",
                        "0 = none; NVIDIA's documentation lists the numbers.",
                        [Query("max by (Hostname, gpu) (DCGM_FI_DEV_XID_ERRORS)", "{{Hostname}} {{gpu}}")],
                        width=6,
                    ),
                ],
            ),
            ("Processes", [cpu(), memory(), certificate()]),
        ],
    )


def rhythm() -> dict:
    return dashboard(
        "tactus-rhythm",
        "Tactus / Rhythm and credit",
        "Which tokens get more credit, and the attention rhythm behind it (docs/rhythm.md).",
        [
            (
                "Credit",
                [
                    of_step("tactus_credit_mean"),
                    of_step("tactus_credit_amplified_ratio"),
                    of_step("tactus_credit_overlap_ratio"),
                    of_step("tactus_credit_lag_versions", 12),
                    series(
                        "Audited completions",
                        "cps",
                        "Trained completions that carried their raw attention metrics.",
                        [Query(rate("tactus_rhythm_completions_total", "run"), "{{run}}")],
                        width=12,
                    ),
                ],
            ),
            (
                "Rhythm",
                [
                    of_step("tactus_rhythm_waad_tokens"),
                    of_step("tactus_rhythm_fai_ratio"),
                    of_step("tactus_rhythm_peak_entropy_correlation"),
                ],
            ),
        ],
    )


def reliability() -> dict:
    total = "sum by (run) ({})".format
    received = total("tactus_trajectories_received_total")
    accepted, rejected = total("tactus_trajectories_accepted_total"), total("tactus_trajectories_rejected_total")
    trained, dropped = total("tactus_trajectories_trained_total"), total("tactus_trajectories_dropped_total")
    return dashboard(
        "tactus-reliability",
        "Tactus / Reliability",
        "Is anything lost, late, refused or about to fail?",
        [
            (
                "Alerts",
                [
                    table(
                        "Alerts",
                        "Firing and pending alerts; the runbook (above) has a section for each.",
                        [("Alerts", "short", 'sum by (alertstate, severity, run, alertname) (ALERTS{alertname!=""})')],
                        ["severity", "alertstate", "run", "alertname"],
                        hidden=("Value",),
                        width=16,
                    ),
                    stat(
                        "Processes that answer",
                        "short",
                        "Targets of the last scrape.",
                        [Query("sum(up) or vector(0)", "up"), Query("count(up == 0) or vector(0)", "down")],
                        width=4,
                    ),
                    checkpoint_age(4),
                ],
            ),
            (
                "Delivery",
                [
                    series(
                        "Where completions are",
                        "cps",
                        "Received is accepted and rejected; accepted is trained, dropped and queued.",
                        [
                            Query(rate("tactus_trajectories_received_total"), "received"),
                            Query(rate("tactus_trajectories_accepted_total"), "accepted"),
                            Query(rate("tactus_trajectories_trained_total"), "trained"),
                        ],
                    ),
                    series(
                        "Unaccounted completions",
                        "short",
                        "Both stay at 0, the second below 0 after a resume: what is left of the books.",
                        [
                            Query(f"{received} - {accepted} - {rejected}", "{{run}} received less accepted, rejected"),
                            Query(
                                f"{accepted} - {trained} - {dropped} - {total('tactus_trajectory_queue_depth')}",
                                "{{run}} accepted less trained, dropped, queued",
                            ),
                        ],
                    ),
                    rejections(8),
                    series(
                        "Queue",
                        "short",
                        "Completions accepted and not yet trained, and how many there may be.",
                        [
                            Query("max by (run) (tactus_trajectory_queue_depth)", "{{run}} depth"),
                            Query("max by (run) (tactus_trajectory_queue_capacity)", "{{run}} capacity"),
                        ],
                    ),
                    series(
                        "Queue memory",
                        "bytes",
                        "Memory of what waits.",
                        [Query("max by (run) (tactus_trajectory_queue_bytes)", "{{run}}")],
                    ),
                    series(
                        "Prompts",
                        "short",
                        "In the ledger, by state.",
                        [Query("sum by (state) (tactus_prompts)", "{{state}}")],
                        stacked=True,
                    ),
                    series(
                        "Leases",
                        "cps",
                        "Expired ones are answered again elsewhere.",
                        [Query(rate("tactus_leases_total", "event"), "{{event}}")],
                    ),
                    series(
                        "Acknowledgement",
                        "s",
                        "From a group's last byte to its acknowledgement: to disk and back.",
                        quantiles("tactus_ingest_ack_duration_seconds", "", (0.5, 0.99)),
                    ),
                    series(
                        "Streams refused",
                        "cps",
                        "Actors turned away, by reason.",
                        [Query(rate("tactus_streams_refused_total", "reason"), "{{reason}}")],
                    ),
                    series(
                        "Rewards disagreed with",
                        "cps",
                        "Completions whose reward is not what the learner's own verifier gives them.",
                        [Query(rate("tactus_reward_disagreements_total"), "completions")],
                    ),
                    staleness(24),
                ],
            ),
            ("Checkpoints", [checkpoint_time(), checkpoint_outcomes()]),
            (
                "Faults",
                [
                    series(
                        "Collective operations aborted",
                        "cps",
                        "The rank exits then.",
                        [Query(rate("tactus_collective_aborts_total", "instance"), "{{instance}}")],
                    ),
                    series(
                        "Metric updates rejected",
                        "cps",
                        "A bug in Tactus.",
                        [Query(rate("tactus_metric_updates_rejected_total", "instance"), "{{instance}}")],
                    ),
                    certificate(),
                ],
            ),
            (
                "Processes",
                [
                    cpu(6),
                    memory(6),
                    series(
                        "Open files",
                        "percentunit",
                        "File descriptors in use, of those the process may have.",
                        [
                            Query(
                                "max by (instance) (process_open_fds) / max by (instance) (process_max_fds)",
                                "{{instance}}",
                            )
                        ],
                        width=6,
                        thresholds=[(None, GREEN), (0.8, RED)],
                    ),
                    series(
                        "Threads",
                        "short",
                        "Of each process.",
                        [Query("max by (instance) (process_threads)", "{{instance}}")],
                        width=6,
                    ),
                    series(
                        "Time since the start",
                        "s",
                        "Falls to 0 when a process starts anew.",
                        [Query("time() - max by (instance) (process_start_time_seconds)", "{{instance}}")],
                        width=12,
                    ),
                    table(
                        "Builds",
                        "The build of each process: all of a run should be one.",
                        [("Processes", "short", "count by (run, job, version, commit) (tactus_build_info)")],
                        ["run", "job", "version", "commit"],
                        width=12,
                    ),
                ],
            ),
        ],
    )


def all_dashboards() -> list[dict]:
    """A gauge of a step that no panel names has one of its own at the learner's end."""
    named = json.dumps([overview(), learner([]), rhythm(), reliability()])
    others = [name for name, metric in TABLE.items() if metric.of_step and name not in named]
    return [overview(), actors(), learner(others), rhythm(), reliability()]
