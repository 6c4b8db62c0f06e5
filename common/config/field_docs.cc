#include "common/config/field_docs.h"

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "common/config/field_path.h"
#include "common/config/field_rules.h"
#include "google/protobuf/descriptor.h"
#include "google/protobuf/descriptor.pb.h"
#include "proto/config.pb.h"

namespace tactus::config {
namespace {

using google::protobuf::DescriptorPool;
using google::protobuf::EnumValueDescriptor;
using google::protobuf::FieldDescriptor;
using google::protobuf::SourceLocation;

constexpr char kHead[] = R"(# Configuration

Written by `config_docs` from `proto/config.proto`; do not edit. A run is one textproto, `configs/*.textproto` are complete
examples. `tactus check-config FILE` checks one and prints it with every default, `tactus check-config --fields` prints the
fields without their meaning. `--set path.to.field=value` overrides one field.

)";

// The comment at a field or an enum's value as one line; "" = none.
template <typename D>
std::string CommentOf(const D* described) {
  SourceLocation location;
  if (described == nullptr || !described->GetSourceLocation(&location)) return "";
  std::string text = absl::StrCat(location.leading_comments, location.trailing_comments);
  absl::StripAsciiWhitespace(&text);
  return absl::StrReplaceAll(text, {{"\n ", " "}, {"\n", " "}, {"|", "\\|"}});
}

// A field's comment, then those of its enum's values.
std::string Meaning(const FieldDescriptor* field) {
  std::string text = CommentOf(field);
  if (field == nullptr || field->enum_type() == nullptr) return text;
  for (int i = 0; i < field->enum_type()->value_count(); ++i) {
    const EnumValueDescriptor* value = field->enum_type()->value(i);
    const std::string comment = CommentOf(value);
    if (!comment.empty()) absl::StrAppend(&text, " `", value->name(), "`: ", comment, ".");
  }
  return text;
}

std::string Code(const std::string& text) { return text.empty() ? "" : absl::StrCat("`", text, "`"); }

std::string Padded(std::string text, size_t width) {
  text.append(text.size() < width ? width - text.size() : 1, ' ');
  return text;
}

}  // namespace

std::string FieldsText() {
  std::string out;
  ForEachLeaf(RunConfig::descriptor(), [&out](const std::string& path, const FieldDescriptor* field) {
    const std::string line = absl::StrCat(Padded(path, 36), Padded(DefaultText(*field), 16), AllowedText(*field));
    absl::StrAppend(&out, absl::StripTrailingAsciiWhitespace(line), "\n");
  });
  return out;
}

absl::StatusOr<std::string> FieldsMarkdown(const std::string& descriptors) {
  google::protobuf::FileDescriptorSet files;
  DescriptorPool pool;
  bool built = files.ParseFromString(descriptors);
  for (const auto& file : files.file()) built = built && pool.BuildFile(file) != nullptr;
  if (!built || pool.FindMessageTypeByName(RunConfig::descriptor()->full_name()) == nullptr) {
    return absl::InvalidArgumentError("expected the descriptor set of proto/config.proto, as the build writes it");
  }
  std::string out = kHead, group = "?";
  ForEachLeaf(RunConfig::descriptor(), [&](const std::string& path, const FieldDescriptor* field) {
    const size_t dot = path.find('.');
    const std::string own = dot == std::string::npos ? "" : path.substr(0, dot);
    if (own != group) {
      absl::StrAppend(&out, group == "?" ? "" : "\n", own.empty() ? "" : absl::StrCat("## ", own, "\n\n"),
                      "| field | default | accepts | meaning |\n|---|---|---|---|\n");
      group = own;
    }
    absl::StrAppend(&out, "| `", path, "` | ", Code(DefaultText(*field)), " | ", AllowedText(*field), " | ",
                    Meaning(pool.FindFieldByName(field->full_name())), " |\n");
  });
  return out;
}

}  // namespace tactus::config
