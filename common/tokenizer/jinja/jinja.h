// Jinja templates as `transformers` renders chat templates with: its environment (trim_blocks, lstrip_blocks, break and
// continue, {% generation %}, tojson, raise_exception, strftime_now), in the sandbox of immutable values.
//
// Not here: what reads other files (include, import, extends), writes HTML (urlize, xmlattr, striptags; escape gives
// plain text) or draws at random (random, lipsum), pprint, wordwrap and filesizeformat: each is an error that names it.
// Whole numbers have 64 bits. A template may be hostile: everything it does is bounded.
#pragma once

#include <ctime>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace tactus::jinja {

inline constexpr size_t kMaxTemplateBytes = size_t{256} << 10;
// What a render may cost in bytes made or looked at, its steps included: a second at the most.
inline constexpr size_t kRenderBudgetBytes = size_t{256} << 20;

// Immutable, thread-safe.
class Template {
 public:
  virtual ~Template() = default;

  // InvalidArgument: "line N: …", or too many bytes.
  static absl::StatusOr<std::unique_ptr<const Template>> Parse(absl::string_view source);

  // `names` is an object: what the template finds by name. `now` is what strftime_now tells. InvalidArgument: "line N:
  // …", an error as Python would raise one, what raise_exception was given, or a bound of this evaluator.
  virtual absl::StatusOr<std::string> Render(const nlohmann::ordered_json& names, const std::tm& now) const = 0;
  // Whether it asks for the date, so that it does not print the same every day.
  virtual bool tells_time() const = 0;
};

// Both at once, of bytes that anybody may have made. `names_json` is an object within ParseStrictJson's limits.
absl::StatusOr<std::string> RenderTemplate(absl::string_view source, absl::string_view names_json, const std::tm& now);

}  // namespace tactus::jinja
