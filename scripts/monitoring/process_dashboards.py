"""The dashboards of the two kinds of process: actors, and learner ranks."""

from monitoring.panels import dashboard, line, stat
from monitoring.shared_panels import (
    GREEN, LEFT, MFU, ORANGE, RANGE, RED, VERSION_LAG, actors_table, actors_wanted, increase, lengths, mismatch_kl, newest,
    of_step, policy_kl, processes, quantiles, rate, ratio, reward, step_phases, throughput,
)  # fmt: skip


def _each(title: str, unit: str, about: str, expr: str, legend: str = "{{instance}}", **kwargs):
    """A line for each process."""
    return line(title, unit, about, (expr, legend), **kwargs)


def actors() -> dict:
    both = [(newest(f"run:tactus_{name}"), f"{{{{run}}}} {what}")
            for name, what in [("learner_wait:ratio_rate5m", "learner waits"), ("actor_blocked:ratio_rate5m", "actors blocked"),
                               ("trajectories_stale:ratio_rate10m", "stale drops")]]  # fmt: skip
    fleet = [
        actors_wanted(),
        line("Both sides' waiting", "percentunit", "In five minutes; stale drops, which hold the desired number, in ten.", *both),
        line("Completions by outcome", "cps", "How completions ended, as the actors saw it.",
             (rate("tactus_actor_trajectories_total", "outcome"), "{{outcome}}")),
    ]  # fmt: skip
    environment = [
        line("Calls by outcome", "cps", "Calls of a user's reward server, each of one group. Anything but ok is repeated.",
             (rate("tactus_environment_calls_total", "outcome"), "{{outcome}}")),
        line("Time of a call", "s", "Near environment.timeout_s calls are given up: a faster server, more of them, or a longer time.",
             *quantiles("tactus_environment_call_duration_seconds")),
    ]  # fmt: skip
    speed = [
        _each("Sampled tokens", "cps", "Tokens of finished completions.",
              rate('tactus_actor_tokens_total{kind="completion"}', "instance")),
        _each("Busy", "percentunit", "Share of time in engine steps.", rate("tactus_actor_busy_seconds_total", "instance")),
        _each("Blocked, by reason", "percentunit", "Share of time without work: no prompt to get, weights, scoring, or no learner.",
              rate("tactus_actor_blocked_seconds_total", "instance, reason"), "{{instance}} {{reason}}"),
    ]  # fmt: skip
    engine = [
        _each("Completions in the engine", "short", "Being decoded, and leased ones that wait for it.",
              "sum by (instance, state) (tactus_actor_requests)", "{{instance}} {{state}}"),
        _each("Key/value pages in use", "percentunit", "Near 1 completions are put back and computed again.",
              newest("tactus_actor_kv_cache_usage_ratio", "instance"), thresholds=[(None, GREEN), (0.95, ORANGE)]),
        _each("Preemptions", "cps", "Completions put back for want of pages.", rate("tactus_actor_preemptions_total", "instance")),
    ]  # fmt: skip
    weights = [
        _each("Versions behind the learner", "short", "Steps between the learner's weights and the actor's.", VERSION_LAG),
        line("Loading weights", "s", "Time to fetch and check a version, in $window.",
             *quantiles("tactus_weight_load_duration_seconds", "instance")),
        _each("Weights received", "bytes", "Bytes of weights fetched in $window.",
              increase('tactus_weight_transfer_bytes_total{job="actor"}', "instance")),
        line("Weights between actors", "bytes", "Bytes of weights from other actors and to them in $window; 0 without a relay.",
             (increase("tactus_weight_relay_bytes_total", "way"), "{{way}}")),
    ]  # fmt: skip
    return dashboard(
        "tactus-actors",
        "Tactus / Actors",
        "Every actor: speed, waiting, memory, weights, and how many are needed.",
        [
            ("Fleet", fleet),
            ("Environment", environment),
            ("Each actor", [actors_table()]),
            ("Speed", speed),
            ("Engine", engine),
            ("Weights", weights),
            ("Processes", processes()),
        ],
    )


def learner(others: list[str]) -> dict:
    """`others`: gauges of a step that no other panel shows."""
    progress = [
        stat("Step", "short", "Steps done, and planned.", (newest("tactus_learner_step"), "done"),
             (newest("tactus_learner_steps_planned"), "planned"), width=6),
        stat("Time left", "s", "To the planned steps, by their mean time in the last six hours.", (LEFT, "{{run}}"), width=6),
        stat("Since the last step", "s", "Rises when the run stands still.",
             (f"time() - {newest('tactus_learner_last_step_timestamp_seconds > 0')}", "{{run}}"), width=6),
        stat("Updates skipped", "short", "Optimizer steps without effect in the time range: a gradient was not finite.",
             (f'sum(increase(tactus_learner_steps_total{{outcome="skipped"}}{RANGE}))', "skipped"), width=6,
             thresholds=[(None, GREEN), (1, RED)]),
    ]  # fmt: skip
    phase = "tactus_learner_phase_seconds_total"
    time = [
        line("Step time", "s", "Waiting included: the last step's, and quantiles of $window.",
             (newest("tactus_step_seconds"), "{{run}} last"), *quantiles("tactus_learner_step_duration_seconds")),
        step_phases(8),
        line("Share of time by rank and phase", "percentunit",
             "Of $window. Ranks above 0 wait for rank 0's orders, which counts as waiting for trajectories.",
             (f"{rate(phase, 'run, rank, phase', '[$window]')} / on (run, rank) group_left () "
              f"({rate(phase, 'run, rank', '[$window]')} > 0)", "{{rank}} {{phase}}"), stacked=True),
    ]  # fmt: skip
    work = [
        throughput(),
        line("MFU", "percentunit", "6 x parameters x tokens of the last step, by $peak of all ranks.", (MFU, "{{run}}")),
        line("Publishing weights", "s", "Time to make a version available, in $window.",
             *quantiles("tactus_weight_publish_duration_seconds")),
        line("Size of a version", "bytes", "All weights, and what changed since the version before, where that is sent.",
             ("max by (run, form) (tactus_weight_set_bytes)", "{{form}}")),
        line("Versions published", "short", "Of $window, by what actors with the version before are sent.",
             (increase("tactus_weight_versions_total", "form"), "{{form}}")),
        lengths(12),
        line("Truncated", "percentunit", "Share of completions of $window cut at rollout.max_completion_tokens.",
             (ratio("tactus_completions_truncated_total", "tactus_completion_tokens_count"), "{{run}}"), width=12),
    ]  # fmt: skip
    rewards = [
        line("Reward by component", "short", "Means of the last batch.",
             ("avg by (env, component) (tactus_reward_mean)", "{{env}} {{component}}"),
             ("avg by (env) (tactus_reward_stddev)", "{{env}} standard deviation")),
        of_step("tactus_advantage"),
        line("Groups", "percentunit", "Of $window. All right or all wrong: no signal.",
             (ratio("tactus_groups_total", "tactus_groups_total", "run, kind"), "{{run}} {{kind}}"), stacked=True),
        line("Verdicts", "percentunit", "Of the completions trained in $window.",
             (ratio("tactus_trajectory_verdicts_total", "tactus_trajectory_verdicts_total", "run, verdict"), "{{run}} {{verdict}}"),
             stacked=True),
        reward(8),
        line("Values not finite", "short", "Of $window, by where they were met.",
             (increase("tactus_nonfinite_values_total", "where"), "{{where}}")),
    ]  # fmt: skip
    policy = [*[of_step(f"tactus_{x}", 6) for x in ("policy_entropy_nats", "clip_ratio")], policy_kl(6), mismatch_kl(6),
              *[of_step(f"tactus_{x}") for x in ("sampler_mismatch_logprob_nats", "importance_weight", "importance_weight_capped_ratio")]]  # fmt: skip
    return dashboard(
        "tactus-learner",
        "Tactus / Learner and numerics",
        "The learner's steps, and what they do to the policy.",
        [
            ("Progress", progress),
            ("Time", time),
            ("Work", work),
            ("Loss and optimizer", [of_step(f"tactus_{x}") for x in ("loss", "gradient_norm", "learning_rate")]),
            ("Policy", policy),
            ("Rewards", rewards),
            *([("Other numbers of a step", [of_step(name) for name in others])] if others else []),
        ],
    )
