# SPDX-License-Identifier: Apache-2.0
# Makes one object of several, of which only the symbol VISIBLE can be seen (CpuIsa.cmake has the
# reason), and proves it. A script:
#   cmake -DOUTPUT=… -DVISIBLE=… "-DOBJECTS=…;…" -DLD=… -DOBJCOPY=… -DNM=… -DREADELF=… -P …
set(joined ${OUTPUT}.joined)
get_filename_component(folder ${OUTPUT} DIRECTORY)
file(MAKE_DIRECTORY ${folder})
execute_process(COMMAND ${LD} -r --force-group-allocation -o ${joined} ${OBJECTS}
  COMMAND_ERROR_IS_FATAL ANY)
execute_process(COMMAND ${OBJCOPY} --keep-global-symbol=${VISIBLE} ${joined} ${OUTPUT}
  COMMAND_ERROR_IS_FATAL ANY)
file(REMOVE ${joined})

function(refuse reason)
  file(REMOVE ${OUTPUT})
  message(FATAL_ERROR "${OUTPUT} cannot be sealed: ${reason}")
endfunction()

# "name type value size", of what other objects can refer to or that can replace theirs.
execute_process(COMMAND ${NM} --defined-only --extern-only --format=posix ${OUTPUT}
  OUTPUT_VARIABLE symbols COMMAND_ERROR_IS_FATAL ANY)
string(STRIP "${symbols}" symbols)
if(NOT symbols MATCHES "^${VISIBLE} [A-Z] [^\n]*$")
  refuse("only ${VISIBLE} may be visible, but the symbols are\n${symbols}")
endif()

execute_process(COMMAND ${READELF} --sections --wide ${OUTPUT}
  OUTPUT_VARIABLE sections COMMAND_ERROR_IS_FATAL ANY)
if(sections MATCHES "[^\n]*(\\.(preinit_array|init_array|ctors|init)[ .]|[ ]GROUP[ ])[^\n]*")
  refuse("it has code that runs when the program starts, or groups:\n${CMAKE_MATCH_0}")
endif()
