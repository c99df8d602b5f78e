#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
# Not executable, on purpose.
