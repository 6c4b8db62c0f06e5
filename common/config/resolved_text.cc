#include <charconv>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "common/base/sha256.h"
#include "common/config/field_path.h"
#include "common/config/run_config.h"
#include "google/protobuf/descriptor.h"
#include "google/protobuf/message.h"

// TextFormat's printer leaves out empty strings and lists, so this one writes every field.
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
    default:
      return absl::StrCat("\"", absl::Utf8SafeCEscape(reflection.GetString(message, field)), "\"");
  }
}

// The one repeated type in the tree is int32; FieldPaths' ratchet test guards that.
std::string ListText(const Message& message, const FieldDescriptor* field) {
  const auto& reflection = *message.GetReflection();
  std::string out = "[";
  for (int i = 0; i < reflection.FieldSize(message, field); ++i) {
    absl::StrAppend(&out, i == 0 ? "" : ", ", reflection.GetRepeatedInt32(message, field, i));
  }
  return out + "]";
}

void Print(const Message& message, const std::string& indent, std::string* out) {
  const auto* type = message.GetDescriptor();
  for (int i = 0; i < type->field_count(); ++i) {
    const FieldDescriptor* field = type->field(i);
    if (field->cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE) {
      absl::StrAppend(out, indent, field->name(), " {\n");
      Print(message.GetReflection()->GetMessage(message, field), indent + "  ", out);
      absl::StrAppend(out, indent, "}\n");
    } else {
      absl::StrAppend(out, indent, field->name(), ": ",
                      field->is_repeated() ? ListText(message, field) : ScalarText(message, field), "\n");
    }
  }
}

}  // namespace

std::string ResolvedText(const RunConfig& config) {
  std::string out;
  Print(config, "", &out);
  return out;
}

std::string Fingerprint(const RunConfig& config) {
  RunConfig shared = config;
  shared.clear_service();
  shared.clear_actor();
  shared.clear_checkpoint();
  shared.clear_eval();
  shared.mutable_learner()->clear_steps();  // a run may be made longer
  shared.mutable_learner()->clear_threads();
  shared.mutable_learner()->clear_collective_timeout_s();
  shared.mutable_learner()->clear_device();
  shared.mutable_learner()->clear_gpu_memory_mib();
  return Sha256Hex(ResolvedText(shared));
}

std::vector<std::string> FieldPaths() {
  std::vector<std::string> paths;
  ForEachLeaf(RunConfig::descriptor(),
              [&paths](const std::string& path, const FieldDescriptor*) { paths.push_back(path); });
  return paths;
}

}  // namespace tactus::config
