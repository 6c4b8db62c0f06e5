#include "common/config/field_rules.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/base/decimal.h"
#include "common/base/host_port.h"
#include "common/config/scalar_text.h"
#include "common/device/device_spec.h"
#include "common/storage/storage_uri.h"
#include "proto/options.pb.h"

namespace tactus::config {
namespace {

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;

std::string Number(double value) {
  return value == std::floor(value) && std::fabs(value) < 1e15 ? absl::StrCat(static_cast<int64_t>(value))
                                                               : absl::StrCat(value);
}

bool IsNumber(const FieldDescriptor& field) {
  switch (field.cpp_type()) {
    case FieldDescriptor::CPPTYPE_INT32:
    case FieldDescriptor::CPPTYPE_INT64:
    case FieldDescriptor::CPPTYPE_UINT32:
    case FieldDescriptor::CPPTYPE_UINT64:
    case FieldDescriptor::CPPTYPE_DOUBLE:
    case FieldDescriptor::CPPTYPE_FLOAT:
      return true;
    case FieldDescriptor::CPPTYPE_BOOL:
    case FieldDescriptor::CPPTYPE_ENUM:
    case FieldDescriptor::CPPTYPE_STRING:
    case FieldDescriptor::CPPTYPE_MESSAGE:
      return false;
  }
  return false;
}

std::string RangeText(const FieldRule& rule) {
  return rule.has_max() ? absl::StrCat("from ", Number(rule.min()), " to ", Number(rule.max()))
                        : absl::StrCat("at least ", Number(rule.min()));
}

bool InRange(const FieldRule& rule, double value) {  // false for NaN
  return value >= rule.min() && (!rule.has_max() || value <= rule.max());
}

bool IsShare(const std::string& text, bool zero_too) {
  const absl::StatusOr<Decimal> share = Decimal::ParseShare(text, "");
  return share.ok() && (zero_too || share->numerator() > 0);
}

bool IsName(absl::string_view text) {
  if (text.empty() || text.size() > 63) return false;
  for (const char c : text) {
    if (!absl::ascii_isalnum(static_cast<unsigned char>(c)) && c != '-' && c != '_' && c != '.') return false;
  }
  return true;
}

std::string OneOfText(const FieldRule& rule) {
  std::vector<std::string> quoted;
  for (const std::string& value : rule.one_of()) quoted.push_back(absl::StrCat("\"", value, "\""));
  const std::string last = quoted.back();
  quoted.pop_back();
  return quoted.empty() ? last : absl::StrCat(absl::StrJoin(quoted, ", "), " or ", last);
}

std::string FormText(const FieldRule& rule) {
  switch (rule.form()) {
    case FieldRule::TEXT:
      return rule.one_of_size() > 0 ? OneOfText(rule) : rule.required();
    case FieldRule::SHARE:
      return absl::StrCat("a decimal such as \"0.4\", from 0 to 1, with at most ", Decimal::kMaxDigits,
                          " digits after the point");
    case FieldRule::SHARE_ABOVE_0:
      return absl::StrCat("a decimal such as \"0.4\", above 0 and at most 1, with at most ", Decimal::kMaxDigits,
                          " digits after the point");
    case FieldRule::ADDRESS:
      return "host:port or [IPv6]:port";
    case FieldRule::PEER_ADDRESS:
      return "host:port or [IPv6]:port, the port above 0";
    case FieldRule::DEVICE:
      return "\"auto\", \"cpu\" or \"cuda:N\", N counting the GPUs from 0";
    case FieldRule::NAME:
      return "1 to 63 letters, digits, '-', '_' or '.'";
    case FieldRule::UPLOAD_URI:
      return "s3://BUCKET/FOLDER, gs://BUCKET/FOLDER or file:///FOLDER, without a key in it";
  }
  std::abort();  // the enum is closed
}

bool HasForm(const FieldRule& rule, const std::string& text) {
  switch (rule.form()) {
    case FieldRule::TEXT:
      if (rule.one_of_size() == 0) return !rule.has_required() || !text.empty();
      return std::find(rule.one_of().begin(), rule.one_of().end(), text) != rule.one_of().end();
    case FieldRule::SHARE:
      return IsShare(text, /*zero_too=*/true);
    case FieldRule::SHARE_ABOVE_0:
      return IsShare(text, /*zero_too=*/false);
    case FieldRule::ADDRESS:
      return HostPort::Parse(text, "").ok();
    case FieldRule::PEER_ADDRESS: {
      const absl::StatusOr<HostPort> address = HostPort::Parse(text, "");
      return text.empty() || (address.ok() && address->port > 0);
    }
    case FieldRule::DEVICE:
      return ParseDeviceSpec(text).ok();
    case FieldRule::NAME:
      return IsName(text);
    case FieldRule::UPLOAD_URI: {
      const absl::StatusOr<StorageUri> uri = StorageUri::Parse(text);
      return text.empty() || (uri.ok() && uri->scheme != "hf");
    }
  }
  std::abort();
}

std::optional<Problem> CheckText(const FieldDescriptor& field, const std::string& path, const std::string& text) {
  const FieldRule& rule = RuleOf(field);
  if (HasForm(rule, text)) return std::nullopt;
  const bool missing = text.empty() && !field.has_default_value();
  return Problem{
      path, absl::StrCat(missing ? "is missing" : absl::StrCat("is \"", text, "\""), ": expected ", FormText(rule))};
}

double NumberOf(const Message& message, const FieldDescriptor* field) {
  const auto& reflection = *message.GetReflection();
  if (field->cpp_type() == FieldDescriptor::CPPTYPE_INT32) return reflection.GetInt32(message, field);
  if (field->cpp_type() == FieldDescriptor::CPPTYPE_UINT64) {
    return static_cast<double>(reflection.GetUInt64(message, field));
  }
  return reflection.GetDouble(message, field);
}

std::optional<Problem> CheckNumber(const Message& message, const FieldDescriptor* field, const std::string& path) {
  const FieldRule& rule = RuleOf(*field);
  const auto wrong = [&](const char* verb, double value) {
    return Problem{path, absl::StrCat(verb, Number(value), ": expected a value ", RangeText(rule))};
  };
  if (!field->is_repeated()) {
    const double value = NumberOf(message, field);
    if (!InRange(rule, value)) return wrong("is ", value);
    return std::nullopt;
  }
  const auto& reflection = *message.GetReflection();
  for (int i = 0; i < reflection.FieldSize(message, field); ++i) {
    const double value = field->cpp_type() == FieldDescriptor::CPPTYPE_INT32
                             ? reflection.GetRepeatedInt32(message, field, i)
                             : static_cast<double>(reflection.GetRepeatedUInt64(message, field, i));
    if (!InRange(rule, value)) return wrong("holds ", value);
  }
  return std::nullopt;
}

std::optional<Problem> CheckEach(const Message& message, const FieldDescriptor* field, const std::string& path) {
  const auto& reflection = *message.GetReflection();
  for (int i = 0; i < reflection.FieldSize(message, field); ++i) {
    const std::string place = absl::StrCat(path, "[", i, "]");
    std::optional<Problem> problem = field->cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE
                                         ? CheckRules(reflection.GetRepeatedMessage(message, field, i), place + ".")
                                         : CheckText(*field, place, reflection.GetRepeatedString(message, field, i));
    if (problem) return problem;
  }
  return std::nullopt;
}

}  // namespace

const FieldRule& RuleOf(const FieldDescriptor& field) { return field.options().GetExtension(rule); }

std::string AllowedText(const FieldDescriptor& field) {
  if (IsNumber(field)) return RangeText(RuleOf(field));
  if (field.cpp_type() == FieldDescriptor::CPPTYPE_STRING) return FormText(RuleOf(field));
  if (field.cpp_type() != FieldDescriptor::CPPTYPE_ENUM) return "true or false";
  std::vector<std::string> names;
  for (int i = 0; i < field.enum_type()->value_count(); ++i) names.push_back(field.enum_type()->value(i)->name());
  return absl::StrJoin(names, ", ");
}

std::string DefaultText(const FieldDescriptor& field) {
  if (RuleOf(field).has_derived_default()) return RuleOf(field).derived_default();
  if (field.is_repeated() || !field.has_default_value()) return "";
  return ScalarText(*google::protobuf::MessageFactory::generated_factory()->GetPrototype(field.containing_type()),
                    &field);
}

std::optional<Problem> CheckRules(const Message& message, const std::string& prefix) {
  const auto* type = message.GetDescriptor();
  for (int i = 0; i < type->field_count(); ++i) {
    const FieldDescriptor* field = type->field(i);
    const std::string path = absl::StrCat(prefix, field->name());
    const bool derived = RuleOf(*field).has_derived_default() && !message.GetReflection()->HasField(message, field);
    std::optional<Problem> problem;
    const bool texts = field->cpp_type() == FieldDescriptor::CPPTYPE_STRING;
    const bool messages = field->cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE;
    if (field->is_repeated() && (texts || messages)) {
      problem = CheckEach(message, field, path);
    } else if (messages) {
      problem = CheckRules(message.GetReflection()->GetMessage(message, field), path + ".");
    } else if (texts && !derived) {
      problem = CheckText(*field, path, message.GetReflection()->GetString(message, field));
    } else if (IsNumber(*field) && !derived) {
      problem = CheckNumber(message, field, path);
    }
    if (problem) return problem;
  }
  return std::nullopt;
}

}  // namespace tactus::config
