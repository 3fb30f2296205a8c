//! Cross-process tests of replay: crashes, faults and the command as a black box
