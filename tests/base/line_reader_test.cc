#include "common/base/line_reader.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <sstream>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"

namespace tactus {
namespace {

using ::testing::ElementsAre;

// "number text" of every line, with what is odd about it.
std::vector<std::string> Lines(const std::string& text, size_t max_bytes) {
  std::istringstream in(text);
  LineReader lines(in, max_bytes);
  std::vector<std::string> seen;
  while (*lines.Next()) {
    seen.push_back(absl::StrCat(lines.number(), " ", lines.text(), lines.too_long() ? " too long" : "",
                                lines.torn() ? " torn" : ""));
  }
  return seen;
}

TEST(LineReaderTest, TellsATornLineFromAWholeOne) {
  EXPECT_THAT(Lines("", 9), ElementsAre());
  EXPECT_THAT(Lines("\n", 9), ElementsAre("1 "));
  EXPECT_THAT(Lines("a\n\nb\n", 9), ElementsAre("1 a", "2 ", "3 b"));
  EXPECT_THAT(Lines("a\r\nb", 9), ElementsAre("1 a\r", "2 b torn"));
}

TEST(LineReaderTest, CountsTheBytesBeforeALine) {
  std::istringstream in("a\n\n" + std::string(40'000, 'x') + "\nb\r\nc");
  LineReader lines(in, 9);
  std::vector<uint64_t> begins;
  while (*lines.Next()) begins.push_back(lines.begin());
  EXPECT_THAT(begins, ElementsAre(0, 2, 3, 40'004, 40'007));
}

TEST(LineReaderTest, ALineThatIsTooLongIsPassedOver) {
  for (const size_t size : {1, 3, (1 << 14) - 2, (1 << 14) - 1, 1 << 14, (1 << 14) + 1, 100'000}) {
    const std::string fits(size, 'x'), longer = fits + "y";
    EXPECT_THAT(Lines(fits + "\n" + longer + "\n" + std::string(3 * size, 'z') + "\na\n" + longer, size),
                ElementsAre("1 " + fits, "2  too long", "3  too long", "4 a", "5  too long"))
        << size;
  }
}

TEST(LineReaderTest, AFailedInputIsAnError) {
  std::istringstream in("a\n");
  in.setstate(std::ios::badbit);
  LineReader lines(in, 9);
  EXPECT_EQ(lines.Next().status(), absl::UnavailableError("line 1 could not be read"));
}

}  // namespace
}  // namespace tactus
