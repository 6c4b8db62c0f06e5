#define PCRE2_CODE_UNIT_WIDTH 8
#include "common/tokenizer/regex.h"

#include <pcre2.h>

#include <array>

#include "absl/strings/str_cat.h"
#include "common/base/log.h"

namespace tactus {
namespace {

// A run of a hundred million spaces takes one step each; a pattern that goes on for longer is a hostile one.
constexpr uint32_t kMatchLimit = 200'000'000;

std::string ErrorText(int code) {
  std::array<PCRE2_UCHAR, 256> buffer{};
  pcre2_get_error_message(code, buffer.data(), buffer.size());
  return reinterpret_cast<const char*>(buffer.data());
}

// What a match needs besides the program; one per thread, as it is written to.
struct MatchState {
  MatchState() : data(pcre2_match_data_create(1, nullptr)), context(pcre2_match_context_create(nullptr)) {
    pcre2_set_match_limit(context, kMatchLimit);
  }
  ~MatchState() {
    pcre2_match_data_free(data);
    pcre2_match_context_free(context);
  }
  MatchState(const MatchState&) = delete;
  MatchState& operator=(const MatchState&) = delete;
  pcre2_match_data* data;
  pcre2_match_context* context;
};

}  // namespace

struct SplitRegex::Program {
  explicit Program(pcre2_code* compiled) : code(compiled) {}
  ~Program() { pcre2_code_free(code); }
  Program(const Program&) = delete;
  Program& operator=(const Program&) = delete;
  pcre2_code* code;
};

absl::StatusOr<SplitRegex> SplitRegex::Compile(const std::string& pcre2_pattern) {
  int error = 0;
  PCRE2_SIZE offset = 0;
  pcre2_code* code = pcre2_compile(reinterpret_cast<PCRE2_SPTR>(pcre2_pattern.data()), pcre2_pattern.size(),
                                   PCRE2_UTF | PCRE2_NO_AUTO_CAPTURE, &error, &offset, nullptr);
  if (code == nullptr) {
    return absl::InvalidArgumentError(absl::StrCat("the regex does not compile: ", ErrorText(error)));
  }
  auto program = std::make_shared<const Program>(code);
  uint32_t matches_empty = 0;
  pcre2_pattern_info(code, PCRE2_INFO_MATCHEMPTY, &matches_empty);
  if (matches_empty != 0) return absl::InvalidArgumentError("the regex matches the empty text");
  pcre2_jit_compile(code, PCRE2_JIT_COMPLETE);  // where there is no JIT, pcre2_match interprets the program
  return SplitRegex(std::move(program));
}

void SplitRegex::FindAll(absl::string_view text, std::vector<ByteRange>& matches) const {
  thread_local MatchState state;
  const auto subject = reinterpret_cast<PCRE2_SPTR>(text.data());
  for (size_t at = 0; at < text.size();) {
    const auto match = [&](uint32_t options) {
      return pcre2_match(program_->code, subject, text.size(), at, options | PCRE2_NO_UTF_CHECK, state.data,
                         state.context);
    };
    int result = match(0);
    if (result == PCRE2_ERROR_JIT_STACKLIMIT) result = match(PCRE2_NO_JIT);  // the interpreter's stack is the heap
    if (result == PCRE2_ERROR_NOMATCH) return;
    if (result < 0) {
      TACTUS_LOG(ERROR) << "the tokenizer's regex gave up after byte " << at << " of a text of " << text.size()
                        << " bytes (" << ErrorText(result) << "); the rest is taken as one piece";
      return;
    }
    const PCRE2_SIZE* bounds = pcre2_get_ovector_pointer(state.data);
    matches.push_back({bounds[0], bounds[1]});
    at = bounds[1];
  }
}

}  // namespace tactus
