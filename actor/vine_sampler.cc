#include "actor/vine_sampler.h"

#include <utility>

#include "actor/engine/continuation.h"
#include "common/base/philox.h"

namespace tactus {
namespace {

// The engine's names for requests are leases' otherwise. A lease reaches this bit with its learner's 2^22nd start.
constexpr uint64_t kContinuation = uint64_t{1} << 62;

// Keys the draws of all continuations of a place, so that they meet neither each other's nor the answers'.
uint64_t SeedOf(const EngineRequest& of_answer, const VinePlace& place) {
  const PhiloxBlock block = TokenDraw(of_answer.seed, of_answer.prompt_id, static_cast<uint32_t>(place.answer),
                                      static_cast<uint32_t>(place.length), DrawPurpose::kContinuation);
  return uint64_t{block[0]} << 32 | block[1];
}

}  // namespace

int VineSampler::Begin(EngineRequest of_answer, const TrajectoryGroup& group) {
  const uint64_t lease_id = of_answer.request_id;
  Group& begun = groups_[lease_id];
  begun.of_answer = std::move(of_answer);
  begun.first_request = kContinuation | next_request_;
  for (const Completion& completion : group.completions) {
    const auto answer = static_cast<int>(begun.answers.size());
    for (const int32_t start : ChunkStarts(static_cast<int64_t>(completion.token_ids.size()), options_.positions)) {
      const VinePlace place = PlaceBefore(answer, start);
      if (place.answer == answer) Add(lease_id, begun, place);
    }
    begun.answers.push_back(completion.token_ids);
  }
  return static_cast<int>(begun.places.size()) * options_.samples;
}

void VineSampler::Add(uint64_t lease_id, Group& group, VinePlace place) {
  const uint64_t request_id = kContinuation | next_request_++;
  requests_[request_id] = {.lease_id = lease_id, .place = group.places.size()};
  waiting_.push_back(request_id);
  group.places.push_back(
      {.place = place, .completions = std::vector<Completion>(static_cast<size_t>(options_.samples))});
}

absl::Status VineSampler::Feed() {
  while (!waiting_.empty() && !engine_->full()) {
    const uint64_t request_id = waiting_.front();
    waiting_.pop_front();
    const auto found = requests_.find(request_id);
    if (found == requests_.end()) continue;
    const Group& group = groups_.find(found->second.lease_id)->second;
    const VinePlace& place = group.places[found->second.place].place;
    EngineRequest request = ContinuationRequest(group.of_answer, group.answers[static_cast<size_t>(place.answer)],
                                                place.length, options_.samples);
    request.request_id = request_id;
    request.seed = SeedOf(group.of_answer, place);
    if (absl::Status added = engine_->Add(std::move(request)); !added.ok()) return added;
  }
  return absl::OkStatus();
}

uint64_t VineSampler::LeaseOf(uint64_t request_id) const {
  const auto found = requests_.find(request_id);
  return found == requests_.end() ? request_id : found->second.lease_id;
}

void VineSampler::Keep(const FinishedCompletion& finished) {
  const Request& request = requests_.find(finished.request_id)->second;
  Group& group = groups_.find(request.lease_id)->second;
  Continuations& from = group.places[request.place];
  from.completions[static_cast<size_t>(finished.completion_index)] =
      ContinuedAnswer(group.answers[static_cast<size_t>(from.place.answer)], from.place.length, finished.completion);
}

std::optional<std::vector<Continuations>> VineSampler::End(uint64_t lease_id) {
  const auto found = groups_.find(lease_id);
  if (found == groups_.end()) return std::nullopt;
  for (size_t i = 0; i < found->second.places.size(); ++i) {
    const uint64_t request_id = found->second.first_request + i;
    engine_->Cancel(request_id).IgnoreError();  // NotFound: it is sampled, or was never asked for
    requests_.erase(request_id);
  }
  std::vector<Continuations> places = std::move(found->second.places);
  groups_.erase(found);
  return places;
}

}  // namespace tactus
