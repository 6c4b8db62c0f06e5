#include "common/tokenizer/json_field.h"

#include "absl/strings/str_format.h"

namespace tactus {
namespace {

constexpr int kMaxDepth = 64;

// Before anything recursive sees the text.
int MaxDepth(absl::string_view text) {
  int depth = 0, deepest = 0;
  bool in_string = false;
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (in_string) {
      if (c == '\\') {
        ++i;
      } else if (c == '"') {
        in_string = false;
      }
    } else if (c == '"') {
      in_string = true;
    } else if (c == '{' || c == '[') {
      deepest = std::max(deepest, ++depth);
    } else if (c == '}' || c == ']') {
      --depth;
    }
  }
  return deepest;
}

const nlohmann::json& NullJson() {
  static const auto* const null = new nlohmann::json();
  return *null;
}

}  // namespace

absl::StatusOr<nlohmann::json> ParseJson(absl::string_view text, absl::string_view source) {
  if (MaxDepth(text) > kMaxDepth) {
    return absl::InvalidArgumentError(absl::StrFormat("%s: expected JSON no deeper than %d levels", source, kMaxDepth));
  }
  try {
    return nlohmann::json::parse(text.begin(), text.end());
  } catch (const nlohmann::json::exception& error) {
    // "[json.exception.parse_error.101] parse error at line 1, column 2: …": the number says nothing to a reader.
    absl::string_view what = error.what();
    const size_t end = what.find("] ");
    if (end != absl::string_view::npos) what.remove_prefix(end + 2);
    return absl::InvalidArgumentError(absl::StrCat(source, ": expected JSON: ", what.substr(0, 300)));
  }
}

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

absl::StatusOr<bool> JsonField::Bool() const {
  if (!value_->is_boolean()) return Expected("true or false");
  return value_->get<bool>();
}

absl::StatusOr<int64_t> JsonField::IntegerIn(int64_t min, int64_t max) const {
  const auto out_of_range = [&] { return Expected(absl::StrFormat("an integer from %d to %d", min, max)); };
  if (!value_->is_number_integer()) return out_of_range();
  if (value_->is_number_unsigned() && value_->get<uint64_t>() > static_cast<uint64_t>(INT64_MAX)) return out_of_range();
  const int64_t value = value_->get<int64_t>();
  if (value < min || value > max) return out_of_range();
  return value;
}

absl::StatusOr<size_t> JsonField::ArraySize() const {
  if (!value_->is_array()) return Expected("an array");
  return value_->size();
}

absl::Status JsonField::CheckObject() const { return value_->is_object() ? absl::OkStatus() : Expected("an object"); }

absl::Status JsonField::Expected(absl::string_view what) const { return Error(absl::StrCat("expected ", what)); }

absl::Status JsonField::Error(absl::string_view problem) const {
  return absl::InvalidArgumentError(absl::StrCat(source_, ": ", path_.empty() ? "" : path_ + ": ", problem));
}

}  // namespace tactus
