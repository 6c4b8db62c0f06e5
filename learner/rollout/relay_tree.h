// Which actor fetches new weights from which: in each zone a tree, whose root fetches from the learner. So the learner
// sends a version once a zone, and no actor sends it more than `fan_out` times while all is well. Pure; thread-safe.
#pragma once

#include <cstddef>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "learner/rollout/actor_table.h"

namespace tactus {

class RelayTree {
 public:
  static constexpr size_t kMaxParents = 8;

  // `peers` in the order in which they came: those who came first stand nearest to the root. fan_out 0: nobody fetches
  // from another actor.
  RelayTree(std::span<const RelayPeer> peers, int fan_out);

  // The addresses to be asked in turn before the learner: the parent's, the grandparent's and so on, at most
  // kMaxParents. Empty for a root and for a stranger.
  std::vector<std::string> Parents(const std::string& actor_id) const;

 private:
  struct Place {
    std::string zone;
    size_t parent = kNone;  // its index among the zone's addresses
  };
  static constexpr size_t kNone = static_cast<size_t>(-1);

  size_t ParentOf(size_t index) const { return index == 0 ? kNone : (index - 1) / fan_out_; }

  const size_t fan_out_;
  std::map<std::string, std::vector<std::string>> addresses_;  // by zone, of those who give weights, root first
  std::map<std::string, Place> places_;                        // by actor
};

}  // namespace tactus
