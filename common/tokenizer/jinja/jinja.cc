#include "common/tokenizer/jinja/jinja.h"

#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "common/base/strict_json.h"
#include "common/tokenizer/jinja/parser.h"
#include "common/tokenizer/jinja/renderer.h"
#include "common/tokenizer/utf8.h"

namespace tactus::jinja {
namespace {

using Json = nlohmann::ordered_json;

absl::StatusOr<Value> FromJson(Runtime& runtime, const Json& json, int depth = 0) {
  if (depth > kMaxValueDepth) return TypeError("the values given to the template are too deep");
  switch (json.type()) {
    case Json::value_t::boolean:
      return Value(json.get<bool>());
    case Json::value_t::number_integer:
      return Value(json.get<int64_t>());
    case Json::value_t::number_float:
      return Value(json.get<double>());
    case Json::value_t::string:
      return Value(ReplaceInvalidUtf8(json.get_ref<const std::string&>()));
    case Json::value_t::number_unsigned: {
      const auto number = json.get<uint64_t>();
      if (number <= static_cast<uint64_t>(INT64_MAX)) return Value(static_cast<int64_t>(number));
      return TypeError("a whole number given to the template leaves 64 bits");
    }
    case Json::value_t::array: {
      std::vector<Value> items;
      for (const Json& item : json) {
        ASSIGN_OR_RETURN(items.emplace_back(), FromJson(runtime, item, depth + 1));
      }
      return runtime.NewList(std::move(items));
    }
    case Json::value_t::object: {
      std::vector<std::pair<Value, Value>> members;
      for (const auto& [key, member] : json.items()) {
        ASSIGN_OR_RETURN(Value value, FromJson(runtime, member, depth + 1));
        members.emplace_back(Value(ReplaceInvalidUtf8(key)), std::move(value));
      }
      return runtime.NewDict(std::move(members));
    }
    default:
      return Value(None{});
  }
}

class ParsedTemplate : public Template {
 public:
  ParsedTemplate(Block block, bool tells_time) : block_(std::move(block)), tells_time_(tells_time) {}

  absl::StatusOr<std::string> Render(const Json& names, const std::tm& now) const override {
    Runtime runtime(kRenderBudgetBytes, now);
    std::vector<std::pair<absl::string_view, Value>> given;
    for (const auto& [name, json] : names.items()) {
      ASSIGN_OR_RETURN(Value value, FromJson(runtime, json));
      given.emplace_back(name, std::move(value));
    }
    return Renderer(runtime, std::move(given)).Run(block_);
  }

  bool tells_time() const override { return tells_time_; }

 private:
  const Block block_;
  const bool tells_time_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<const Template>> Template::Parse(absl::string_view source) {
  if (source.size() > kMaxTemplateBytes) {
    return absl::InvalidArgumentError(
        absl::StrCat("a template of ", source.size(), " bytes; expected at most ", kMaxTemplateBytes));
  }
  const std::string text = ReplaceInvalidUtf8(source);
  ASSIGN_OR_RETURN(Block block, jinja::Parse(text));
  return std::make_unique<const ParsedTemplate>(std::move(block), absl::StrContains(text, "strftime_now"));
}

absl::StatusOr<std::string> RenderTemplate(absl::string_view source, absl::string_view names_json, const std::tm& now) {
  ASSIGN_OR_RETURN(const std::unique_ptr<const Template> parsed, Template::Parse(source));
  ASSIGN_OR_RETURN(const Json names, ParseStrictJson(names_json, "names"));
  if (!names.is_object()) return absl::InvalidArgumentError("names: expected an object");
  return parsed->Render(names, now);
}

}  // namespace tactus::jinja
