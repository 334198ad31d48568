# SPDX-License-Identifier: Apache-2.0
# Files as data of a program, without a tool beyond CMake.
#
# indexcache_embed(target HEADER header FILES constant file …): adds to `target` a source that defines,
# for each pair, the constant as a std::string_view of the file's bytes, without its license line. The
# header, which people write and document, declares them: `extern const std::string_view constant;`.
# The source is made when the target is built, and again whenever one of the files changes.
#
# Bytes are written as characters of an array: no delimiter can occur in the file by chance, and no
# compiler's limit on the length of a literal applies.

# As a script: cmake -DHEADER=… -DOUTPUT=… "-DPAIRS=constant|file|…" -P Embed.cmake
if(CMAKE_SCRIPT_MODE_FILE)
  set(source "// Made by cmake/Embed.cmake.\n#include \"${HEADER}\"\n\nnamespace indexcache {\n")
  string(REPLACE "|" ";" pairs "${PAIRS}")
  while(pairs)
    list(POP_FRONT pairs constant file)
    file(READ ${file} license LIMIT 64)
    file(READ ${file} bytes HEX)
    if(license MATCHES "^(// SPDX-License-Identifier: [^\n]*|/\\* SPDX-License-Identifier: [^\n]* \\*/)\n")
      string(LENGTH "${CMAKE_MATCH_1}" length)
      math(EXPR digits "2 * ${length}")
      string(SUBSTRING "${bytes}" ${digits} -1 bytes)
    else()
      message(FATAL_ERROR "${file}: the first line is not the license")
    endif()
    string(REGEX REPLACE "([0-9a-f][0-9a-f])" "'\\\\x\\1'," characters "${bytes}")
    string(APPEND source "static constexpr char ${constant}Bytes[] = {${characters}};\n"
      "const std::string_view ${constant}(${constant}Bytes, sizeof(${constant}Bytes));\n")
  endwhile()
  file(WRITE ${OUTPUT} "${source}}  // namespace indexcache\n")
  return()
endif()

set(INDEXCACHE_EMBED_SCRIPT ${CMAKE_CURRENT_LIST_FILE})

function(indexcache_embed target)
  cmake_parse_arguments(arg "" "HEADER" "FILES" ${ARGN})
  string(MAKE_C_IDENTIFIER ${arg_HEADER} name)
  set(output ${PROJECT_BINARY_DIR}/generated/embedded/${name}.cpp)
  set(pairs)
  set(files)
  while(arg_FILES)
    list(POP_FRONT arg_FILES constant file)
    cmake_path(ABSOLUTE_PATH file BASE_DIRECTORY ${CMAKE_CURRENT_SOURCE_DIR})
    list(APPEND pairs ${constant} ${file})
    list(APPEND files ${file})
  endwhile()
  list(JOIN pairs "|" joined)
  add_custom_command(OUTPUT ${output}
    COMMAND ${CMAKE_COMMAND} -DHEADER=${arg_HEADER} -DOUTPUT=${output} "-DPAIRS=${joined}"
            -P ${INDEXCACHE_EMBED_SCRIPT}
    DEPENDS ${files} ${INDEXCACHE_EMBED_SCRIPT}
    COMMENT "Embedding the files of ${arg_HEADER}"
    VERBATIM)
  # By itself: an edit of a file compiles nothing else again.
  set_source_files_properties(${output} PROPERTIES SKIP_UNITY_BUILD_INCLUSION ON)
  target_sources(${target} PRIVATE ${output})
endfunction()
