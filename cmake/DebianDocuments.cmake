# SPDX-License-Identifier: Apache-2.0
# Run by cpack over the tree that becomes a package: change logs and the license get the names and forms
# that Debian's policy asks for, and what it wants compressed is.
file(GLOB_RECURSE compressed ${CPACK_TEMPORARY_DIRECTORY}/usr/share/man/*.[1-9])
file(GLOB changelog ${CPACK_TEMPORARY_DIRECTORY}/usr/share/doc/*/CHANGELOG.md)
get_filename_component(folder ${changelog} DIRECTORY)
file(RENAME ${changelog} ${folder}/changelog)
file(REMOVE ${folder}/LICENSE)
string(TIMESTAMP year "%Y" UTC)  # or SOURCE_DATE_EPOCH, like the date
file(WRITE ${folder}/copyright
  "Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/\n"
  "Upstream-Name: indexcache-search\n\n"
  "Files: *\n"
  "Copyright: ${year} ${CPACK_PACKAGE_VENDOR}\n"
  "License: Apache-2.0\n"
  " The text is in /usr/share/common-licenses/Apache-2.0 on Debian systems.\n")
string(TIMESTAMP date "%a, %d %b %Y %H:%M:%S +0000" UTC)
string(CONCAT entry
  "${CPACK_DEBIAN_PACKAGE_NAME} (${CPACK_PACKAGE_VERSION}-${CPACK_DEBIAN_PACKAGE_RELEASE}) "
  "bookworm; urgency=medium\n\n"
  "  * Package of ${CPACK_PACKAGE_VERSION}; changelog.gz has its changes.\n\n"
  " -- ${CPACK_DEBIAN_PACKAGE_MAINTAINER}  ${date}\n")
file(WRITE ${folder}/changelog.Debian "${entry}")
list(APPEND compressed ${folder}/changelog ${folder}/changelog.Debian)
foreach(file IN LISTS compressed)
  execute_process(COMMAND gzip -9nf ${file} COMMAND_ERROR_IS_FATAL ANY)
endforeach()
