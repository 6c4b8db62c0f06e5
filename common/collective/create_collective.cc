#include <algorithm>
#include <atomic>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "common/base/status_macros.h"
#include "common/collective/collective.h"
#include "common/collective/gloo_collective.h"
#ifdef TACTUS_HAS_NCCL
#include "common/collective/nccl_collective_cuda.h"
#endif

namespace tactus {
namespace {

// A group of one: every sum is the input, every slice the whole.
class SingleCollective : public Collective {
 public:
  int rank() const override { return 0; }
  int size() const override { return 1; }
  using Collective::AllReduceSum;
  absl::Status StartAllReduceSum(std::span<float>) override { return Check(); }
  absl::Status StartReduceScatterSum(std::span<float>) override { return Check(); }
  absl::Status StartAllGather(std::span<char>, size_t) override { return Check(); }
  absl::Status Wait() override { return Check(); }
  absl::Status AllReduceSum(std::span<double>) override { return Check(); }
  absl::Status Broadcast(std::span<char>, int root) override {
    if (root != 0)
      return absl::InvalidArgumentError(absl::StrCat("Broadcast: root ", root, " is not in a group of 1."));
    return Check();
  }
  absl::Status Barrier() override { return Check(); }
  void Abort() override { aborted_ = true; }

 private:
  absl::Status Check() const {
    return aborted_ ? absl::AbortedError("The collective group of rank 0 was aborted.") : absl::OkStatus();
  }

  std::atomic<bool> aborted_ = false;
};

constexpr int kCpu = -1;
constexpr int kMaxDevice = 127;  // c10 keeps it in a signed byte

// N of cuda:N, or kCpu.
absl::StatusOr<int> DeviceIndex(const std::string& device) {
  if (device == "cpu") return kCpu;
  absl::string_view number = device;
  int index = 0;
  if (absl::ConsumePrefix(&number, "cuda:") && absl::SimpleAtoi(number, &index) && index >= 0 && index <= kMaxDevice)
    return index;
  return absl::InvalidArgumentError(
      absl::StrCat("Collective: device \"", device, "\" must be cpu or cuda:N with N from 0 to ", kMaxDevice, "."));
}

}  // namespace

absl::StatusOr<std::unique_ptr<Collective>> CreateCollective(const CollectiveOptions& options) {
  if (options.world < 1 || options.rank < 0 || options.rank >= options.world)
    return absl::InvalidArgumentError(
        absl::StrCat("Collective: rank ", options.rank, " does not exist in a world of ", options.world, "."));
  ASSIGN_OR_RETURN(const int device, DeviceIndex(options.device));
  if (options.world == 1 && device == kCpu) return std::make_unique<SingleCollective>();
  if (options.world > 1 && (options.store_port < 1 || options.store_port > 65535))
    return absl::InvalidArgumentError(
        absl::StrCat("Collective: store port ", options.store_port, " must be from 1 to 65535 with several ranks."));
  if (options.timeout < absl::Milliseconds(1))
    return absl::InvalidArgumentError("Collective: the timeout must be at least one millisecond.");
  if (device == kCpu) return CreateGlooCollective(options);
#ifdef TACTUS_HAS_NCCL
  return CreateNcclCollective(options, device);
#else
  return absl::FailedPreconditionError(absl::StrCat(
      "Collective: device ", options.device, " needs NCCL, which this build lacks: build with the preset cuda."));
#endif
}

}  // namespace tactus
