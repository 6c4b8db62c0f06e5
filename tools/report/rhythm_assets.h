// The rhythm page's style and script, as text that goes into it after the report's. Constants.
#pragma once

namespace tactus {

extern const char kRhythmStyle[];

// Draws the lines, the head map and the images, and shows a token's numbers by pointer and by keys. Without it the page
// still has the tokens and their colours.
extern const char kRhythmScript[];

}  // namespace tactus
