#include "common/config/field_path.h"

#include <cmath>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "common/base/status_macros.h"
#include "google/protobuf/descriptor.h"

namespace tactus::config {
namespace {

using google::protobuf::Descriptor;
using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using google::protobuf::Reflection;

std::string FieldNames(const Descriptor* type) {
  std::vector<std::string> names;
  for (int i = 0; i < type->field_count(); ++i) names.push_back(type->field(i)->name());
  return absl::StrJoin(names, ", ");
}

absl::Status BadValue(absl::string_view path, absl::string_view value, absl::string_view expected) {
  return absl::InvalidArgumentError(absl::StrCat(path, " cannot be \"", value, "\": expected ", expected, "."));
}

// Walks to the message that holds the last part of the path.
absl::StatusOr<const FieldDescriptor*> FindField(const Descriptor* type, absl::string_view path,
                                                 std::vector<const FieldDescriptor*>* parents) {
  const std::vector<std::string> parts = absl::StrSplit(path, '.');
  for (size_t i = 0; i < parts.size(); ++i) {
    const FieldDescriptor* field = type->FindFieldByName(parts[i]);
    const bool last = i + 1 == parts.size();
    if (field == nullptr) {
      const std::string where = i == 0 ? "the top level" : absl::StrJoin(parts.begin(), parts.begin() + i, ".");
      return absl::InvalidArgumentError(
          absl::StrCat("there is no field \"", path, "\": ", where, " has ", FieldNames(type), "."));
    }
    const bool is_message = field->cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE;
    if (last && is_message) {
      return absl::InvalidArgumentError(absl::StrCat(
          "\"", path, "\" is a group of fields: expected one of its fields, ", FieldNames(field->message_type()), "."));
    }
    if (!last && !is_message) {
      return absl::InvalidArgumentError(absl::StrCat("there is no field \"", path,
                                                     "\": ", absl::StrJoin(parts.begin(), parts.begin() + i + 1, "."),
                                                     " is a single value."));
    }
    if (last) return field;
    if (field->is_repeated()) {
      return absl::InvalidArgumentError(
          absl::StrCat("\"", absl::StrJoin(parts.begin(), parts.begin() + i + 1, "."),
                       "\" is a list of groups: expected it in the configuration's file."));
    }
    parents->push_back(field);
    type = field->message_type();
  }
  return absl::InternalError("unreachable: a split path has at least one part");
}

template <typename T>
void Put(Message* message, const FieldDescriptor* field, T value,
         void (Reflection::*set)(Message*, const FieldDescriptor*, T) const,
         void (Reflection::*add)(Message*, const FieldDescriptor*, T) const) {
  (message->GetReflection()->*(field->is_repeated() ? add : set))(message, field, std::move(value));
}

absl::Status PutEnum(Message* message, const FieldDescriptor* field, absl::string_view path, absl::string_view text) {
  const auto* type = field->enum_type();
  const auto* value = type->FindValueByName(std::string(text));
  if (value == nullptr) {
    std::vector<std::string> names;
    for (int i = 0; i < type->value_count(); ++i) names.push_back(type->value(i)->name());
    return BadValue(path, text, absl::StrCat("one of ", absl::StrJoin(names, ", ")));
  }
  message->GetReflection()->SetEnum(message, field, value);
  return absl::OkStatus();
}

// One scalar, set or appended.
absl::Status PutScalar(Message* message, const FieldDescriptor* field, absl::string_view path, absl::string_view text) {
  switch (field->cpp_type()) {
    case FieldDescriptor::CPPTYPE_INT32: {
      int32_t value = 0;
      if (!absl::SimpleAtoi(text, &value)) return BadValue(path, text, "a whole number of 32 bits");
      Put<int32_t>(message, field, value, &Reflection::SetInt32, &Reflection::AddInt32);
      return absl::OkStatus();
    }
    case FieldDescriptor::CPPTYPE_UINT64: {
      uint64_t value = 0;
      if (!absl::SimpleAtoi(text, &value)) return BadValue(path, text, "a whole number from 0 to 2^64 - 1");
      Put<uint64_t>(message, field, value, &Reflection::SetUInt64, &Reflection::AddUInt64);
      return absl::OkStatus();
    }
    case FieldDescriptor::CPPTYPE_DOUBLE: {
      double value = 0;
      if (!absl::SimpleAtod(text, &value) || !std::isfinite(value)) return BadValue(path, text, "a finite number");
      Put<double>(message, field, value, &Reflection::SetDouble, &Reflection::AddDouble);
      return absl::OkStatus();
    }
    case FieldDescriptor::CPPTYPE_BOOL: {
      if (text != "true" && text != "false") return BadValue(path, text, "true or false");
      Put<bool>(message, field, text == "true", &Reflection::SetBool, &Reflection::AddBool);
      return absl::OkStatus();
    }
    case FieldDescriptor::CPPTYPE_ENUM:
      return PutEnum(message, field, path, text);
    case FieldDescriptor::CPPTYPE_STRING:
      Put<std::string>(message, field, std::string(text), &Reflection::SetString, &Reflection::AddString);
      return absl::OkStatus();
    case FieldDescriptor::CPPTYPE_INT64:
    case FieldDescriptor::CPPTYPE_UINT32:
    case FieldDescriptor::CPPTYPE_FLOAT:
    case FieldDescriptor::CPPTYPE_MESSAGE:
      break;
  }
  return absl::InternalError(absl::StrCat(path, " has a type that the configuration does not use"));
}

void Walk(const Descriptor* type, const std::string& prefix,
          const std::function<void(const std::string&, const FieldDescriptor*)>& visit) {
  for (int i = 0; i < type->field_count(); ++i) {
    const FieldDescriptor* field = type->field(i);
    const std::string path = absl::StrCat(prefix, field->name());
    if (field->cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE) {
      Walk(field->message_type(), path + ".", visit);
    } else {
      visit(path, field);
    }
  }
}

}  // namespace

absl::Status SetField(Message* message, absl::string_view path, absl::string_view value) {
  std::vector<const FieldDescriptor*> parents;
  ASSIGN_OR_RETURN(const FieldDescriptor* field, FindField(message->GetDescriptor(), path, &parents));
  for (const FieldDescriptor* parent : parents) message = message->GetReflection()->MutableMessage(message, parent);
  if (!field->is_repeated()) return PutScalar(message, field, path, value);
  message->GetReflection()->ClearField(message, field);
  absl::ConsumePrefix(&value, "[");
  absl::ConsumeSuffix(&value, "]");
  for (absl::string_view item : absl::StrSplit(value, ',', absl::SkipWhitespace())) {
    RETURN_IF_ERROR(PutScalar(message, field, path, absl::StripAsciiWhitespace(item)));
  }
  return absl::OkStatus();
}

void ForEachLeaf(const Descriptor* type, const std::function<void(const std::string&, const FieldDescriptor*)>& visit) {
  Walk(type, "", visit);
}

}  // namespace tactus::config
