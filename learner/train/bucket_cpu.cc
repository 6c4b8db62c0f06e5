#include "learner/train/bucket_cpu.h"

#include <cstdint>
#include <cstring>

#include "learner/train/shards.h"

namespace tactus {
namespace {

void Encode(std::span<const float> values, StorageDType dtype, char* out) {
  if (dtype == StorageDType::kFloat32) {
    std::memcpy(out, values.data(), values.size_bytes());
    return;
  }
  uint16_t* const rounded = reinterpret_cast<uint16_t*>(out);
  for (size_t i = 0; i < values.size(); ++i) rounded[i] = FloatToBFloat16(values[i]);
}

void Decode(const char* in, StorageDType dtype, std::span<float> values) {
  if (dtype == StorageDType::kFloat32) {
    std::memcpy(values.data(), in, values.size_bytes());
    return;
  }
  const uint16_t* const rounded = reinterpret_cast<const uint16_t*>(in);
  for (size_t i = 0; i < values.size(); ++i) values[i] = BFloat16ToFloat(rounded[i]);
}

size_t BytesOf(int64_t numel, StorageDType dtype) { return static_cast<size_t>(numel * BytesPerElement(dtype)); }

}  // namespace

absl::Status StartGather(std::span<const float> parameters, const FlatRange& bucket, StorageDType dtype,
                         std::span<char> bytes, Collective& collective) {
  const FlatRange mine = SliceOf(bucket, collective.size(), collective.rank());
  Encode(parameters.subspan(static_cast<size_t>(mine.begin), static_cast<size_t>(mine.size())), dtype,
         bytes.data() + BytesOf(mine.begin - bucket.begin, dtype));
  return collective.StartAllGather(bytes, BytesOf(1, dtype));
}

void TakeOthers(std::span<const char> bytes, const FlatRange& bucket, StorageDType dtype, const Collective& collective,
                std::span<float> parameters) {
  const FlatRange mine = SliceOf(bucket, collective.size(), collective.rank());
  for (const FlatRange& part : {FlatRange{bucket.begin, mine.begin}, FlatRange{mine.end, bucket.end}}) {
    Decode(bytes.data() + BytesOf(part.begin - bucket.begin, dtype), dtype,
           parameters.subspan(static_cast<size_t>(part.begin), static_cast<size_t>(part.size())));
  }
}

}  // namespace tactus
