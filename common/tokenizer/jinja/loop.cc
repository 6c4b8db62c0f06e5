#include "common/tokenizer/jinja/loop.h"

#include "common/base/status_macros.h"

namespace tactus::jinja {

Value LoopState::Position(absl::string_view name) const {
  const auto size = static_cast<int64_t>(items_.size()), at = static_cast<int64_t>(index_);
  if (name == "index") return Value(at + 1);
  if (name == "index0") return Value(at);
  if (name == "revindex") return Value(size - at);
  if (name == "revindex0") return Value(size - at - 1);
  if (name == "first") return Value(at == 0);
  if (name == "last") return Value(at + 1 == size);
  if (name == "length") return Value(size);
  if (name == "depth") return Value(depth_ + 1);
  if (name == "depth0") return Value(depth_);
  if (name == "previtem") return at > 0 ? items_[index_ - 1] : Value::MissingBecause("there is no previous item");
  if (name == "nextitem") return at + 1 < size ? items_[index_ + 1] : Value::MissingBecause("there is no next item");
  return Value();
}

Value LoopState::Attribute(Runtime& runtime, absl::string_view name) {
  if (finished_) return Value();
  if (name == "cycle") {
    return Value(runtime.New<Function>(
        Value(this), [](Runtime&, const Value& self, const Arguments& arguments) -> absl::StatusOr<Value> {
          if (arguments.positional.empty()) return TypeError("loop.cycle needs at least one item");
          return arguments.positional[static_cast<LoopState*>(self.object())->index_ % arguments.positional.size()];
        }));
  }
  if (name != "changed") return Position(name);
  return Value(runtime.New<Function>(
      Value(this), [](Runtime& rt, const Value& self, const Arguments& arguments) -> absl::StatusOr<Value> {
        auto* loop = static_cast<LoopState*>(self.object());
        const std::vector<Value>& now = arguments.positional;
        bool same = loop->last_changed_.has_value() && loop->last_changed_->size() == now.size();
        for (size_t i = 0; same && i < now.size(); ++i) {
          ASSIGN_OR_RETURN(same, Equal((*loop->last_changed_)[i], now[i], rt.budget()));
        }
        loop->last_changed_ = now;
        return Value(!same);
      }));
}

absl::StatusOr<Value> LoopState::Call(Runtime&, const Arguments& arguments) {
  if (!loop_.recursive || finished_) return TypeError("the loop must be marked recursive to be called");
  ASSIGN_OR_RETURN(const auto bound, Bind("loop", arguments, {"iterable"}, 1));
  return renderer_.RunLoop(loop_, around_, *bound[0], depth_ + 1);
}

}  // namespace tactus::jinja
