//! trued-sources
