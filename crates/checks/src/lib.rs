//! trued-checks
