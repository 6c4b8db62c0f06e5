#include "common/base/json_field.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "absl/strings/str_join.h"
#include "common/base/status_macros.h"

namespace tactus {
namespace {

constexpr size_t kMaxShownKey = 100;

// Python writes others, too: strict_json.h.
bool IsFiniteNumber(const nlohmann::json& value) { return value.is_number() && std::isfinite(value.get<double>()); }

const nlohmann::json& NullJson() {
  static const auto* const null = new nlohmann::json();
  return *null;
}

}  // namespace

absl::StatusOr<JsonField> JsonField::Member(absl::string_view key) const {
  if (!value_->is_object()) return Expected("an object");
  const auto it = value_->find(std::string(key));
  std::string path = path_.empty() ? std::string(key) : absl::StrCat(path_, ".", key);
  return JsonField(it == value_->end() ? &NullJson() : &*it, source_, std::move(path));
}

JsonField JsonField::Element(size_t index) const {
  return JsonField(&(*value_)[index], source_, absl::StrCat(path_, "[", index, "]"));
}

absl::StatusOr<std::string> JsonField::String() const {
  if (!value_->is_string()) return Expected("a string");
  return value_->get<std::string>();
}

absl::StatusOr<std::string> JsonField::StringOrNumber() const {
  if (value_->is_string()) return String();
  if (!value_->is_number()) return Expected("a string or a number");
  std::string text = value_->dump();
  // A number that is no 64-bit integer was kept as a double: one of up to 15 digits comes back as it was.
  const auto digits = std::ranges::count_if(text, [](char c) { return c >= '0' && c <= '9'; });
  if (value_->is_number_float() && (digits > 15 || text.find('e') != std::string::npos)) {
    return Expected("a string: a number this long would lose digits");
  }
  return text;
}

absl::StatusOr<bool> JsonField::Bool() const {
  if (!value_->is_boolean()) return Expected("true or false");
  return value_->get<bool>();
}

absl::StatusOr<int64_t> JsonField::Integer() const {
  const bool fits = value_->is_number_integer() &&
                    (!value_->is_number_unsigned() ||
                     value_->get<uint64_t>() <= static_cast<uint64_t>(std::numeric_limits<int64_t>::max()));
  if (!fits) return Expected("a 64-bit integer");
  return value_->get<int64_t>();
}

absl::StatusOr<int64_t> JsonField::IntegerIn(int64_t min, int64_t max) const {
  const absl::StatusOr<int64_t> value = Integer();
  if (!value.ok() || *value < min || *value > max) return Expected(absl::StrCat("an integer from ", min, " to ", max));
  return value;
}

absl::StatusOr<uint64_t> JsonField::Unsigned() const {
  if (!value_->is_number_unsigned()) return Expected("an integer of at least 0");
  return value_->get<uint64_t>();
}

absl::StatusOr<double> JsonField::Number() const {
  if (!IsFiniteNumber(*value_)) return Expected("a number");
  return value_->get<double>();
}

absl::StatusOr<size_t> JsonField::ArraySize() const {
  if (!value_->is_array()) return Expected("an array");
  return value_->size();
}

absl::StatusOr<std::vector<int32_t>> JsonField::Indices() const {
  ASSIGN_OR_RETURN(const size_t size, ArraySize());
  std::vector<int32_t> indices;
  indices.reserve(size);
  for (const nlohmann::json& element : *value_) {
    constexpr uint64_t kMax = std::numeric_limits<int32_t>::max();
    if (!element.is_number_unsigned() || element.get<uint64_t>() > kMax) {
      return Element(indices.size()).Expected(absl::StrCat("an integer from 0 to ", kMax));
    }
    indices.push_back(element.get<int32_t>());
  }
  return indices;
}

absl::StatusOr<std::vector<double>> JsonField::Numbers() const {
  ASSIGN_OR_RETURN(const size_t size, ArraySize());
  std::vector<double> numbers(size);
  for (size_t i = 0; i < size; ++i) {
    if (!IsFiniteNumber((*value_)[i])) return Element(i).Expected("a number");
    numbers[i] = (*value_)[i].get<double>();
  }
  return numbers;
}

absl::StatusOr<std::vector<std::string>> JsonField::Strings() const {
  ASSIGN_OR_RETURN(const size_t size, ArraySize());
  std::vector<std::string> strings(size);
  for (size_t i = 0; i < size; ++i) {
    if (!(*value_)[i].is_string()) return Element(i).Expected("a string");
    strings[i] = (*value_)[i].get<std::string>();
  }
  return strings;
}

absl::StatusOr<std::string> JsonField::Id() const {
  if (!value_->is_string() && !value_->is_number_integer()) return Expected("a string or an integer");
  return value_->dump();
}

absl::Status JsonField::CheckKeys(std::initializer_list<absl::string_view> required,
                                  std::initializer_list<absl::string_view> optional) const {
  const std::string expected =
      absl::StrCat(absl::StrJoin(required, ", "), required.size() > 0 && optional.size() > 0 ? ", " : "",
                   absl::StrJoin(optional, ", "));
  RETURN_IF_ERROR(CheckHas({}, expected));
  for (const auto& item : value_->items()) {
    const auto among = [&item](const auto& keys) { return std::ranges::find(keys, item.key()) != keys.end(); };
    if (among(required) || among(optional)) continue;
    return Error(absl::StrCat("unknown key \"", item.key().substr(0, kMaxShownKey), "\", expected ", expected));
  }
  return CheckHas(required, expected);
}

absl::Status JsonField::CheckHas(std::initializer_list<absl::string_view> required) const {
  return CheckHas(required, absl::StrJoin(required, ", "));
}

absl::Status JsonField::CheckHas(std::initializer_list<absl::string_view> required, absl::string_view expected) const {
  if (!value_->is_object()) return Expected(absl::StrCat("a JSON object with the keys ", expected));
  for (const absl::string_view key : required) {
    if (value_->contains(std::string(key))) continue;
    return Error(absl::StrCat("key \"", key, "\" is missing, expected ", expected));
  }
  return absl::OkStatus();
}

absl::Status JsonField::CheckObject() const { return value_->is_object() ? absl::OkStatus() : Expected("an object"); }

absl::Status JsonField::Expected(absl::string_view what) const { return Error(absl::StrCat("expected ", what)); }

absl::Status JsonField::Error(absl::string_view problem) const {
  return absl::InvalidArgumentError(absl::StrCat(source_, ": ", path_, path_.empty() ? "" : ": ", problem));
}

}  // namespace tactus
