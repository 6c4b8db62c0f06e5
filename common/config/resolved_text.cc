#include <charconv>
#include <cstdlib>
#include <memory>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "common/base/sha256.h"
#include "common/config/field_path.h"
#include "common/config/field_rules.h"
#include "common/config/run_config.h"
#include "common/config/scalar_text.h"
#include "google/protobuf/descriptor.h"
#include "google/protobuf/message.h"
#include "proto/config.pb.h"
#include "proto/options.pb.h"

// TextFormat's printer leaves out what is not set, so this one writes every field.
namespace tactus::config {
namespace {

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;

// The shortest text that reads back as the same double.
std::string DoubleText(double value) {
  char buffer[64];
  const std::to_chars_result result = std::to_chars(buffer, buffer + sizeof buffer, value);
  return std::string(buffer, result.ptr);
}

// The one repeated scalar in the tree is int32; FieldPaths' ratchet test guards that.
std::string ListText(const Message& message, const FieldDescriptor* field) {
  const auto& reflection = *message.GetReflection();
  std::string out = "[";
  for (int i = 0; i < reflection.FieldSize(message, field); ++i) {
    absl::StrAppend(&out, i == 0 ? "" : ", ", reflection.GetRepeatedInt32(message, field, i));
  }
  return out + "]";
}

// Of a field that holds one group of fields, or a list of them.
std::vector<const Message*> Groups(const Message& message, const FieldDescriptor* field) {
  const auto& reflection = *message.GetReflection();
  if (!field->is_repeated()) return {&reflection.GetMessage(message, field)};
  std::vector<const Message*> groups;
  for (int i = 0; i < reflection.FieldSize(message, field); ++i) {
    groups.push_back(&reflection.GetRepeatedMessage(message, field, i));
  }
  return groups;
}

// What stands in place of a value that is no part of the fingerprint. The line stays, so that fingerprints of runs that
// began with an older version hold.
std::string BlankText(const FieldDescriptor* field) {
  if (field->cpp_type() == FieldDescriptor::CPPTYPE_STRING) return "\"\"";
  return field->cpp_type() == FieldDescriptor::CPPTYPE_BOOL ? "false" : "0";
}

bool IsDefault(const Message& message, const FieldDescriptor* field) {
  const std::unique_ptr<Message> unset(message.New());
  return ScalarText(message, field) == ScalarText(*unset, field);
}

enum class Fields { kAll, kFingerprint };

void Print(const Message& message, Fields fields, bool blank, const std::string& indent, std::string* out) {
  const auto* type = message.GetDescriptor();
  for (int i = 0; i < type->field_count(); ++i) {
    const FieldDescriptor* field = type->field(i);
    const FieldRule& rule = RuleOf(*field);
    const bool blank_here = blank || (fields == Fields::kFingerprint && rule.not_in_fingerprint());
    const bool young = fields == Fields::kFingerprint && rule.default_not_in_fingerprint();
    if (young && (blank_here || IsDefault(message, field))) continue;
    if (field->cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE) {
      for (const Message* group : Groups(message, field)) {
        absl::StrAppend(out, indent, field->name(), " {\n");
        Print(*group, fields, blank_here, indent + "  ", out);
        absl::StrAppend(out, indent, "}\n");
      }
    } else {
      absl::StrAppend(out, indent, field->name(), ": ",
                      blank_here             ? BlankText(field)
                      : field->is_repeated() ? ListText(message, field)
                                             : ScalarText(message, field),
                      "\n");
    }
  }
}

std::string Text(const RunConfig& config, Fields fields) {
  std::string out;
  Print(config, fields, /*blank=*/false, "", &out);
  return out;
}

}  // namespace

std::string ScalarText(const Message& message, const FieldDescriptor* field) {
  const auto& reflection = *message.GetReflection();
  switch (field->cpp_type()) {
    case FieldDescriptor::CPPTYPE_INT32:
      return absl::StrCat(reflection.GetInt32(message, field));
    case FieldDescriptor::CPPTYPE_UINT64:
      return absl::StrCat(reflection.GetUInt64(message, field));
    case FieldDescriptor::CPPTYPE_DOUBLE:
      return DoubleText(reflection.GetDouble(message, field));
    case FieldDescriptor::CPPTYPE_BOOL:
      return reflection.GetBool(message, field) ? "true" : "false";
    case FieldDescriptor::CPPTYPE_ENUM:
      return reflection.GetEnum(message, field)->name();
    case FieldDescriptor::CPPTYPE_STRING:
      return absl::StrCat("\"", absl::Utf8SafeCEscape(reflection.GetString(message, field)), "\"");
    case FieldDescriptor::CPPTYPE_INT64:
    case FieldDescriptor::CPPTYPE_UINT32:
    case FieldDescriptor::CPPTYPE_FLOAT:
    case FieldDescriptor::CPPTYPE_MESSAGE:
      break;  // types that the configuration does not use: a test walks all fields
  }
  std::abort();
}

std::string ResolvedText(const RunConfig& config) { return Text(config, Fields::kAll); }

std::string Fingerprint(const RunConfig& config) { return Sha256Hex(Text(config, Fields::kFingerprint)); }

std::vector<std::string> FieldPaths() {
  std::vector<std::string> paths;
  ForEachLeaf(RunConfig::descriptor(),
              [&paths](const std::string& path, const FieldDescriptor*) { paths.push_back(path); });
  return paths;
}

}  // namespace tactus::config
