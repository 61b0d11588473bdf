"""How good and how fast the answers are: scores, recorded drives, replays and their reports."""
