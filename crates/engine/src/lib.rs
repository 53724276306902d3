//! trued-engine
