"""The dashboards of runs: one of them, several over the number of the step, all that are there."""

from monitoring.panels import Panel, Query, dashboard, line, stat, table
from monitoring.shared_panels import (
    ACTORS_BLOCKED, CHECKPOINT_AGE, CONNECTED, COST_PER_HOUR, GREEN, LEARNER_WAITS, LEFT, MFU, ORANGE, RANKS, RED,
    STEPS_PER_HOUR, TRAINED, actors_wanted, alerts, books, checkpoint_age, held_out_sets, lengths, newest, not_finite, of_step,
    of_steps, policy_kl, rejections, reward, source_groups, sources, step_phases, throughput, waiting,
)  # fmt: skip


def run() -> dict:
    head = [
        stat("Step", "short", "Steps done, and planned.", (newest("tactus_learner_step"), "done"),
             (newest("tactus_learner_steps_planned"), "planned"), width=4),
        stat("Steps an hour", "short", "As fast as the last step.", (STEPS_PER_HOUR, "{{run}}"), width=4),
        stat("Time left", "s", "To the planned steps, by their mean time in the last six hours.", (LEFT, "{{run}}"), width=4),
        stat("Since the last step", "s", "Rises when the run stands still.",
             (f"time() - {newest('tactus_learner_last_step_timestamp_seconds > 0')}", "{{run}}"), width=4),
        stat("Cost", "short", "Of an hour and of the last step: a GPU for each rank and each connected actor, by $price.",
             (COST_PER_HOUR, "an hour"), (f"{COST_PER_HOUR} * on (run) {newest('tactus_step_seconds')} / 3600", "a step"), width=4),
        checkpoint_age(4),
    ]  # fmt: skip
    mfu = line("MFU", "percentunit", "Operations of the trained tokens (6 a parameter) by $peak of each rank's GPU, in the last step.",
               (MFU, "{{run}}"), width=8)  # fmt: skip
    return dashboard(
        "tactus-run",
        "Tactus / Run",
        "One look at a run: is it learning, is it fast, is it safe?",
        [
            ("Now", head),
            ("Is it learning?", [reward(12), lengths(12), of_step("tactus_policy_entropy_nats"), policy_kl(8),
                                 of_step("tactus_gradient_norm"), held_out_sets(24), sources(12), source_groups(12)]),
            ("Is it fast?", [step_phases(8), throughput(), mfu, waiting(), actors_wanted(), of_step("tactus_step_staleness_versions")]),
            ("Is it safe?", [books(), rejections(8), not_finite(8), alerts(24)]),
        ],
    )  # fmt: skip


def compare() -> dict:
    return dashboard(
        "tactus-compare",
        "Tactus / Compare runs",
        "Runs over the number of their steps: choose them above.",
        [
            ("Policy", [of_steps("tactus_reward_mean", '{component="total"}', 12), of_steps("tactus_eval_pass_ratio", '{k="1"}', 12),
                        of_steps("tactus_completion_length_tokens"), of_steps("tactus_policy_entropy_nats"),
                        of_steps("tactus_policy_kl_nats", '{against="reference"}')]),
            ("Optimizer", [of_steps("tactus_gradient_norm"), of_steps("tactus_loss", '{term="total"}'),
                           of_steps("tactus_groups_zero_signal_ratio", title="Groups without signal")]),
            ("Speed", [of_steps("tactus_step_seconds"), of_steps("tactus_step_tokens_per_second", '{kind="trained"}'),
                       of_steps("tactus_step_staleness_versions", '{stat="mean"}')]),
        ],
    )  # fmt: skip


def _runs() -> Panel:
    columns = [
        ("Step", "short", newest("tactus_learner_step")),
        ("Done", "percentunit", f"{newest('tactus_learner_step')} / on (run) {newest('tactus_learner_steps_planned')}"),
        ("Reward", "short", 'avg by (run) (tactus_reward_mean{component="total"})'),
        ("Held-out", "percentunit", newest('tactus_eval_pass_ratio{k="1"}')),
        ("Steps/h", "short", STEPS_PER_HOUR),
        ("Tokens/s", "short", TRAINED),
        ("MFU", "percentunit", MFU),
        ("Waiting", "percentunit", LEARNER_WAITS),
        ("Blocked", "percentunit", ACTORS_BLOCKED),
        ("Ranks", "short", RANKS),
        ("Actors", "short", CONNECTED),
        ("Cost/h", "short", COST_PER_HOUR),
        ("Checkpoint", "s", CHECKPOINT_AGE),
        ("Alerts", "short", 'count by (run) (ALERTS{alertstate="firing"}) or 0 * count by (run) (tactus_actors_connected)'),
    ]
    link = {"title": "This run", "targetBlank": False, "url": "/d/tactus-run?var-run=${__value.text}&${datasource:queryparam}"}
    about = "One row a run that is scraped: Waiting is its learner's share of time, Blocked its actors'."
    return table("Runs", about, columns, ["run"], link=link, width=24, height=10)


def _gpu(title: str, unit: str, about: str, metric: str, **kwargs) -> Panel:
    return line(title, unit, about, (f"max by (Hostname, gpu) ({metric})", "{{Hostname}} {{gpu}}"), width=6, **kwargs)


def fleet() -> dict:
    waiting_in_queue = 'sum by (cluster_queue) (kueue_pending_workloads{status="active"})'
    free = ("min by (namespace, persistentvolumeclaim) (kubelet_volume_stats_available_bytes{persistentvolumeclaim=~\".+-run\"}"
            " / kubelet_volume_stats_capacity_bytes{persistentvolumeclaim=~\".+-run\"})")  # fmt: skip
    return dashboard(
        "tactus-fleet",
        "Tactus / Fleet",
        "All runs of the cluster: what each does and costs, and what they share.",
        [
            ("Runs", [_runs(), alerts(24)]),
            ("Machines", [
                line("GPUs: ranks and actors", "short", "One each, by run.", (f"{RANKS} + on (run) {CONNECTED}", "{{run}}"), stacked=True),
                line("Cost an hour", "short", "By $price.", (COST_PER_HOUR, "{{run}}"), stacked=True),
                line("Waiting in the queue", "short", "Workloads that Kueue has not admitted.", (waiting_in_queue, "{{cluster_queue}}")),
                line("Free space of the runs' volumes", "percentunit", "As the kubelets see them.",
                     (free, "{{namespace}}/{{persistentvolumeclaim}}"), thresholds=[(None, GREEN), (0.1, RED)], width=24),
            ]),
            ("GPUs, from NVIDIA's DCGM exporter", [
                _gpu("GPU use", "percent", "All GPUs that Prometheus knows.", "DCGM_FI_DEV_GPU_UTIL"),
                _gpu("Tensor cores active", "percentunit", "Share of cycles in which they are busy.", "DCGM_FI_PROF_PIPE_TENSOR_ACTIVE"),
                _gpu("GPU memory in use", "decmbytes", "Frame buffer in use.", "DCGM_FI_DEV_FB_USED"),
                _gpu("Last XID error", "short", "0 = none; NVIDIA's documentation lists the numbers.", "DCGM_FI_DEV_XID_ERRORS",
                     thresholds=[(None, GREEN), (1, RED)]),
            ]),
        ],
    )  # fmt: skip
