//! trued-runtime
