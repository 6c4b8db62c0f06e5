// How small and how fast the deltas of real consecutive updates are, beside what they can be compared with.
//
//   weight_delta_bench FILE FILE [FILE ...]      model.safetensors of one policy, in the order of training
//
// One JSON line a pair: bytes of the bfloat16 set, of our delta, of the bound (fewest bytes for one who knows each old
// number's exponent and nothing of the order), of XOR through zstd -1 on the same bytes; the part of numbers that
// changed; seconds of encoding and applying in one thread, and of one pass that reads the set. Float32 files are
// rounded.
#include <zstd.h>

#include <array>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "common/data/codec.h"
#include "common/model/folder/safetensors.h"
#include "common/weights/delta/delta_set.h"

namespace tactus {
namespace {

using Numbers = std::vector<uint16_t>;

double Now() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

absl::StatusOr<Numbers> Load(const std::string& path) {
  ASSIGN_OR_RETURN(const SafetensorsFile file, SafetensorsFile::Open(path));
  Numbers numbers;
  std::vector<float> values;
  for (const TensorInfo& tensor : file.tensors()) {
    values.resize(static_cast<size_t>(tensor.numel));
    RETURN_IF_ERROR(file.ReadFloats(tensor, values));
    for (const float value : values) numbers.push_back(FloatToBFloat16(value));
  }
  return numbers;
}

// -sum n_step log2(n_step / n) over the old numbers' exponents.
double BoundBytes(const Numbers& before, const Numbers& after) {
  const auto place = [](uint16_t bits) { return bits < 0x8000 ? int{bits} : 0x7fff - int{bits}; };
  std::array<std::map<int, double>, 256> counts;
  for (size_t i = 0; i < before.size(); ++i) ++counts[(before[i] >> 7) & 0xff][place(after[i]) - place(before[i])];
  double bits = 0;
  for (const std::map<int, double>& steps : counts) {
    double total = 0;
    for (const auto& [step, count] : steps) total += count;
    for (const auto& [step, count] : steps) bits -= count * std::log2(count / total);
  }
  return bits / 8;
}

size_t XorZstdBytes(const Numbers& before, const Numbers& after) {
  Numbers changes(before.size());
  for (size_t i = 0; i < before.size(); ++i) changes[i] = before[i] ^ after[i];
  std::string out(ZSTD_compressBound(changes.size() * sizeof(uint16_t)), '\0');
  return ZSTD_compress(out.data(), out.size(), changes.data(), changes.size() * sizeof(uint16_t), 1);
}

double PassSeconds(const Numbers& numbers) {
  const double start = Now();
  uint64_t sum = 0;
  for (const uint16_t number : numbers) sum += number;
  volatile uint64_t sink = sum;
  (void)sink;
  return Now() - start;
}

absl::Status Compare(const std::string& name, const Numbers& before, const Numbers& after) {
  if (before.size() != after.size()) return absl::InvalidArgumentError(absl::StrCat(name, " is of another model"));
  double changed = 0;
  for (size_t i = 0; i < before.size(); ++i) changed += before[i] != after[i];
  const double start = Now();
  const std::optional<std::string> delta =
      EncodeDelta(before, after, [](int64_t count, absl::FunctionRef<void(int64_t, int64_t)> fn) { fn(0, count); });
  const double encoded = Now();
  if (!delta.has_value()) return absl::FailedPreconditionError(absl::StrCat(name, ": a delta would not pay"));
  Numbers applied = before;
  const double apply_start = Now();
  RETURN_IF_ERROR(ApplyDelta(*delta, applied));
  const double applied_at = Now();
  if (applied != after) return absl::InternalError(absl::StrCat(name, ": the delta gives other weights"));
  const double bound = BoundBytes(before, after), ours = static_cast<double>(delta->size());
  const auto xor_zstd = static_cast<double>(XorZstdBytes(before, after));
  const nlohmann::json line = {{"file", name},
                               {"set_bytes", before.size() * sizeof(uint16_t)},
                               {"changed", changed / static_cast<double>(before.size())},
                               {"delta_bytes", ours},
                               {"bound_bytes", bound},
                               {"xor_zstd1_bytes", xor_zstd},
                               {"of_bound", bound / ours},
                               {"of_xor_zstd1", ours / xor_zstd},
                               {"encode_s", encoded - start},
                               {"apply_s", applied_at - apply_start},
                               {"pass_s", PassSeconds(after)}};
  std::printf("%s\n", line.dump().c_str());
  return absl::OkStatus();
}

absl::Status Run(int argc, char** argv) {
  if (argc < 3) return absl::InvalidArgumentError("usage: weight_delta_bench FILE FILE [FILE ...]");
  ASSIGN_OR_RETURN(Numbers before, Load(argv[1]));
  for (int i = 2; i < argc; ++i) {
    ASSIGN_OR_RETURN(Numbers after, Load(argv[i]));
    RETURN_IF_ERROR(Compare(argv[i], before, after));
    before = std::move(after);
  }
  return absl::OkStatus();
}

}  // namespace
}  // namespace tactus

int main(int argc, char** argv) {
  const absl::Status status = tactus::Run(argc, argv);
  if (!status.ok()) std::fprintf(stderr, "weight_delta_bench: %s\n", std::string(status.message()).c_str());
  return status.ok() ? 0 : 1;
}
