#include "learner/train/bucket_cuda.h"

#include "common/device/runtime_cuda.h"
#include "learner/train/shards.h"

namespace tactus {

absl::Status StartGather(const at::Tensor& owned, int64_t place, const FlatRange& bucket, const at::Tensor& to,
                         Collective& collective) {
  const FlatRange mine = SliceOf(bucket, collective.size(), collective.rank());
  if (mine.size() > 0) {
    const at::Tensor from = owned.narrow(0, place, mine.size());
    device::CopyAsync(to.narrow(0, mine.begin - bucket.begin, mine.size()).data_ptr(), from.const_data_ptr(),
                      static_cast<size_t>(from.nbytes()));
  }
  return collective.StartAllGather({static_cast<char*>(to.data_ptr()), to.nbytes()},
                                   static_cast<size_t>(to.element_size()));
}

}  // namespace tactus
