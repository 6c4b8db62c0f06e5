#include "common/config/textproto.h"

#include <algorithm>
#include <optional>
#include <utility>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "google/protobuf/io/tokenizer.h"

namespace tactus::config {
namespace {

using google::protobuf::TextFormat;

// Keeps the first error; lines and columns count from 1 for people.
class FirstError : public google::protobuf::io::ErrorCollector {
 public:
  explicit FirstError(absl::string_view source) : source_(source) {}
  void AddError(int line, int column, const std::string& message) override {
    if (text_) return;
    text_ = line < 0 ? absl::StrCat(source_, ": ", message)
                     : absl::StrCat(source_, ":", line + 1, ":", column + 1, ": ", message);
  }
  const std::optional<std::string>& text() const { return text_; }

 private:
  std::string source_;
  std::optional<std::string> text_;
};

// "variant[1]" as the name and 1; -1 without an index.
std::pair<std::string, int> SplitIndex(absl::string_view part) {
  const size_t bracket = part.find('[');
  if (bracket == absl::string_view::npos) return {std::string(part), -1};
  int index = -1;
  if (!absl::SimpleAtoi(part.substr(bracket + 1, part.size() - bracket - 2), &index)) index = -1;
  return {std::string(part.substr(0, bracket)), index};
}

}  // namespace

absl::Status ParseTextproto(absl::string_view text, absl::string_view source, google::protobuf::Message* message,
                            Locations* locations) {
  FirstError errors(source);
  TextFormat::Parser parser;
  parser.RecordErrorsTo(&errors);
  parser.WriteLocationsTo(locations);
  if (parser.ParseFromString(std::string(text), message)) return absl::OkStatus();
  std::string sentence = errors.text().value_or(absl::StrCat(source, ": not a textproto"));
  if (sentence.back() != '.') sentence.push_back('.');
  return absl::InvalidArgumentError(sentence);
}

std::string PlaceOf(absl::string_view path, absl::string_view source, const google::protobuf::Descriptor& type,
                    const Locations& locations) {
  const Locations* tree = &locations;
  const google::protobuf::Descriptor* at = &type;
  const std::vector<std::string> parts = absl::StrSplit(path, '.');
  for (size_t i = 0; i < parts.size() && tree != nullptr; ++i) {
    const auto [name, index] = SplitIndex(parts[i]);
    const auto* field = at->FindFieldByName(name);
    if (i + 1 == parts.size()) {
      const TextFormat::ParseLocation location =
          tree->GetLocation(field, field->is_repeated() ? std::max(0, index) : -1);
      if (location.line >= 0) return absl::StrCat(source, ":", location.line + 1, ":", location.column + 1);
      break;
    }
    tree = tree->GetTreeForNested(field, index);
    at = field->message_type();
  }
  return std::string(source);
}

}  // namespace tactus::config
