#!/usr/bin/env python3
"""Measures how fast new weights reach all actors when the learner's link is the bottleneck.

    sudo python3 scripts/weight_relay.py [--build build/release] [--actors 16] [--layers 30] [--mbit 100] [--fan-out 2]

Two network namespaces: one for a learner, whose side of the cable between them sends --mbit at most (tc's token bucket), one for the
actors. All are processes of weight_relay_bench, with random weights of SmolLM2-135M's shape (--layers 30: 269 MB in bfloat16).
An actor takes about 0.8 GB at that size. Each of four cases, with and without relay and with and without deltas, publishes a first version and
then one that is timed, from its announcement until the last actor holds it. With the relay and without deltas a third one follows, in the midst of
which an actor that has children is killed. Prints a JSON line for each: seconds; how many times that is of one whole transfer over the link; how
many whole sets the learner sent; for the kill, seconds beyond the undisturbed case. Leaves nothing behind.
"""

import argparse
import json
import os
import pathlib
import queue
import subprocess
import sys
import threading
import time

WAIT_S = 900
LEARNER, ACTORS, PORT = "10.77.0.1", "10.77.0.2", 7070


def run(*command: str) -> None:
    subprocess.run(command, check=True)


class Network:
    """The two namespaces and the cable, for as long as the object is used with `with`."""

    def __init__(self, mbit: int) -> None:
        self.mbit = mbit
        self.names = {side: f"tactus-{side}-{os.getpid()}" for side in ("learner", "actors")}

    def __enter__(self) -> "Network":
        learner, actors = self.names.values()
        for name in self.names.values():
            run("ip", "netns", "add", name)
        run("ip", "-n", learner, "link", "add", "cable", "type", "veth", "peer", "name", "cable", "netns", actors)
        for name, address in ((learner, LEARNER), (actors, ACTORS)):
            run("ip", "-n", name, "link", "set", "lo", "up")
            run("ip", "-n", name, "address", "add", f"{address}/24", "dev", "cable")
            run("ip", "-n", name, "link", "set", "cable", "up")
        shape = ("tbf", "rate", f"{self.mbit}mbit", "burst", "256kb", "latency", "50ms")
        run("ip", "netns", "exec", learner, "tc", "qdisc", "add", "dev", "cable", "root", *shape)
        return self

    def __exit__(self, *_: object) -> None:
        for name in self.names.values():
            subprocess.run(["ip", "netns", "del", name], check=False)


class Process:
    """One end of the bench in a namespace; its lines go to `events`."""

    def __init__(self, namespace: str, command: list[str], events: "queue.Queue[dict]") -> None:
        self.child = subprocess.Popen(
            ["ip", "netns", "exec", namespace, *command], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        threading.Thread(target=self._read, args=(events,), daemon=True).start()

    def _read(self, events: "queue.Queue[dict]") -> None:
        for line in self.child.stdout:
            events.put(json.loads(line))

    def say(self) -> None:
        self.child.stdin.write("\n")
        self.child.stdin.flush()

    def end(self) -> None:
        self.child.stdin.close()
        try:
            self.child.wait(30)
        except subprocess.TimeoutExpired:
            self.child.kill()
            self.child.wait()


class Case:
    """A learner and its actors."""

    def __init__(self, network: Network, options: argparse.Namespace, fan_out: int, deltas: int) -> None:
        self.events: "queue.Queue[dict]" = queue.Queue()
        self.sent_before = 0
        bench = str(pathlib.Path(options.build).resolve() / "bin" / "weight_relay_bench")
        layers = str(options.layers)
        self.learner = Process(
            network.names["learner"], [bench, "learner", layers, f"{LEARNER}:{PORT}", str(fan_out), str(deltas)], self.events
        )
        self.total = self.take(lambda e: "learner" in e)["bytes"]
        self.actors = {}
        for i in range(options.actors):
            name = f"actor-{i:02}"
            command = [bench, "actor", layers, f"{LEARNER}:{PORT}", name, str(fan_out)]
            self.actors[name] = Process(network.names["actors"], command, self.events)
            self.take(lambda e: "attached" in e)  # one after the other: their places in the tree are known

    def take(self, wanted) -> dict:
        deadline = time.monotonic() + WAIT_S
        while True:
            try:
                event = self.events.get(timeout=max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                raise RuntimeError(f"nothing has come for {WAIT_S} s") from None
            if wanted(event):
                return event

    def publish(self, during=None) -> dict:
        """Seconds from the announcement until the last actor that lives holds the version."""
        self.learner.say()
        published = self.take(lambda e: "published" in e)
        version, waiting, last = published["published"], set(self.actors), published["at"]
        if during is not None:
            during()
            waiting &= set(self.actors)
        while waiting:
            held = self.take(lambda e: e.get("held") == version)
            waiting.discard(held["actor"])
            last = max(last, held["at"])
        return {"seconds": round(last - published["at"], 2), "delta_bytes": published["delta_bytes"], "sent": published["sent"]}

    def kill(self, name: str) -> None:
        actor = self.actors.pop(name)
        actor.child.kill()
        actor.child.wait()

    def close(self) -> int:
        """Ends all; the bytes that the learner sent."""
        self.learner.child.stdin.close()
        sent = self.take(lambda e: "sent" in e and "published" not in e)["sent"]
        for actor in self.actors.values():
            actor.end()
        self.learner.child.wait()
        return sent


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", default="build/release")
    parser.add_argument("--actors", type=int, default=16)
    parser.add_argument("--layers", type=int, default=30)
    parser.add_argument("--mbit", type=int, default=100)
    parser.add_argument("--fan-out", type=int, default=2)
    options = parser.parse_args()
    if os.geteuid() != 0:
        print("weight_relay: network namespaces are for root: expected sudo", file=sys.stderr)
        return 2
    for fan_out, deltas in ((0, 0), (0, 3), (options.fan_out, 0), (options.fan_out, 3)):
        with Network(options.mbit) as network:
            case = Case(network, options, fan_out, deltas)
            transfer = case.total * 8 / (options.mbit * 1e6)
            case.publish()
            timed = case.publish()
            results = [("all alive", timed["seconds"], timed)]
            if fan_out > 0 and deltas == 0:

                def kill_a_parent(wait: float = timed["seconds"] / 2) -> None:
                    time.sleep(wait)
                    case.kill("actor-01")

                killed = case.publish(kill_a_parent)
                results.append(("a parent killed midway", killed["seconds"], killed))
            sent = case.close()
        ends = [result[2]["sent"] for result in results[1:]] + [sent]
        for (what, seconds, result), end in zip(results, ends, strict=True):
            line = {"fan_out": fan_out, "deltas": deltas > 0, "case": what, "actors": options.actors, "seconds": seconds}
            line |= {"of_one_transfer": round(seconds / transfer, 3), "learner_sent_sets": round((end - result["sent"]) / case.total, 3)}
            if what != "all alive":
                line["beyond_undisturbed_s"] = round(seconds - timed["seconds"], 2)
            print(json.dumps(line | {"load": os.getloadavg()[0]}), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
