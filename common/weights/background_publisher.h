// Publishes sets of weights on a thread of its own: hashing and encoding cost the training thread nothing.
//
// A queue of one: a set handed in takes the place of one that waits, since actors want the newest alone, and deltas are
// made from what was published last. Thread-safe. Owns its thread.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <thread>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "common/base/cond_var.h"
#include "common/weights/weight_publisher.h"

namespace tactus {

class BackgroundPublisher {
 public:
  struct Set {
    PolicyVersion version;
    WeightBytes bytes;
    StorageDType dtype = StorageDType::kFloat32;
    std::optional<HeadClasses> head_classes;
    std::optional<SharedWeights> shared;
    absl::Time handed_in;  // on the monotonic clock; filled by Submit
  };
  // Called on the thread once a set can be fetched; an error ends publishing, as the publisher's own do.
  using Published = std::function<absl::Status(PolicyVersion version, absl::Duration since_handed_in)>;

  // Called on the thread when a set waits, before it is taken up: for as long as it blocks, actors have what was
  // published last, and the set that is taken up then is the newest.
  using Ready = std::function<void()>;

  // `publisher` and `layout` outlive it. ResourceExhausted: the system gives no thread.
  static absl::StatusOr<std::unique_ptr<BackgroundPublisher>> Start(
      WeightPublisher* publisher, const ParameterLayout* layout, Published published, Ready ready = [] {});
  // Waits for the set that is being published, and for `ready`; one that waits is not.
  ~BackgroundPublisher();

  // Never waits for a set to be published. The first error of those handed in earlier, after which nothing is taken.
  absl::Status Submit(Set set) ABSL_LOCKS_EXCLUDED(mu_);
  // The same error, without a set.
  absl::Status status() const ABSL_LOCKS_EXCLUDED(mu_);
  // Blocks until everything handed in is published or replaced. The same error.
  absl::Status Drain() ABSL_LOCKS_EXCLUDED(mu_);

 private:
  BackgroundPublisher(WeightPublisher* publisher, const ParameterLayout* layout, Published published, Ready ready)
      : publisher_(*publisher), layout_(*layout), published_(std::move(published)), ready_(std::move(ready)) {}
  // Until there is one, and its time has come; nullopt: closing.
  std::optional<Set> Next() ABSL_LOCKS_EXCLUDED(mu_);
  void Run() ABSL_LOCKS_EXCLUDED(mu_);

  WeightPublisher& publisher_;
  const ParameterLayout& layout_;
  const Published published_;
  const Ready ready_;
  std::thread thread_;

  mutable absl::Mutex mu_;
  CondVar changed_;  // any of the following
  std::optional<Set> waiting_ ABSL_GUARDED_BY(mu_);
  bool publishing_ ABSL_GUARDED_BY(mu_) = false;
  bool closing_ ABSL_GUARDED_BY(mu_) = false;
  absl::Status status_ ABSL_GUARDED_BY(mu_);
};

}  // namespace tactus
