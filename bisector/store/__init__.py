# SPDX-License-Identifier: GPL-2.0-only
"""The truth of all campaigns: one SQLite database, one writer per process, a folder per campaign for files.

Rows hold the frozen types of ``model`` as JSON. Everything else (progress, what was learnt, git's bisect state) is a
fold over these rows.
"""

from bisector.store.rows import CampaignRow, CampaignSummary, StoredVerdict, TrialKey, WorkRow
from bisector.store.store import Store

__all__ = ["CampaignRow", "CampaignSummary", "Store", "StoredVerdict", "TrialKey", "WorkRow"]
