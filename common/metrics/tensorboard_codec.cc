#include "common/metrics/tensorboard_codec.h"

#include "proto/tensorboard_event.pb.h"

namespace tactus {
namespace {

tensorboard::Event At(double wall_time_s, int64_t step) {
  tensorboard::Event event;
  event.set_wall_time(wall_time_s);
  event.set_step(step);
  return event;
}

}  // namespace

std::string EncodeFileVersion(double wall_time_s) {
  tensorboard::Event event = At(wall_time_s, 0);
  event.set_file_version("brain.Event:2");
  return event.SerializeAsString();
}

std::string EncodeSessionStart(double wall_time_s, int64_t step) {
  tensorboard::Event event = At(wall_time_s, step);
  event.mutable_session_log()->set_status(tensorboard::SessionLog::START);
  return event.SerializeAsString();
}

std::string EncodeScalar(double wall_time_s, int64_t step, absl::string_view tag, double value) {
  tensorboard::Event event = At(wall_time_s, step);
  tensorboard::Summary::Value& scalar = *event.mutable_summary()->add_value();
  scalar.set_tag(std::string(tag));
  scalar.set_simple_value(static_cast<float>(value));
  return event.SerializeAsString();
}

}  // namespace tactus
