# SPDX-License-Identifier: GPL-2.0-only
"""A campaign as drafts of mails: whom they go to, which thread they answer, what they may claim, and sending them."""
