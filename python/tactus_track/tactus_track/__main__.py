"""Follows RUN/metrics.jsonl and sends each step to a tracker, once, until the run's last step. Started before, beside or after the
run, as often as you like: it goes on behind what the tracker has. A tracker that is down is asked again, and costs the run nothing."""

from __future__ import annotations

import argparse
import contextlib
import logging
import pathlib
import signal
import sys
import threading

from .follow import LOOK_S, Follower, Refused, Tracker, Unavailable
from .mlflow_tracker import Mlflow
from .run_folder import Note, settings

DONE, FAILED, MISTAKE = 0, 1, 2


def parsed(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="tactus-track", description=__doc__)
    parser.add_argument("run", type=pathlib.Path, help="the run's folder")
    trackers = parser.add_subparsers(dest="tracker", required=True, metavar="TRACKER")
    kinds = {"mlflow": "an MLflow server, by its REST API", "wandb": "a folder RUN/trackers/wandb/wandb for `wandb sync`",
             "trackio": "Trackio, on this machine"}
    for kind, text in kinds.items():
        one = trackers.add_parser(kind, help=text, description=f"Sends to {text}.")
        one.add_argument("--name", help="of the run there; default: its folder's name")
        one.add_argument("--once", action="store_true", help="send what there is and end; default: until the run's last step")
        if kind == "mlflow":
            one.add_argument("--server", required=True, help="http://HOST:PORT or https://HOST")
            one.add_argument("--experiment", default="tactus")
            one.add_argument("--token-file", type=pathlib.Path, help="a file of one line: a token, or USER:PASSWORD")
        else:
            one.add_argument("--project", default="tactus")
    return parser.parse_args(arguments)


def tracker_of(args: argparse.Namespace, note: Note) -> Tracker:
    name = args.name or args.run.resolve().name
    values = settings(args.run / "config.textproto")
    if args.tracker == "mlflow":
        return Mlflow(args.server, args.experiment, name, note.identity, values, args.token_file)
    try:
        if args.tracker == "wandb":
            from .wandb_tracker import Wandb  # only here: its package is optional

            return Wandb(note.folder, args.project, name, note.identity, values)
        from .trackio_tracker import Trackio

        return Trackio(args.project, name, note.identity, values)
    except ImportError as error:
        raise Refused(f"{error}; expected the package of {args.tracker}: pip install 'tactus-track[{args.tracker}]'") from None


def wait_for(run: pathlib.Path, once: bool, end: threading.Event) -> bool:
    """For the run to begin: its folder is its own to make."""
    if once and not (run / "metrics.jsonl").exists():
        raise Refused(f"{run} holds no metrics.jsonl: expected the folder of a run")
    while not (run / "metrics.jsonl").exists() and not end.is_set():
        end.wait(LOOK_S)
    return not end.is_set()


def track(args: argparse.Namespace, end: threading.Event) -> int:
    if not wait_for(args.run, args.once, end):
        return DONE
    note = Note(args.run, args.tracker)
    with contextlib.closing(note):
        return DONE if Follower(args.run, tracker_of(args, note), end).run(args.once) else FAILED


def main(arguments: list[str] | None = None) -> int:
    args = parsed(arguments)
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s tactus-track: %(message)s")
    logging.getLogger("tactus_track").setLevel(logging.INFO)
    end = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: end.set())
    try:
        return track(args, end)
    except (Refused, Unavailable, ValueError, OSError) as error:
        print(f"tactus-track: error: {error}", file=sys.stderr)
        return MISTAKE if isinstance(error, (Refused, ValueError)) else FAILED


if __name__ == "__main__":
    sys.exit(main())
