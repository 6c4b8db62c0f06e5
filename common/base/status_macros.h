// Early return on a non-OK absl::Status, in the form the Abseil code bases use.
#pragma once

#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#define TACTUS_CONCAT_INNER(a, b) a##b
#define TACTUS_CONCAT(a, b) TACTUS_CONCAT_INNER(a, b)

// RETURN_IF_ERROR(expression of type absl::Status);
#define RETURN_IF_ERROR(expr)                                                              \
  do {                                                                                     \
    if (absl::Status status_macro_result = (expr); !status_macro_result.ok()) [[unlikely]] \
      return status_macro_result;                                                          \
  } while (false)

// ASSIGN_OR_RETURN(declaration or lvalue, expression of type absl::StatusOr<T>);
// NOLINTBEGIN(bugprone-macro-parentheses): a name and a declaration cannot stand in parentheses.
#define ASSIGN_OR_RETURN(lhs, expr) ASSIGN_OR_RETURN_IMPL(TACTUS_CONCAT(status_or_, __LINE__), lhs, expr)
#define ASSIGN_OR_RETURN_IMPL(result, lhs, expr) \
  auto result = (expr);                          \
  if (!result.ok()) [[unlikely]]                 \
    return std::move(result).status();           \
  lhs = *std::move(result)
// NOLINTEND(bugprone-macro-parentheses)
