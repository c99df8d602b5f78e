#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
# Stands for the program of the qcow2 recipe; the grammar's tests never run it.
