"""What the dashboards show. scripts/monitoring/make.py writes them to deploy/grafana/dashboards/."""

import json

from monitoring.panels import dashboard, line, stat, table
from monitoring.process_dashboards import actors, learner
from monitoring.run_dashboards import compare, fleet, run
from monitoring.shared_panels import (
    GREEN, RED, TABLE, WINDOW, alerts, books, certificate, checkpoint_age, checkpoint_outcomes, checkpoint_time,
    increase, newest, of_step, processes, quantiles, rate, rejections, staleness, upload_age,
)  # fmt: skip


def rhythm() -> dict:
    audited = line("Audited completions", "short", "Trained completions of $window that carried their raw attention metrics.",
                   (increase("tactus_rhythm_completions_total"), "{{run}}"), width=12)  # fmt: skip
    return dashboard(
        "tactus-rhythm",
        "Tactus / Rhythm and credit",
        "Which tokens get more credit, and the attention rhythm behind it (docs/rhythm.md).",
        [
            ("Credit", [of_step("tactus_credit_mean"), of_step("tactus_credit_amplified_ratio"), of_step("tactus_credit_overlap_ratio"),
                        of_step("tactus_credit_lag_versions", 12), audited]),
            ("Rhythm", [of_step("tactus_rhythm_waad_tokens"), of_step("tactus_rhythm_fai_ratio"),
                        of_step("tactus_rhythm_peak_entropy_correlation")]),
        ],
    )  # fmt: skip


def _delivery() -> list:
    counted = [(rate(f"tactus_trajectories_{x}_total", "", WINDOW), x) for x in ("received", "accepted", "trained")]
    return [
        line("Where completions are", "cps", "Of $window. Received is accepted and rejected; accepted is trained, dropped and queued.",
             *counted),
        books(),
        rejections(8),
        line("Queue", "short", "Completions accepted and not yet trained, and how many there may be.",
             (newest("tactus_trajectory_queue_depth"), "{{run}} depth"), (newest("tactus_trajectory_queue_capacity"), "{{run}} capacity")),
        line("Queue memory", "bytes", "Memory of what waits.", (newest("tactus_trajectory_queue_bytes"), "{{run}}")),
        line("Prompts", "short", "In the ledger, by state.", ("sum by (state) (tactus_prompts)", "{{state}}"), stacked=True),
        line("Leases", "cps", "Expired ones are answered again elsewhere.", (rate("tactus_leases_total", "event"), "{{event}}")),
        line("Acknowledgement", "s", "From a group's last byte to its acknowledgement: to disk and back.",
             *quantiles("tactus_ingest_ack_duration_seconds", "", (0.5, 0.99))),
        line("Streams refused", "cps", "Actors turned away, by reason.", (rate("tactus_streams_refused_total", "reason"), "{{reason}}")),
        line("Rewards disagreed with", "short", "Completions of $window whose reward is not what the learner's own verifier gives them.",
             (increase("tactus_reward_disagreements_total"), "{{run}}")),
        line("Prompts dropped", "short", "Of $window: prompts that ended their actors too often. Their ids stand in the learner's log.",
             (increase("tactus_prompts_dropped_total"), "{{run}}")),
        line("Held-out evaluations", "short", "Of $window, by the actors (eval.by): measured, or given up since answers did not come in time.",
             (increase("tactus_eval_rounds_total", "outcome"), "{{outcome}}")),
        staleness(16),
        line("Answers to held-out prompts", "short", "Of $window, in groups. Late ones came after their lease had ended.",
             (increase("tactus_eval_answers_total", "outcome"), "{{outcome}}")),
    ]  # fmt: skip


def reliability() -> dict:
    answering = stat("Processes that answer", "short", "Targets of the last scrape.", ("sum(up) or vector(0)", "up"),
                     ("count(up == 0) or vector(0)", "down"), width=4)  # fmt: skip
    faults = [
        line("Collective operations aborted", "short", "Of $window. The rank exits then.",
             (increase("tactus_collective_aborts_total", "instance"), "{{instance}}")),
        line("Metric updates rejected", "short", "Of $window. A bug in Tactus.",
             (increase("tactus_metric_updates_rejected_total", "instance"), "{{instance}}")),
        certificate(),
    ]  # fmt: skip
    files = f"{newest('process_open_fds', 'instance')} / {newest('process_max_fds', 'instance')}"
    each = [
        *processes(6),
        line("Open files", "percentunit", "File descriptors in use, of those the process may have.", (files, "{{instance}}"), width=6,
             thresholds=[(None, GREEN), (0.8, RED)]),
        line("Threads", "short", "Of each process.", (newest("process_threads", "instance"), "{{instance}}"), width=6),
        line("Time since the start", "s", "Falls to 0 when a process starts anew.",
             (f"time() - {newest('process_start_time_seconds', 'instance')}", "{{instance}}"), width=12),
        table("Builds", "The build of each process: all of a run should be one.",
              [("Processes", "short", "count by (run, job, version, commit) (tactus_build_info)")], ["run", "job", "version", "commit"],
              width=12),
    ]  # fmt: skip
    return dashboard(
        "tactus-reliability",
        "Tactus / Reliability",
        "Is anything lost, late, refused or about to fail?",
        [
            ("Alerts", [alerts(16), answering, checkpoint_age(4)]),
            ("Delivery", _delivery()),
            ("Checkpoints", [checkpoint_time(8), checkpoint_outcomes(8), upload_age(8)]),
            ("Faults", faults),
            ("Processes", each),
        ],
    )


def all_dashboards() -> list[dict]:
    """A gauge of a step that no panel names has one of its own at the learner's end."""
    boards = [run(), compare(), fleet(), actors(), rhythm(), reliability()]
    named = json.dumps([run(), learner([]), rhythm(), reliability()])
    others = [name for name, metric in TABLE.items() if metric.of_step and name not in named]
    return [*boards, learner(others)]
