# tactus_embed(target web/a.js web/b.css ...): each text file becomes a constant of the target's code. web/a.js of
# tools/report is `tactus::kAJs` in "tools/report/web/a.js.h"; a change of the file makes that header anew.
if(NOT CMAKE_SCRIPT_MODE_FILE)
  set(TACTUS_EMBED_SCRIPT ${CMAKE_CURRENT_LIST_FILE})
  function(tactus_embed target)
    file(RELATIVE_PATH folder ${CMAKE_SOURCE_DIR} ${CMAKE_CURRENT_SOURCE_DIR})
    foreach(file IN LISTS ARGN)
      set(header ${CMAKE_BINARY_DIR}/generated/${folder}/${file}.h)
      add_custom_command(
        OUTPUT ${header}
        COMMAND ${CMAKE_COMMAND} -DFILE=${CMAKE_CURRENT_SOURCE_DIR}/${file} -DHEADER=${header} -P ${TACTUS_EMBED_SCRIPT}
        DEPENDS ${file} ${TACTUS_EMBED_SCRIPT}
        VERBATIM)
      target_sources(${target} PRIVATE ${header})
    endforeach()
  endfunction()
  return()
endif()

file(READ ${FILE} text)
if(text MATCHES "[)]embedded\"")
  message(FATAL_ERROR "${FILE} holds the end of its own C++ literal, )embedded\"")
endif()
get_filename_component(name ${FILE} NAME)
set(constant k)
string(REGEX MATCHALL "[a-z0-9]+" words ${name})
foreach(word IN LISTS words)
  string(SUBSTRING ${word} 0 1 first)
  string(SUBSTRING ${word} 1 -1 rest)
  string(TOUPPER ${first} first)
  string(APPEND constant ${first}${rest})
endforeach()
file(WRITE ${HEADER} "// Made by cmake/TactusEmbed.cmake of ${name}.
#pragma once

#include \"absl/strings/string_view.h\"

namespace tactus {

inline constexpr absl::string_view ${constant} = R\"embedded(${text})embedded\";

}  // namespace tactus
")
