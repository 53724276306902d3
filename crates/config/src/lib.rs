//! trued-config
