// One version of the weights on its way in, whole or as what changed since the set that is held. It outlives the
// connection that brings it: what has come by one may be continued by another. It keeps the bytes of the last bfloat16
// set, 2 a parameter, so that the next one can come as what has changed since; with a relay those of any set.
//
// Not thread-safe: the receiving thread's. Trusts nobody: WeightAssembler checks what arrives.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "common/model/folder/model_config.h"
#include "common/weights/weight_assembler.h"
#include "common/weights/weight_relay.h"

namespace tactus {

class IncomingWeights {
 public:
  // `layout` outlives it, and so does `relay`, which is told of everything that comes; null: nobody is.
  IncomingWeights(const ParameterLayout* layout, WeightRelay* relay) : layout_(*layout), relay_(relay) {}

  // The set that deltas can be applied to.
  std::optional<PolicyVersion> held() const;
  // How many bytes of this version there are, of the kind that held() implies.
  uint64_t received(PolicyVersion version) const;

  // What the chunks to come are. Goes on with what there is of the same. InvalidArgument: not this model's, or changes
  // of a set that is not held; then all is as before.
  absl::Status Begin(const WeightManifest& manifest);
  // The next bytes: from where the last ones ended, or, in the first chunk after Begin, from 0 again. After an error
  // what has come of this version is gone. InvalidArgument: neither, or beyond the end. DataLoss: a hash is wrong.
  absl::Status Append(uint64_t offset, absl::string_view data);
  // DataLoss: bytes are missing, which may still come; or the weights are not what the manifest says, and are gone.
  absl::StatusOr<ReceivedWeights> Finish();

 private:
  struct Set {
    std::shared_ptr<WeightSnapshot> snapshot;
    std::shared_ptr<std::vector<char>> bytes;  // the snapshot's, to be written
  };
  struct Partial {
    WeightManifest manifest;
    std::string digest;                   // the manifest's
    WeightAssembler assembler;            // takes the set, at once or in the end
    Set set;                              // its bytes; empty where nobody needs them
    std::shared_ptr<std::string> deltas;  // [all of them]; null: the set itself comes
    uint64_t expected = 0;                // bytes
    uint64_t received = 0;
  };

  static Set EmptySet(const WeightManifest& manifest);
  bool Continues(const WeightManifest& manifest) const;
  absl::Status AppendTo(Partial& partial, uint64_t offset, absl::string_view data);
  absl::StatusOr<ReceivedWeights> Complete(Partial& partial);
  absl::Status ApplyDeltas(Partial& partial);
  // With a status to pass on: what has come is of no use.
  absl::Status Drop(absl::Status status);

  const ParameterLayout& layout_;
  WeightRelay* const relay_;
  std::optional<Set> held_;
  std::optional<Partial> partial_;
  bool first_chunk_ = true;  // since Begin
};

}  // namespace tactus
