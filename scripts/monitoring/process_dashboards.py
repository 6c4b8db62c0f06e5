"""The dashboards of the two kinds of process: actors, and learner ranks."""

from monitoring.panels import Query, dashboard, series, stat
from monitoring.shared_panels import (
    RATE,
    GREEN,
    ORANGE,
    RED,
    STEP_SECONDS,
    VERSION_LAG,
    actors_table,
    cpu,
    memory,
    mismatch_kl,
    of_step,
    rank_phases,
    quantiles,
    rate,
    reward,
)


def actors() -> dict:
    return dashboard(
        "tactus-actors",
        "Tactus / Actors",
        "Every actor: speed, waiting, memory, weights, and how many are needed.",
        [
            (
                "Fleet",
                [
                    series(
                        "Actors: connected, desired",
                        "short",
                        "Desired: connected x (1 - blocked) / (1 - learner waits); held while stale drops exceed 5 %.",
                        [
                            Query("sum by (run) (tactus_actors_connected)", "{{run}} connected"),
                            Query("sum by (run) (tactus:actors_desired)", "{{run}} desired"),
                            Query("sum by (run) (tactus:actors_desired_unheld)", "{{run}} desired, without the hold"),
                        ],
                    ),
                    series(
                        "Both sides' waiting",
                        "percentunit",
                        "What the desired number is made of.",
                        [
                            Query("max by (run) (run:tactus_learner_wait:ratio_rate5m)", "{{run}} learner waits"),
                            Query("max by (run) (run:tactus_actor_blocked:ratio_rate5m)", "{{run}} actors blocked"),
                            Query("max by (run) (run:tactus_trajectories_stale:ratio_rate10m)", "{{run}} stale drops"),
                        ],
                    ),
                    series(
                        "Completions by outcome",
                        "cps",
                        "How completions ended, as the actors saw it.",
                        [Query(rate("tactus_actor_trajectories_total", "outcome"), "{{outcome}}")],
                    ),
                ],
            ),
            ("Each actor", [actors_table()]),
            (
                "Speed",
                [
                    series(
                        "Sampled tokens",
                        "cps",
                        "Tokens of finished completions.",
                        [Query(rate('tactus_actor_tokens_total{kind="completion"}', "instance"), "{{instance}}")],
                    ),
                    series(
                        "Busy",
                        "percentunit",
                        "Share of time in engine steps.",
                        [Query(rate("tactus_actor_busy_seconds_total", "instance"), "{{instance}}")],
                    ),
                    series(
                        "Blocked, by reason",
                        "percentunit",
                        "Share of time without work: no prompt to get, weights, scoring, or no learner.",
                        [
                            Query(
                                rate("tactus_actor_blocked_seconds_total", "instance, reason"),
                                "{{instance}} {{reason}}",
                            )
                        ],
                    ),
                ],
            ),
            (
                "Engine",
                [
                    series(
                        "Completions in the engine",
                        "short",
                        "Being decoded, and leased ones that wait for it.",
                        [Query("sum by (instance, state) (tactus_actor_requests)", "{{instance}} {{state}}")],
                    ),
                    series(
                        "Key/value pages in use",
                        "percentunit",
                        "Near 1 completions are put back and computed again.",
                        [Query("max by (instance) (tactus_actor_kv_cache_usage_ratio)", "{{instance}}")],
                        thresholds=[(None, GREEN), (0.95, ORANGE)],
                    ),
                    series(
                        "Preemptions",
                        "cps",
                        "Completions put back for want of pages.",
                        [Query(rate("tactus_actor_preemptions_total", "instance"), "{{instance}}")],
                    ),
                ],
            ),
            (
                "Weights",
                [
                    series(
                        "Versions behind the learner",
                        "short",
                        "Steps between the learner's weights and the actor's.",
                        [Query(VERSION_LAG, "{{instance}}")],
                    ),
                    series(
                        "Loading weights",
                        "s",
                        "Time to fetch and check a version.",
                        quantiles("tactus_weight_load_duration_seconds", "instance", (0.5, 0.95)),
                    ),
                    series(
                        "Weights received",
                        "Bps",
                        "Bytes of weights fetched.",
                        [Query(rate('tactus_weight_transfer_bytes_total{job="actor"}', "instance"), "{{instance}}")],
                    ),
                ],
            ),
            ("Processes", [cpu(12), memory(12)]),
        ],
    )


def learner(others: list[str]) -> dict:
    """`others`: gauges of a step that no other panel shows."""
    left = f"(max by (run) (tactus_learner_steps_planned) - max by (run) (tactus_learner_step)) * {STEP_SECONDS}"
    return dashboard(
        "tactus-learner",
        "Tactus / Learner and numerics",
        "The learner's steps, and what they do to the policy.",
        [
            (
                "Progress",
                [
                    stat(
                        "Step",
                        "short",
                        "Steps done, and planned.",
                        [
                            Query("max by (run) (tactus_learner_step)", "done"),
                            Query("max by (run) (tactus_learner_steps_planned)", "planned"),
                        ],
                        width=6,
                    ),
                    stat(
                        "Time left",
                        "s",
                        "To the planned steps, by their mean time in the last six hours.",
                        [Query(left, "{{run}}")],
                        width=6,
                    ),
                    stat(
                        "Since the last step",
                        "s",
                        "Rises when the run stands still.",
                        [Query("time() - max by (run) (tactus_learner_last_step_timestamp_seconds > 0)", "{{run}}")],
                        width=6,
                    ),
                    stat(
                        "Updates skipped",
                        "short",
                        "Optimizer steps without effect in the time range: a gradient was not finite.",
                        [Query('sum(increase(tactus_learner_steps_total{outcome="skipped"}[$__range]))', "skipped")],
                        width=6,
                        thresholds=[(None, GREEN), (1, RED)],
                    ),
                ],
            ),
            (
                "Time",
                [
                    series(
                        "Step time",
                        "s",
                        "Waiting included.",
                        quantiles("tactus_learner_step_duration_seconds"),
                        width=12,
                    ),
                    rank_phases(),
                ],
            ),
            (
                "Work",
                [
                    series(
                        "Tokens",
                        "cps",
                        "Computed and trained on, over all ranks.",
                        [Query(rate("tactus_learner_tokens_total", "kind"), "{{kind}}")],
                    ),
                    series(
                        "Model FLOP/s",
                        "flops",
                        "6 x parameters x tokens; over the hardware's peak it is the MFU.",
                        [Query(rate("tactus_learner_model_flops_total", "run"), "{{run}}")],
                    ),
                    series(
                        "Optimizer steps",
                        "cps",
                        "By outcome.",
                        [Query(rate("tactus_learner_steps_total", "outcome"), "{{outcome}}")],
                    ),
                ],
            ),
            (
                "Loss and optimizer",
                [
                    of_step("tactus_loss"),
                    of_step("tactus_gradient_norm"),
                    of_step("tactus_learning_rate"),
                ],
            ),
            (
                "Policy",
                [
                    of_step("tactus_policy_entropy_nats", 6),
                    of_step("tactus_policy_kl_nats", 6),
                    of_step("tactus_clip_ratio", 6),
                    mismatch_kl(6),
                    of_step("tactus_sampler_mismatch_logprob_nats"),
                    of_step("tactus_importance_weight"),
                    of_step("tactus_importance_weight_capped_ratio"),
                ],
            ),
            (
                "Rewards",
                [
                    series(
                        "Reward by component",
                        "short",
                        "Means of the last batch.",
                        [
                            Query("avg by (env, component) (tactus_reward_mean)", "{{env}} {{component}}"),
                            Query("avg by (env) (tactus_reward_stddev)", "{{env}} standard deviation"),
                        ],
                    ),
                    of_step("tactus_advantage"),
                    series(
                        "Groups",
                        "cps",
                        "All right or all wrong: no signal.",
                        [Query(rate("tactus_groups_total", "kind"), "{{kind}}")],
                        stacked=True,
                    ),
                    series(
                        "Verdicts",
                        "cps",
                        "Of the trained completions.",
                        [Query(rate("tactus_trajectory_verdicts_total", "verdict"), "{{verdict}}")],
                        stacked=True,
                    ),
                    reward(8),
                    series(
                        "Values not finite",
                        "short",
                        "In each interval, by where they were met.",
                        [Query(f"sum by (where) (increase(tactus_nonfinite_values_total{RATE}))", "{{where}}")],
                    ),
                ],
            ),
            *([("Other numbers of a step", [of_step(name) for name in others])] if others else []),
        ],
    )
