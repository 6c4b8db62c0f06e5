// The header of a safetensors file: parsed by a walk that builds no tree, then checked against the file's size.
#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>
#include <optional>
#include <tuple>
#include <unordered_set>

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "common/model/folder/safetensors.h"

namespace tactus {
namespace {

using Json = nlohmann::json;

constexpr size_t kMaxMetadataEntries = 10'000;

struct DTypeRow {
  TensorDType dtype;
  absl::string_view name;
  int64_t bytes;
};
constexpr std::array<DTypeRow, 16> kDTypes = {{{TensorDType::kBool, "BOOL", 1},
                                               {TensorDType::kU8, "U8", 1},
                                               {TensorDType::kI8, "I8", 1},
                                               {TensorDType::kF8E5M2, "F8_E5M2", 1},
                                               {TensorDType::kF8E4M3, "F8_E4M3", 1},
                                               {TensorDType::kI16, "I16", 2},
                                               {TensorDType::kU16, "U16", 2},
                                               {TensorDType::kF16, "F16", 2},
                                               {TensorDType::kBF16, "BF16", 2},
                                               {TensorDType::kI32, "I32", 4},
                                               {TensorDType::kU32, "U32", 4},
                                               {TensorDType::kF32, "F32", 4},
                                               {TensorDType::kF64, "F64", 8},
                                               {TensorDType::kI64, "I64", 8},
                                               {TensorDType::kU64, "U64", 8},
                                               {TensorDType::kOther, "of an unknown dtype", 0}}};

// {"name": {"dtype": s, "shape": [n…], "data_offsets": [n, n]}, …, "__metadata__": {s: s, …}} and nothing else;
// where no metadata is there, some writers say null.
// Any other token ends the walk with one sentence in error().
class HeaderReader : public nlohmann::json_sax<Json> {
 public:
  bool null() override;
  bool boolean(bool) override { return Unexpected("a boolean"); }
  bool number_integer(number_integer_t) override { return Unexpected("a negative number"); }
  bool number_float(number_float_t, const string_t&) override { return Unexpected("a fraction"); }
  bool binary(binary_t&) override { return Unexpected("binary data"); }
  bool number_unsigned(number_unsigned_t value) override;
  bool string(string_t& text) override;
  bool start_object(size_t) override;
  bool end_object() override;
  bool start_array(size_t) override;
  bool end_array() override;
  bool key(string_t& name) override;
  bool parse_error(size_t position, const std::string&, const nlohmann::detail::exception&) override {
    return Fail(absl::StrCat("is not valid JSON at byte ", position));
  }

  const std::string& error() const { return error_; }
  SafetensorsHeader& header() { return header_; }

 private:
  enum class Place { kStart, kTop, kTensorValue, kMetadataValue, kTensor, kMetadata, kDone };
  enum class Field { kNone, kDType, kShape, kOffsets };

  bool Fail(std::string error) {
    error_ = std::move(error);
    return false;
  }
  bool Unexpected(absl::string_view what) {
    return Fail(absl::StrCat("holds ", what, " where the format has none", Where()));
  }
  std::string Where() const {
    return place_ == Place::kTensor || place_ == Place::kTensorValue ? absl::StrCat(" (tensor \"", tensor_.name, "\")")
                                                                     : "";
  }
  bool TopKey(std::string& name);
  bool TensorKey(const std::string& name);
  bool FinishTensor();

  SafetensorsHeader header_;
  std::string error_;
  Place place_ = Place::kStart;
  std::unordered_set<std::string> names_;
  bool metadata_seen_ = false;
  std::string metadata_key_;

  // The tensor being read.
  TensorInfo tensor_;
  Field field_ = Field::kNone;
  bool in_array_ = false;
  std::optional<TensorDType> dtype_;
  std::optional<std::vector<uint64_t>> shape_;
  std::optional<std::vector<uint64_t>> offsets_;
};

bool HeaderReader::null() {
  if (place_ != Place::kMetadataValue) return Unexpected("null");
  place_ = Place::kTop;
  return true;
}

bool HeaderReader::TopKey(std::string& name) {
  if (name == "__metadata__") {
    if (metadata_seen_) return Fail("has __metadata__ twice");
    metadata_seen_ = true;
    place_ = Place::kMetadataValue;
    return true;
  }
  if (name.size() > kMaxSafetensorsNameBytes) {
    return Fail(absl::StrCat("has a tensor name of more than ", kMaxSafetensorsNameBytes, " bytes"));
  }
  if (header_.tensors.size() == kMaxSafetensorsTensors) {
    return Fail(absl::StrCat("has more than ", kMaxSafetensorsTensors, " tensors"));
  }
  if (!names_.insert(name).second) return Fail(absl::StrCat("names tensor \"", name, "\" twice"));
  tensor_ = TensorInfo();
  tensor_.name = std::move(name);
  dtype_.reset();
  shape_.reset();
  offsets_.reset();
  place_ = Place::kTensorValue;
  return true;
}

bool HeaderReader::TensorKey(const std::string& name) {
  if (name == "dtype" && !dtype_) {
    field_ = Field::kDType;
  } else if (name == "shape" && !shape_) {
    field_ = Field::kShape;
  } else if (name == "data_offsets" && !offsets_) {
    field_ = Field::kOffsets;
  } else {
    return Fail(absl::StrCat("has an unknown or repeated key \"", name.substr(0, 40), "\"", Where()));
  }
  return true;
}

bool HeaderReader::key(string_t& name) {
  if (place_ == Place::kTop) return TopKey(name);
  if (place_ == Place::kTensor) return TensorKey(name);
  metadata_key_ = std::move(name);
  if (header_.metadata.size() == kMaxMetadataEntries) return Fail("has too many __metadata__ entries");
  return header_.metadata.count(metadata_key_) == 0 || Fail("has a __metadata__ key twice");
}

bool HeaderReader::string(string_t& text) {
  if (place_ == Place::kMetadata) {
    header_.metadata.emplace(metadata_key_, std::move(text));
    return true;
  }
  if (place_ != Place::kTensor || field_ != Field::kDType) return Unexpected("a string");
  dtype_ = TensorDType::kOther;
  for (const DTypeRow& row : kDTypes) {
    if (row.name == text) dtype_ = row.dtype;
  }
  field_ = Field::kNone;
  return true;
}

bool HeaderReader::number_unsigned(number_unsigned_t value) {
  if (!in_array_) return Unexpected("a number");
  std::vector<uint64_t>& list = field_ == Field::kShape ? *shape_ : *offsets_;
  const size_t limit = field_ == Field::kShape ? kMaxSafetensorsRank : 2;
  if (list.size() == limit) return Fail(absl::StrCat("has a list of more than ", limit, " numbers", Where()));
  list.push_back(value);
  return true;
}

bool HeaderReader::start_object(size_t) {
  if (place_ == Place::kStart) {
    place_ = Place::kTop;
  } else if (place_ == Place::kTensorValue) {
    place_ = Place::kTensor;
  } else if (place_ == Place::kMetadataValue) {
    place_ = Place::kMetadata;
  } else {
    return Unexpected("an object");
  }
  return true;
}

bool HeaderReader::start_array(size_t) {
  if (place_ != Place::kTensor || in_array_ || (field_ != Field::kShape && field_ != Field::kOffsets)) {
    return Unexpected("a list");
  }
  in_array_ = true;
  (field_ == Field::kShape ? shape_ : offsets_).emplace();
  return true;
}

bool HeaderReader::end_array() {
  in_array_ = false;
  field_ = Field::kNone;
  return true;
}

bool HeaderReader::end_object() {
  if (place_ == Place::kTensor && !FinishTensor()) return false;
  place_ = place_ == Place::kTop ? Place::kDone : Place::kTop;
  return true;
}

bool HeaderReader::FinishTensor() {
  if (!dtype_ || !shape_ || !offsets_ || offsets_->size() != 2) {
    return Fail(absl::StrCat("lacks dtype, shape or two data_offsets", Where()));
  }
  tensor_.dtype = *dtype_;
  tensor_.numel = 1;
  for (const uint64_t extent : *shape_) {
    if (extent > INT64_MAX || __builtin_mul_overflow(tensor_.numel, static_cast<int64_t>(extent), &tensor_.numel)) {
      return Fail(absl::StrCat("has a shape whose product overflows", Where()));
    }
    tensor_.shape.push_back(static_cast<int64_t>(extent));
  }
  int64_t bytes = 0;
  if (__builtin_mul_overflow(tensor_.numel, TensorDTypeBytes(tensor_.dtype), &bytes)) {
    return Fail(absl::StrCat("has a shape whose bytes overflow", Where()));
  }
  tensor_.begin = (*offsets_)[0];
  tensor_.end = (*offsets_)[1];
  const bool known = tensor_.dtype != TensorDType::kOther;
  if (tensor_.end < tensor_.begin || (known && tensor_.end - tensor_.begin != static_cast<uint64_t>(bytes))) {
    return Fail(
        absl::StrCat("has data_offsets [", tensor_.begin, ", ", tensor_.end, "] for ", bytes, " bytes", Where()));
  }
  header_.tensors.push_back(std::move(tensor_));
  return true;
}

// Every byte of the data belongs to exactly one tensor: no hole, no overlap, nothing behind the last one.
std::string CheckCoverage(std::vector<TensorInfo>& tensors, uint64_t data_bytes) {
  std::sort(tensors.begin(), tensors.end(), [](const TensorInfo& a, const TensorInfo& b) {
    return std::tie(a.begin, a.end, a.name) < std::tie(b.begin, b.end, b.name);
  });
  uint64_t covered = 0;
  for (const TensorInfo& tensor : tensors) {
    if (tensor.begin != covered) {
      return absl::StrCat("places tensor \"", tensor.name, "\" at byte ", tensor.begin, "; expected ", covered,
                          ", with no hole and no overlap");
    }
    covered = tensor.end;
  }
  if (covered == data_bytes) return "";
  return absl::StrCat("describes ", covered, " bytes of data, but the file holds ", data_bytes);
}

}  // namespace

absl::string_view TensorDTypeName(TensorDType dtype) { return kDTypes[static_cast<size_t>(dtype)].name; }
int64_t TensorDTypeBytes(TensorDType dtype) { return kDTypes[static_cast<size_t>(dtype)].bytes; }

absl::StatusOr<SafetensorsHeader> ParseSafetensorsHeader(absl::string_view header, uint64_t data_bytes,
                                                         absl::string_view source) {
  const auto error = [&](absl::string_view what) {
    return absl::InvalidArgumentError(absl::StrCat(source, ": the safetensors header ", what));
  };
  if (header.empty() || header.front() != '{') return error("does not start with {");
  while (header.back() == ' ') header.remove_suffix(1);  // stops at the { at the latest
  if (header.back() != '}') return error("does not end with } and spaces");
  HeaderReader reader;
  if (!Json::sax_parse(header.begin(), header.end(), &reader)) return error(reader.error());
  const std::string coverage = CheckCoverage(reader.header().tensors, data_bytes);
  if (!coverage.empty()) return error(coverage);
  return std::move(reader.header());
}

}  // namespace tactus
