#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
# Stands for a person's own reproducer; the grammar's tests never run it.
exit 0
