//! trued-files
