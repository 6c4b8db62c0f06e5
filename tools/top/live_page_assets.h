// Markup, style and script of the live page; constants.
#pragma once

namespace tactus::top {

extern const char kLiveStyle[];
extern const char kLiveBody[];
extern const char kLiveScript[];

}  // namespace tactus::top
