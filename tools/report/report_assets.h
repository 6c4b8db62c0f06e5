// The report page's style and script, as text that goes into it. Constants.
#pragma once

namespace tactus {

// Light and dark by the reader's preference; prints well.
extern const char kReportStyle[];

// Readout of the curves by pointer and by arrow keys. The page is complete without it.
extern const char kReportScript[];

}  // namespace tactus
