// A run of the control plane under a virtual clock: one learner, some actors, a network and a disk, all of whose delays
// and faults follow from a seed. The parts are the real ones where they are pure: the ledger, the actor table, the
// log's format and replay, the way of a group through it, the tree by which weights are passed on, and the actors' end
// of the stream (RolloutSession). What gRPC and threads do between them is played here.
//
// Faults: a stream breaks, and the learner notices at once or only later; messages are late; an actor dies, stands
// still, or is ended by its prompt; the disk refuses; the learner dies, and starts again from its last checkpoint and
// what the disk kept of the log. In the end all faults cease, and the run has to finish.
//
// What must hold: every group that was acknowledged is trained exactly once, or waits, or a restore had a reason to
// leave it out; books balance; no more prompts are in the system than have slots; nothing is trained beyond its age; a
// step of a synchronous run has the oldest prompts; no honest actor is sent away, or told that a group was lost which
// was taken; no request waits beside a prompt that it could have; the run makes progress; and once faults have ceased,
// the learner sends a version no more than once a zone, and nobody waits in vain for weights of another actor.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

namespace tactus {

struct SimulationResult {
  std::string violation;  // empty: all held
  std::string story;      // the last events before it
  uint64_t hash = 0;      // of all events: the same seed gives the same
  int64_t steps = 0;
  int64_t crashes = 0;  // of the learner
  int64_t dropped = 0;  // prompts
};

SimulationResult Simulate(uint64_t seed);

}  // namespace tactus
