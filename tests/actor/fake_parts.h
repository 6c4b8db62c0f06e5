// What an actor is made of besides its engine, for tests of its loop.
#pragma once

#include <atomic>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "actor/actor.h"
#include "actor/weight_source.h"
#include "common/tokenizer/tokenizer.h"
#include "tests/actor/fake_port.h"

namespace tactus {

// Of an actor of three leases, whose answers end at two ids.
inline ActorSettings MakeActorSettings(const std::atomic<bool>* stop) {
  ActorSettings settings;
  settings.actor_id = "actor-7";
  settings.max_leases = 3;
  settings.completions_per_prompt = kCompletions;
  settings.max_completion_tokens = kMaxTokens;
  settings.stop_ids = {4, 9};
  settings.stop = stop;
  return settings;
}

class FakeWeights : public WeightSource {
 public:
  void Publish(PolicyVersion version, std::vector<float> parameters, std::optional<HeadClasses> classes = {}) {
    absl::MutexLock lock(&mutex_);
    newest_ = NewWeights{version, std::move(parameters), std::move(classes)};
  }
  void Fail(absl::Status status) {
    absl::MutexLock lock(&mutex_);
    error_ = std::move(status);
  }
  void Reopen() {
    absl::MutexLock lock(&mutex_);
    closed_ = false;
  }
  absl::StatusOr<std::optional<NewWeights>> Fetch(std::optional<PolicyVersion> held, absl::Duration timeout) override {
    absl::MutexLock lock(&mutex_);
    const auto ready = [&] {
      return closed_ || !error_.ok() || (newest_.has_value() && (!held.has_value() || newest_->version > *held));
    };
    if (!mutex_.AwaitWithTimeout(absl::Condition(&ready), timeout)) return std::optional<NewWeights>();
    if (closed_) return absl::CancelledError("closed");
    if (!error_.ok()) return error_;
    std::optional<NewWeights> newest = newest_;
    if (share_) {
      newest->shared = SharedWeights{.machine = "here", .handle = "h", .version = newest->version};
      newest->parameters.clear();
    }
    return newest;
  }
  void Share() {
    absl::MutexLock lock(&mutex_);
    share_ = true;
  }
  void DeclineShared() override {
    absl::MutexLock lock(&mutex_);
    share_ = false;
    ++declined_;
  }
  int declined() const {
    absl::MutexLock lock(&mutex_);
    return declined_;
  }
  void Close() override {
    absl::MutexLock lock(&mutex_);
    closed_ = true;
  }

 private:
  mutable absl::Mutex mutex_;
  std::optional<NewWeights> newest_;
  absl::Status error_;
  bool closed_ = false, share_ = false;
  int declined_ = 0;
};

class FakeTokenizer : public Tokenizer {
 public:
  std::vector<TokenId> Encode(absl::string_view, bool) const override { return {}; }
  absl::StatusOr<std::string> Decode(std::span<const TokenId> ids, bool) const override {
    std::string text;
    for (const TokenId id : ids) {
      if (id == unknown) return absl::InvalidArgumentError("no such id");
      absl::StrAppend(&text, id, " ");
    }
    return text;
  }
  int vocab_size() const override { return kVocab; }
  TokenId TokenToId(absl::string_view) const override { return -1; }
  TokenId unknown = -1;
};

}  // namespace tactus
