//! Old against new, paired in time (`--against`).
