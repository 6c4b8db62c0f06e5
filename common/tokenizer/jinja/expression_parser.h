// Jinja's expressions.
#pragma once

#include <memory>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "common/tokenizer/jinja/ast.h"
#include "common/tokenizer/jinja/token_stream.h"

namespace tactus::jinja {

// Reads from a stream that outlives it. Not thread-safe. Errors: InvalidArgument, "line N: …".
class ExpressionParser {
 public:
  explicit ExpressionParser(TokenStream& stream) : stream_(stream) {}

  // With `choice`, `a if b else c` as well: not where an `if` belongs to the statement.
  absl::StatusOr<ExprPtr> Expression(bool choice = true);
  // One expression, or several with commas, which make a tuple.
  absl::StatusOr<ExprPtr> Tuple(bool choice = true, bool may_be_empty = false);
  // What stands behind a filter block's or a set block's opening: filters of the block's text. Null without any.
  absl::StatusOr<ExprPtr> Filters(ExprPtr of, bool first_without_pipe);

  // Counts what is inside each other; the caller leaves again by letting go of the guard.
  class Depth {
   public:
    explicit Depth(int& depth) : depth_(depth) { ++depth_; }
    ~Depth() { --depth_; }
    Depth(const Depth&) = delete;
    Depth& operator=(const Depth&) = delete;

   private:
    int& depth_;
  };
  absl::Status CheckDepth() const;
  int& depth() { return depth_; }

 private:
  using Parts = std::vector<ExprPtr>;
  using Level = absl::StatusOr<ExprPtr> (ExpressionParser::*)();

  absl::StatusOr<ExprPtr> Make(Expr expr) const;
  absl::StatusOr<ExprPtr> Node(Expr::Kind kind, int line, Parts parts, std::string name = "") const;
  absl::StatusOr<ExprPtr> Constant(Value value);
  absl::StatusOr<ExprPtr> Or();
  absl::StatusOr<ExprPtr> And();
  absl::StatusOr<ExprPtr> Not();
  absl::StatusOr<ExprPtr> Compare();
  absl::StatusOr<ExprPtr> Sum();
  absl::StatusOr<ExprPtr> Concat();
  absl::StatusOr<ExprPtr> Product();
  absl::StatusOr<ExprPtr> Power();
  absl::StatusOr<ExprPtr> Unary(bool with_filters);
  absl::StatusOr<ExprPtr> UnaryWithFilters() { return Unary(true); }
  absl::StatusOr<ExprPtr> Primary();
  absl::StatusOr<ExprPtr> NameOrConstant();
  absl::StatusOr<ExprPtr> List();
  absl::StatusOr<ExprPtr> Dict();
  absl::StatusOr<ExprPtr> Postfix(ExprPtr of);
  absl::StatusOr<ExprPtr> Subscript(ExprPtr of);
  absl::StatusOr<ExprPtr> Slice(ExprPtr of, ExprPtr start);
  absl::StatusOr<ExprPtr> FiltersAndTests(ExprPtr of);
  absl::StatusOr<ExprPtr> Filter(ExprPtr of);
  absl::StatusOr<ExprPtr> Test(ExprPtr of);
  absl::StatusOr<ExprPtr> Call(ExprPtr of);
  absl::StatusOr<CallArguments> Arguments();
  absl::StatusOr<std::string> DottedName();
  absl::StatusOr<ExprPtr> Chain(Level next, std::initializer_list<absl::string_view> ops);

  TokenStream& stream_;
  int depth_ = 0;
};

}  // namespace tactus::jinja
