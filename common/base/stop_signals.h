// The signals that ask a process to stop: SIGINT, SIGTERM, and SIGHUP where it is not ignored, as nohup has it. They
// belong to the whole process, for the rest of its life. The two setters are for one thread; any may ask.
#pragma once

#include <atomic>

namespace tactus {

// From now on a signal ends the process at once with `exit_code`: for a start that leaves nothing to finish.
void ExitOnStopSignals(int exit_code);

// From now on signals are only counted, from 0: the first asks for a clean stop, the second for a quick one.
void CatchStopSignals();
int StopSignalCount();

// True from the first signal on; lives for ever.
const std::atomic<bool>* StopRequested();

}  // namespace tactus
