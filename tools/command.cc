#include "tools/command.h"

namespace tactus {

std::span<const Command* const> Commands() {
  static constexpr const Command* kCommands[] = {&kTrainCommand, &kReportCommand, &kCheckConfigCommand, &kLossCommand};
  return kCommands;
}

}  // namespace tactus
