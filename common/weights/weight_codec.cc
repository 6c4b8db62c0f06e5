#include "common/weights/weight_codec.h"

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "common/base/sha256.h"
#include "common/base/status_macros.h"
#include "common/data/codec.h"
#include "proto/weight_service.pb.h"

namespace tactus {
namespace {

constexpr int kSha256Bytes = 32;
constexpr size_t kMaxHandleBytes = 256;

// Fields one after the other, numbers as eight bytes and texts after their size: no two manifests give the same bytes.
class Canonical {
 public:
  void Add(uint64_t number) {
    for (int shift = 0; shift < 64; shift += 8) bytes_.push_back(static_cast<char>(number >> shift & 0xff));
  }
  void Add(const std::string& text) {
    Add(text.size());
    bytes_ += text;
  }
  template <typename Number>
  void AddAll(const std::vector<Number>& numbers) {
    Add(numbers.size());
    for (const Number number : numbers) Add(static_cast<uint64_t>(number));
  }
  const std::string& bytes() const { return bytes_; }

 private:
  std::string bytes_;
};

}  // namespace

wire::WeightManifest ToWire(const WeightManifest& manifest) {
  wire::WeightManifest out;
  out.set_run_id(manifest.run_id);
  *out.mutable_version() = ToWire(manifest.version);
  out.set_dtype(manifest.dtype == StorageDType::kFloat32 ? wire::WeightManifest::DTYPE_F32
                                                         : wire::WeightManifest::DTYPE_BF16);
  out.set_total_bytes(manifest.total_bytes);
  for (const WeightManifest::Tensor& tensor : manifest.tensors) {
    wire::WeightManifest::Tensor& added = *out.add_tensors();
    added.set_name(tensor.name);
    added.mutable_shape()->Add(tensor.shape.begin(), tensor.shape.end());
    added.set_bytes(tensor.bytes);
    added.set_sha256(absl::HexStringToBytes(tensor.sha256_hex));
  }
  if (manifest.head_classes.has_value()) *out.mutable_head_classes() = ToWire(*manifest.head_classes);
  if (manifest.shared.has_value()) {
    out.mutable_shared()->set_machine(manifest.shared->machine);
    out.mutable_shared()->set_handle(manifest.shared->handle);
    out.mutable_shared()->set_elements(manifest.shared->elements);
  }
  if (manifest.delta.has_value()) {
    *out.mutable_delta()->mutable_base() = ToWire(manifest.delta->base);
    out.mutable_delta()->mutable_bytes()->Add(manifest.delta->bytes.begin(), manifest.delta->bytes.end());
  }
  return out;
}

std::string ManifestDigest(const WeightManifest& manifest) {
  Canonical fields;
  fields.Add(manifest.run_id);
  fields.Add(manifest.version.incarnation);
  fields.Add(manifest.version.step);
  fields.Add(static_cast<uint64_t>(BytesPerElement(manifest.dtype)));
  fields.Add(manifest.total_bytes);
  fields.Add(manifest.tensors.size());
  for (const WeightManifest::Tensor& tensor : manifest.tensors) {
    fields.Add(tensor.name);
    fields.AddAll(tensor.shape);
    fields.Add(tensor.bytes);
    fields.Add(tensor.sha256_hex);
  }
  fields.Add(static_cast<uint64_t>(manifest.head_classes.has_value()));
  if (manifest.head_classes.has_value()) {
    fields.AddAll(manifest.head_classes->local);
    fields.AddAll(manifest.head_classes->global);
  }
  return Sha256Hex(fields.bytes());
}

absl::StatusOr<WeightManifest> FromWire(const wire::WeightManifest& manifest, int calibrated_heads) {
  WeightManifest out;
  out.run_id = manifest.run_id();
  out.version = FromWire(manifest.version());
  if (manifest.dtype() != wire::WeightManifest::DTYPE_F32 && manifest.dtype() != wire::WeightManifest::DTYPE_BF16) {
    return absl::InvalidArgumentError(
        absl::StrCat("weight manifest: dtype is ", static_cast<int>(manifest.dtype()), "; expected F32 or BF16"));
  }
  out.dtype = manifest.dtype() == wire::WeightManifest::DTYPE_F32 ? StorageDType::kFloat32 : StorageDType::kBFloat16;
  out.total_bytes = manifest.total_bytes();
  for (const wire::WeightManifest::Tensor& tensor : manifest.tensors()) {
    if (tensor.sha256().size() != kSha256Bytes) {
      return absl::InvalidArgumentError(absl::StrCat("weight manifest: a tensor's sha256 has ", tensor.sha256().size(),
                                                     " bytes; expected ", kSha256Bytes));
    }
    out.tensors.push_back({tensor.name(),
                           {tensor.shape().begin(), tensor.shape().end()},
                           tensor.bytes(),
                           absl::BytesToHexString(tensor.sha256())});
  }
  ASSIGN_OR_RETURN(out.head_classes,
                   FromWire("weight manifest: head_classes",
                            manifest.has_head_classes() ? &manifest.head_classes() : nullptr, calibrated_heads));
  if (manifest.has_shared()) {
    if (manifest.shared().handle().empty() || manifest.shared().handle().size() > kMaxHandleBytes) {
      return absl::InvalidArgumentError(absl::StrCat("weight manifest: shared.handle has ",
                                                     manifest.shared().handle().size(), " bytes; expected 1 to ",
                                                     kMaxHandleBytes));
    }
    out.shared = SharedWeights{.machine = manifest.shared().machine(),
                               .handle = manifest.shared().handle(),
                               .elements = manifest.shared().elements(),
                               .dtype = out.dtype,
                               .version = out.version};
  }
  if (manifest.has_delta()) {
    out.delta = WeightManifest::Delta{.base = FromWire(manifest.delta().base()),
                                      .bytes = {manifest.delta().bytes().begin(), manifest.delta().bytes().end()}};
  }
  return out;
}

}  // namespace tactus
