"""Inputs that somebody sent, by the thousand: recipes, watches, exports, results of a guest and mails."""
