#include "learner/rollout/actor_table.h"

#include <algorithm>

#include "absl/strings/str_cat.h"

namespace tactus {

std::optional<uint64_t> ActorTable::Attach(const std::string& actor_id, uint64_t stream_id) {
  const auto [place, is_new] = actors_.try_emplace(actor_id);
  Actor& actor = place->second;
  if (is_new) actor.order = next_order_++;
  lost_.erase({actor.lost_at, actor_id});
  DropRequests(actor);
  return std::exchange(actor.stream_id, stream_id);
}

void ActorTable::SetRelay(const std::string& actor_id, std::string address, std::string zone) {
  Actor& actor = actors_.at(actor_id);
  actor.relay_address = std::move(address);
  actor.zone = std::move(zone);
}

std::vector<RelayPeer> ActorTable::Relays() const {
  std::vector<std::pair<uint64_t, RelayPeer>> ordered;
  for (const auto& [id, actor] : actors_) {
    if (!actor.stream_id.has_value()) continue;
    ordered.emplace_back(actor.order, RelayPeer{.actor_id = id, .address = actor.relay_address, .zone = actor.zone});
  }
  std::ranges::sort(ordered, {}, &std::pair<uint64_t, RelayPeer>::first);
  std::vector<RelayPeer> relays;
  for (auto& [order, peer] : ordered) relays.push_back(std::move(peer));
  return relays;
}

bool ActorTable::Detach(const std::string& actor_id, uint64_t stream_id, absl::Duration now) {
  const auto found = actors_.find(actor_id);
  if (found == actors_.end() || found->second.stream_id != stream_id) return false;
  Actor& actor = found->second;
  DropRequests(actor);
  actor.stream_id.reset();
  actor.lost_at = now;
  lost_.emplace(now, actor_id);
  return true;
}

std::vector<std::string> ActorTable::TakeForgotten(absl::Duration now) {
  std::vector<std::string> forgotten;
  while (!lost_.empty() && now - lost_.begin()->first >= lost_grace_) {
    forgotten.push_back(std::move(lost_.extract(lost_.begin()).value().second));
    actors_.erase(forgotten.back());
  }
  return forgotten;
}

absl::Status ActorTable::Add(LeaseRequest request) {
  const auto found = actors_.find(request.actor_id);
  if (found == actors_.end() || found->second.stream_id != request.stream_id) {
    return absl::FailedPreconditionError(
        absl::StrCat("a lease request of ", request.actor_id, " on a stream that is not its own"));
  }
  Actor& actor = found->second;
  if (actor.requests.size() >= kMaxRequestsPerActor) {
    return absl::InvalidArgumentError(absl::StrCat("more than ", kMaxRequestsPerActor, " lease requests at once"));
  }
  const uint64_t number = next_number_++;
  actor.requests.insert(number);
  by_held_.emplace(request.held, number);
  by_deadline_.emplace(request.deadline, number);
  requests_.emplace(number, std::move(request));
  return absl::OkStatus();
}

std::optional<LeaseRequest> ActorTable::TakeDue(bool prompts_wait, PolicyVersion oldest_leasable, absl::Duration now) {
  if (requests_.empty()) return std::nullopt;
  const auto& oldest = *by_held_.begin();
  const auto& newest = *by_held_.rbegin();
  if (oldest.first < oldest_leasable) return Take(oldest.second);
  if (newest.first.incarnation != oldest_leasable.incarnation) return Take(newest.second);
  if (prompts_wait) return Take(requests_.begin()->first);
  if (by_deadline_.begin()->first <= now) return Take(by_deadline_.begin()->second);
  return std::nullopt;
}

LeaseRequest ActorTable::Take(uint64_t number) {
  LeaseRequest request = std::move(requests_.extract(number).mapped());
  by_held_.erase({request.held, number});
  by_deadline_.erase({request.deadline, number});
  actors_.at(request.actor_id).requests.erase(number);
  return request;
}

void ActorTable::DropRequests(Actor& actor) {
  while (!actor.requests.empty()) Take(*actor.requests.begin());
}

}  // namespace tactus
