/* SPDX-License-Identifier: Apache-2.0
 *
 * config/config_sources.h - the three places values come from: flags, environment, file.
 *
 * Each reads all it finds into config and reports mistakes; precedence is config_report_take's.
 * Only config/ includes this. Thread: main. */
#pragma once

#include "config/config.h"
#include "config/config_report.h"

/* --port 8000, --port=8000, --insecure, --help, -h; "--" ends the flags. What is not a flag goes to
 * config->arguments, which must have room for input->argc. In config_flags.c. */
void config_flags_read(struct config *config, const struct config_input *input,
                       struct config_report *report);

/* SKEIN_PORT=8000. An empty variable counts as not given; an unknown one is ignored, with a warning
 * when it looks like a slip of the pen. In config_environment.c. */
void config_environment_read(struct config *config, char **environment,
                             struct config_report *report);

/* The file named by config->config_file, lines of key = value (libinih). An empty value counts as
 * not given; a key given twice is a mistake. In config_file.c. */
void config_file_read(struct config *config, struct config_report *report);
