// Textprotos that people write. Internal to common/config. Thread-safe, no I/O.
#pragma once

#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "google/protobuf/message.h"
#include "google/protobuf/text_format.h"

namespace tactus::config {

using Locations = google::protobuf::TextFormat::ParseInfoTree;

// Reads `text` into `message`, and where its fields stand into `locations`. InvalidArgument: one sentence that begins
// with source:line:column, both counted from 1.
absl::Status ParseTextproto(absl::string_view text, absl::string_view source, google::protobuf::Message* message,
                            Locations* locations);

// Where the field at `path` ("rollout.top_p", "variant[1].name") of such a message stands: "source:line:column", or
// `source` where the text does not have it.
std::string PlaceOf(absl::string_view path, absl::string_view source, const google::protobuf::Descriptor& type,
                    const Locations& locations);

}  // namespace tactus::config
