#include "common/tokenizer/chat/tokenizer_files.h"

#include <nlohmann/json.hpp>
#include <optional>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/base/file.h"
#include "common/base/json_field.h"
#include "common/base/status_macros.h"
#include "common/base/strict_json.h"

namespace tactus {
namespace {

constexpr size_t kMaxFileBytes = size_t{16} << 20;
// What `transformers` hands to a template beside the messages.
constexpr const char* kSpecialTokens[] = {"bos_token", "eos_token", "unk_token", "sep_token",
                                          "pad_token", "cls_token", "mask_token"};

// nullopt: there is no such file.
absl::StatusOr<std::optional<std::string>> ReadIfThere(const std::string& path) {
  absl::StatusOr<std::string> content = ReadFile(path, kMaxFileBytes);
  if (absl::IsNotFound(content.status())) return std::nullopt;
  RETURN_IF_ERROR(content.status());
  return *std::move(content);
}

absl::StatusOr<nlohmann::json> ReadObject(const std::string& path) {
  ASSIGN_OR_RETURN(const std::optional<std::string> text, ReadIfThere(path));
  if (!text) return nlohmann::json::object();
  ASSIGN_OR_RETURN(nlohmann::json json, ParseJson(*text, path, {.max_bytes = kMaxFileBytes}));
  RETURN_IF_ERROR(JsonField(json, path).CheckObject());
  return json;
}

absl::StatusOr<std::string> TemplateIn(const JsonField& root) {
  ASSIGN_OR_RETURN(const JsonField field, root.Member("chat_template"));
  if (field.is_null() || field.value().is_string()) return field.is_null() ? "" : field.String();
  ASSIGN_OR_RETURN(const size_t size, field.ArraySize());  // [{"name": "default", "template": "…"}, …]
  for (size_t i = 0; i < size; ++i) {
    JSON_MEMBER(const std::string name, field.Element(i), "name", String());
    if (name != "default") continue;
    JSON_MEMBER(std::string source, field.Element(i), "template", String());
    return source;
  }
  return field.Expected("a template named \"default\"");
}

// A special token's text, which may stand in an object of its own; empty = none.
absl::StatusOr<std::string> TokenIn(const JsonField& root, const char* name) {
  ASSIGN_OR_RETURN(const JsonField token, root.Member(name));
  if (token.is_null()) return std::string();
  if (!token.value().is_object()) return token.String();
  JSON_MEMBER(std::string content, token, "content", String());
  return content;
}

absl::Status ReadSpecialTokens(const JsonField& config, const JsonField& map, TokenizerFiles& out) {
  const bool map_counts = !config.value().contains("added_tokens_decoder");
  for (const char* name : kSpecialTokens) {
    ASSIGN_OR_RETURN(const std::string in_config, TokenIn(config, name));
    ASSIGN_OR_RETURN(const std::string in_map, TokenIn(map, name));
    const bool takes_map = map_counts && map.value().contains(name);
    const std::string& token = takes_map ? in_map : in_config;
    if (!token.empty()) out.special_tokens.emplace_back(name, token);
    if (in_config.empty() || in_map.empty() || in_config == in_map) continue;
    out.disagreements.push_back(absl::StrCat(config.source(), " names the ", name, " \"", in_config, "\", ",
                                             map.source(), " \"", in_map, "\"; as in transformers, \"", token,
                                             "\" counts"));
  }
  return absl::OkStatus();
}

}  // namespace

std::string TokenizerFiles::SpecialToken(absl::string_view name) const {
  for (const auto& [known, text] : special_tokens) {
    if (known == name) return text;
  }
  return "";
}

absl::StatusOr<TokenizerFiles> ReadTokenizerFiles(const std::string& folder) {
  const std::string config_path = folder + "/tokenizer_config.json", map_path = folder + "/special_tokens_map.json",
                    jinja_path = folder + "/chat_template.jinja", json_path = folder + "/chat_template.json";
  ASSIGN_OR_RETURN(const nlohmann::json config_json, ReadObject(config_path));
  ASSIGN_OR_RETURN(const nlohmann::json map_json, ReadObject(map_path));
  ASSIGN_OR_RETURN(const nlohmann::json template_json, ReadObject(json_path));
  ASSIGN_OR_RETURN(const std::optional<std::string> jinja, ReadIfThere(jinja_path));
  const JsonField config(config_json, config_path);
  TokenizerFiles out;
  RETURN_IF_ERROR(ReadSpecialTokens(config, JsonField(map_json, map_path), out));
  struct Source {
    const std::string& path;
    std::string text;
  };
  std::vector<Source> sources = {{jinja_path, jinja.value_or("")}};
  ASSIGN_OR_RETURN(sources.emplace_back(Source{config_path, ""}).text, TemplateIn(config));
  ASSIGN_OR_RETURN(sources.emplace_back(Source{json_path, ""}).text, TemplateIn(JsonField(template_json, json_path)));
  out.chat_template_path = config_path;
  for (const Source& source : sources) {
    if (source.text.empty()) continue;
    if (out.chat_template.empty()) {
      out.chat_template = source.text;
      out.chat_template_path = source.path;
    } else if (source.text != out.chat_template) {
      out.disagreements.push_back(
          absl::StrCat(out.chat_template_path, " and ", source.path,
                       " hold different chat templates; as in transformers, the former counts"));
    }
  }
  return out;
}

}  // namespace tactus
