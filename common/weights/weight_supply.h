// What a weight service sends its readers and where it takes that from: a learner's publisher, whose sets are whole, or
// an actor's relay (weight_relay.h), whose set may still be arriving.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "common/base/dtype.h"
#include "common/data/types.h"
#include "common/weights/shared_weights.h"

namespace tactus {

// What a set of weights consists of; proto/weight_service.proto on the wire.
struct WeightManifest {
  struct Tensor {
    std::string name;
    std::vector<int64_t> shape;
    uint64_t bytes = 0;
    std::string sha256_hex;  // of the wire bytes
  };
  std::string run_id;
  PolicyVersion version;
  StorageDType dtype = StorageDType::kFloat32;
  std::vector<Tensor> tensors;  // in the layout's order
  uint64_t total_bytes = 0;
  std::optional<HeadClasses> head_classes;  // calibrated, of this version; none: every response has its own
  std::optional<SharedWeights> shared;      // where else the set is; none: nowhere

  // What is sent instead of the tensors: deltas to apply one after the other, the first to `base`.
  struct Delta {
    PolicyVersion base;
    std::vector<uint64_t> bytes;  // of each

    friend bool operator==(const Delta&, const Delta&) = default;
  };
  std::optional<Delta> delta;
};

// A set's tensors end to end, little-endian, as EncodeWeights gives them: for actors and a checkpoint alike.
using WeightBytes = std::shared_ptr<const std::vector<char>>;

inline absl::string_view View(const std::vector<char>& bytes) { return {bytes.data(), bytes.size()}; }

// One set, immutable once others see it.
struct WeightSnapshot {
  WeightManifest manifest;
  WeightBytes bytes;  // [manifest.total_bytes]
};

// How much of some bytes is there. One thread writes the bytes, then advances; any thread reads what is there.
class WeightArrival {
 public:
  explicit WeightArrival(uint64_t bytes = 0) : bytes_(bytes) {}

  uint64_t bytes() const { return bytes_.load(std::memory_order_acquire); }
  void Advance(uint64_t bytes) { bytes_.store(bytes, std::memory_order_release); }

  // No reader is to go on with these bytes, whole or not.
  bool withdrawn() const { return withdrawn_; }
  void Withdraw() { withdrawn_ = true; }

 private:
  std::atomic<uint64_t> bytes_;
  std::atomic<bool> withdrawn_{false};
};

// What a reader asks for.
struct WeightWish {
  PolicyVersion at_least;
  std::optional<PolicyVersion> held;  // what it can apply deltas to
  absl::Time since;                   // when it came, on the monotonic clock
};

// What a reader is sent: the manifest, which says what the bytes are, and the bytes.
struct WeightFeed {
  struct Piece {
    std::shared_ptr<const void> keeps;  // the bytes in memory
    absl::string_view bytes;
    std::shared_ptr<const WeightArrival> arrival;  // how many of them are there; null: all, for good
  };
  WeightManifest manifest;
  std::vector<Piece> pieces;
};

// Thread-safe. Never blocks, apart from Watch.
class WeightSupply {
 public:
  virtual ~WeightSupply() = default;

  virtual const std::string& run_id() const = 0;

  // nullopt: to be asked again after a change. Unavailable: the reader should ask elsewhere, or later.
  virtual absl::StatusOr<std::optional<WeightFeed>> FeedFor(const WeightWish& wish) const = 0;

  // Calls `changed`, on a thread of the supply's, after anything that a waiting reader may have waited for and several
  // times a second; null ends that, and waits for a call under way. A supply that lets nobody wait never calls.
  virtual void Watch(std::function<void()> changed) = 0;
};

}  // namespace tactus
