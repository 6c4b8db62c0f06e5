#!/usr/bin/env python3
"""Finds waits and intervals that are measured by the wall clock, which jumps when somebody sets it.

    python3 scripts/check/clocks.py [--self-test]

In the product's code (common, actor, learner, tools) absl::Now() and std::chrono::system_clock stand only in the files of TIMES_OF_DAY,
each with what it needs the time of day for; everything else asks MonotonicNow() (common/base/monotonic_clock.h). Abseil's timed waits
and its CondVar end by the wall clock, those with a timeout too: CondVar of common/base/cond_var.h does not. Prints one line for each;
exit code 1 when there is one, or when a file of the list needs it no more.
"""

import pathlib
import re
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from check.exceptions import by_line, code_of, product_sources, report, run  # noqa: E402

TIMES_OF_DAY = {
    "common/base/log.cc": "a line's time",
    "common/environment/grpc_environment_client.cc": "gRPC takes deadlines so, and waits by its own clock",
    "common/metrics/tensorboard_writer.cc": "an event's time",
    "common/rollout/certificate_metrics.cc": "whether a certificate has expired",
    "common/rollout/grpc_channel.cc": "whether a certificate has expired",
    "common/tokenizer/chat/chat_template.cc": "strftime_now of a template",
    "common/weights/grpc_weight_receiver.cc": "gRPC takes deadlines so, and waits by its own clock",
    "common/weights/grpc_weight_service.cc": "gRPC tells deadlines so",
    "learner/coordinator_checkpoints.cc": "a metric that is a time",
    "learner/records/run_recorder.cc": "a metric that is a time",
    "learner/rollout/grpc_rollout_server.cc": "gRPC's deadline of now",
    "tools/cmd_train.cc": "the name of a run's folder",
    "tools/report/report.cc": "when the page was written",
    "tools/top/source.cc": "a sample's time, among Prometheus' own",
}
NOW = re.compile(r"\babsl::Now\(\)|\bsystem_clock::now\(\)|\bstd::time\(|\bgettimeofday\(|\bCLOCK_REALTIME\b")
WAIT = re.compile(r"\b(?:Await|Wait|(?:Reader)?LockWhen|WaitForNotification)With(?:Timeout|Deadline)\b|\babsl::CondVar\b")


def found_in(path: str, source: str) -> list[tuple[int, str]]:
    """Where, and what is wrong there."""
    text = code_of(source)
    found = [(m.start(), f"{m[0]} is the wall clock: MonotonicNow()") for m in NOW.finditer(text) if path not in TIMES_OF_DAY]
    found += [(m.start(), f"{m[0]} waits by the wall clock: CondVar of common/base/cond_var.h") for m in WAIT.finditer(text)]
    return by_line(text, found)


def check_tree(root: pathlib.Path) -> int:
    sources = product_sources(root)
    lines = [f"{path}:{number}: {what}" for path, text in sources.items() for number, what in found_in(path, text)]
    lines += [f"{path}: needs no time of day: take it from TIMES_OF_DAY" for path in TIMES_OF_DAY if not NOW.search(sources.get(path, ""))]
    return report(lines, f"clocks: {len(sources)} files, none waits by the wall clock")


SEEDED = [  # a line, whether it is refused
    ("const absl::Time start = absl::Now();", True),
    ("while (std::chrono::system_clock::now() < end) {", True),
    ("changed_.WaitWithDeadline(&mu_, again);", True),
    ("mu_.AwaitWithDeadline(absl::Condition(&done), end);", True),
    ("mutex_.AwaitWithTimeout(absl::Condition(&done), kSlice);", True),
    ("ready_.WaitForNotificationWithTimeout(absl::Seconds(1));", True),
    ("absl::CondVar changed_;", True),
    ("clock_gettime(CLOCK_REALTIME, &now);", True),
    ("const absl::Time start = MonotonicNow();", False),
    ("changed_.WaitFor(&mu_, again - MonotonicNow());", False),
    ("// absl::Now() jumps", False),
]


def self_test() -> int:
    wrong = [f"{line!r}: expected {'a finding' if refused else 'none'}" for line, refused in SEEDED
             if bool(found_in("tools/a.cc", line)) != refused]  # fmt: skip
    if found_in("common/base/log.cc", SEEDED[0][0]):
        wrong.append("common/base/log.cc may tell the time of day")
    return report(wrong, f"clocks: {len(SEEDED) + 1} seeded lines judged rightly")


if __name__ == "__main__":
    sys.exit(run(check_tree, self_test))
