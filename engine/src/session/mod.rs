//! LEAD'S NOTE TO THE FEED HELPER: part D (SoupBinTCP session) is being written by the lead on `main`. Leave this folder
//! alone, restore this file with `git checkout engine/src/session/mod.rs` before your last commit, and report without D.
