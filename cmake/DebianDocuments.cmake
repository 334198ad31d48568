# SPDX-License-Identifier: Apache-2.0
# Run by cpack over the tree that becomes a package: the change log and manual pages are compressed,
# the license has the name that Debian's policy gives it and stands in the folder of the package.
file(GLOB_RECURSE manuals ${CPACK_TEMPORARY_DIRECTORY}/usr/share/man/*.[1-9])
file(GLOB changelogs ${CPACK_TEMPORARY_DIRECTORY}/usr/share/doc/*/CHANGELOG.md)
foreach(changelog IN LISTS changelogs)
  get_filename_component(folder ${changelog} DIRECTORY)
  file(RENAME ${changelog} ${folder}/changelog)
  file(READ ${folder}/LICENSE license)
  file(REMOVE ${folder}/LICENSE)
  file(WRITE ${folder}/copyright
    "${CPACK_PACKAGE_NAME}: copyright of its authors, under the Apache License 2.0, which Debian has in\n"
    "/usr/share/common-licenses/Apache-2.0 and which reads:\n\n${license}")
  list(APPEND manuals ${folder}/changelog)
endforeach()
foreach(file IN LISTS manuals)
  execute_process(COMMAND gzip -9nf ${file} COMMAND_ERROR_IS_FATAL ANY)
endforeach()
