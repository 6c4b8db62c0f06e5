#include "learner/rollout/relay_tree.h"

namespace tactus {

RelayTree::RelayTree(std::span<const RelayPeer> peers, int fan_out) : fan_out_(static_cast<size_t>(fan_out)) {
  if (fan_out_ == 0) return;
  for (const RelayPeer& peer : peers) {
    if (peer.address.empty()) continue;
    std::vector<std::string>& addresses = addresses_[peer.zone];
    places_[peer.actor_id] = {.zone = peer.zone, .parent = ParentOf(addresses.size())};
    addresses.push_back(peer.address);
  }
  // Who gives nothing is a leaf: in the places that are free, then one more for each of the others in turn.
  std::map<std::string, size_t> leaves;
  for (const RelayPeer& peer : peers) {
    const auto zone = addresses_.find(peer.zone);
    if (!peer.address.empty() || zone == addresses_.end()) continue;
    const size_t givers = zone->second.size();
    const size_t leaf = leaves[peer.zone]++;
    const size_t parent = ParentOf(givers + leaf);
    places_[peer.actor_id] = {.zone = peer.zone, .parent = parent < givers ? parent : leaf % givers};
  }
}

std::vector<std::string> RelayTree::Parents(const std::string& actor_id) const {
  std::vector<std::string> parents;
  const auto place = places_.find(actor_id);
  if (place == places_.end()) return parents;
  const std::vector<std::string>& addresses = addresses_.at(place->second.zone);
  for (size_t at = place->second.parent; at != kNone && parents.size() < kMaxParents; at = ParentOf(at)) {
    parents.push_back(addresses[at]);
  }
  return parents;
}

}  // namespace tactus
